package dev.panacea.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.kernels.QuantType;
import java.lang.foreign.MemorySegment;
import java.net.URISyntaxException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** bnb.safetensors holds 4-bit weights by bitsandbytes 0.50 (7 x 33 elements, so the last block is short) and their values. */
class BnbWeightTest {
    @TempDir
    Path folder;

    @ParameterizedTest
    @ValueSource(strings = {"partial_float32_nf4", "partial_float32_nf4_nested", "partial_float32_fp4"})
    void everyBitIsAsInBitsandbytes(String name) {
        try (SafetensorsFile file = SafetensorsFile.open(resource())) {
            BnbWeight weight = BnbWeight.of(all(file), name + ".weight");
            float[] expected = file.read(name + ".expected");
            float[] values = new float[expected.length];
            weight.read(0, values.length, values);
            assertThat(values).isEqualTo(expected);
            weight.read(63, 100, values);
            assertThat(Arrays.copyOf(values, 100)).isEqualTo(Arrays.copyOfRange(expected, 63, 163));
            assertThat(weight.shape()).containsExactly(7, 33);
            assertThat(weight.checked().blockSize()).isEqualTo(64);
            assertThat(weight.checked().packed().byteSize()).isEqualTo(116);
            assertThat(weight.checked().nested().isPresent()).isEqualTo(name.endsWith("nested"));
            assertThat(weight.checked().type()).isEqualTo(name.contains("fp4") ? QuantType.FP4 : QuantType.NF4);
        }
    }

    @Test
    void everyGoldenCaseIsAsInBitsandbytes() throws Exception {
        Path golden = Golden.files("nf4.safetensors").getFirst();
        try (SafetensorsFile file = SafetensorsFile.open(golden)) {
            int cases = 0;
            for (Map.Entry<String, String> entry : file.metadata().entrySet()) {
                String name = entry.getKey();
                if (!name.contains(".float32.")) {
                    continue;
                }
                JsonNode meta = JsonFiles.parse(entry.getValue(), name);
                String type = meta.path("quant_type").asText();
                boolean nested = meta.path("nested").asBoolean();
                SafetensorsWriter writer = new SafetensorsWriter();
                String state = "{\"quant_type\": \"%s\", \"blocksize\": 64, \"shape\": %s".formatted(type, meta.path("shape"));
                add(writer, file.tensor(name + ".packed"), "w");
                add(writer, file.tensor(name + ".absmax"), "w.absmax");
                writer.add("w.quant_map", new long[] {16}, (type.equals("nf4") ? QuantType.NF4 : QuantType.FP4).levels());
                if (nested) {
                    add(writer, file.tensor(name + ".nested_absmax"), "w.nested_absmax");
                    add(writer, file.tensor(name + ".code"), "w.nested_quant_map");
                    state += ", \"nested_blocksize\": 256, \"nested_dtype\": \"float32\", \"nested_offset\": " + (double) file.read(name + ".offset")[0];
                }
                byte[] text = (state + "}").getBytes(StandardCharsets.UTF_8);
                writer.add("w.quant_state.bitsandbytes__" + type, SafetensorsFile.Type.U8, new long[] {text.length}, MemorySegment.ofArray(text));
                Path path = folder.resolve("case.safetensors");
                writer.write(path);
                try (SafetensorsFile one = SafetensorsFile.open(path)) {
                    float[] expected = file.read(name + ".dequant");
                    float[] values = new float[expected.length];
                    BnbWeight.of(all(one), "w").read(0, values.length, values);
                    assertThat(values).as(name).isEqualTo(expected);
                }
                cases++;
            }
            assertThat(cases).isPositive();
        }
    }

    @Test
    void refusesSettingsAndScalesThatCannotBe() {
        refused(s -> s.replace("\"blocksize\": 64", "\"blocksize\": 48"), "blocksize 48");
        refused(s -> s.replace("\"blocksize\": 64", "\"blocksize\": 32"), "absmax");
        refused(s -> s.replace("[7, 33]", "[7, 35]"), "4-bit codes of shape [7, 35]");
        refused(s -> s.replace("[7, 33]", "[-7, 33]"), "shape");
        refused(s -> s.replace("[7, 33]", "[7, 2147483647]"), "4-bit codes");
        refused(s -> s.replace("[7, 33]", "231"), "shape 231");
        refused(s -> s.replace("\"nested_blocksize\": 256", "\"nested_blocksize\": 128"), "nested_blocksize");
        refused(s -> s.replaceAll("\"nested_offset\": [-0-9.e]+", "\"nested_offset\": 1e300"), "nested_offset");
        refused(s -> s.replace("\"nf4\"", "\"int4\""), "quant_type");
        refused(s -> s.substring(0, 40), "not valid JSON");
    }

    @Test
    void refusesScalesThatAreNotFinite() {
        String name = "partial_float32_nf4_nested.weight";
        Path path = rewrite(UnaryOperator.identity(), Map.of(name + ".nested_absmax", new float[] {Float.NaN}));
        try (SafetensorsFile file = SafetensorsFile.open(path)) {
            BnbWeight weight = BnbWeight.of(all(file), name);
            assertThatThrownBy(weight::checked).isInstanceOf(PanaceaException.class).hasMessageContaining("bad.safetensors").hasMessageContaining("nested_absmax");
            assertThatThrownBy(() -> weight.read(0, 10, new float[10])).isInstanceOf(PanaceaException.class).hasMessageContaining(name);
        }
        float[] levels = QuantType.NF4.levels();
        levels[3] = -0.39f;
        Path other = rewrite(UnaryOperator.identity(), Map.of(name + ".quant_map", levels));
        try (SafetensorsFile file = SafetensorsFile.open(other)) {
            assertThatThrownBy(() -> BnbWeight.of(all(file), name)).isInstanceOf(PanaceaException.class).hasMessageContaining("quant_map has -0.39 at 3");
        }
    }

    private void refused(UnaryOperator<String> change, String part) {
        try (SafetensorsFile file = SafetensorsFile.open(rewrite(change, Map.of()))) {
            assertThatThrownBy(() -> BnbWeight.of(all(file), "partial_float32_nf4_nested.weight")).isInstanceOf(PanaceaException.class)
                    .hasMessageContaining("bad.safetensors").hasMessageContaining(part);
        }
    }

    private Path rewrite(UnaryOperator<String> changeState, Map<String, float[]> changed) {
        Path path = folder.resolve("bad.safetensors");
        try (SafetensorsFile file = SafetensorsFile.open(resource())) {
            SafetensorsWriter writer = new SafetensorsWriter();
            for (String name : file.names()) {
                SafetensorsFile.Tensor t = file.tensor(name);
                if (changed.containsKey(name)) {
                    writer.add(name, t.dimensions(), changed.get(name));
                } else if (name.contains("quant_state")) {
                    byte[] text = changeState.apply(MappedFile.utf8(t.data()).orElseThrow()).getBytes(StandardCharsets.UTF_8);
                    writer.add(name, t.type(), new long[] {text.length}, MemorySegment.ofArray(text));
                } else {
                    add(writer, t, name);
                }
            }
            writer.write(path);
        }
        return path;
    }

    private static void add(SafetensorsWriter writer, SafetensorsFile.Tensor t, String name) {
        writer.add(name, t.type(), t.dimensions(), t.data());
    }

    private static Map<String, SafetensorsFile> all(SafetensorsFile file) {
        Map<String, SafetensorsFile> all = new HashMap<>();
        file.names().forEach(name -> all.put(name, file));
        return all;
    }

    private static Path resource() {
        try {
            return Path.of(BnbWeightTest.class.getResource("bnb.safetensors").toURI());
        } catch (URISyntaxException e) {
            throw new AssertionError(e);
        }
    }
}
