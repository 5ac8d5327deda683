package dev.panacea.golden;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.panacea.io.SafetensorsFile;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.DeviceMemory;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.Q4Weight;
import dev.panacea.kernels.QuantType;
import dev.panacea.quant.DoubleQuantization;
import dev.panacea.testing.TestBackend;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;

/** Weights through bitsandbytes' 4-bit quantization (nf4.py): packed bytes, absmax, double quantization, and what they decode to. */
final class QuantizationFigures {
    private static final int BLOCK = 64;

    private QuantizationFigures() {}

    static Stream<DynamicTest> tests(Path file, List<TestBackend> backends) {
        List<DynamicTest> tests = new ArrayList<>();
        for (TestBackend b : backends) {
            tests.add(dynamicTest(b.name(), () -> {
                try (SafetensorsFile figures = SafetensorsFile.open(file); Kernels kernels = b.open().get()) {
                    for (String name : new TreeSet<>(figures.metadata().keySet())) {
                        JsonNode about = new ObjectMapper().readTree(figures.metadata().get(name));
                        if (about.isObject() && about.has("quant_type")) {
                            check(figures, name, about, kernels);
                        }
                    }
                }
            }));
        }
        return tests.stream();
    }

    private static void check(SafetensorsFile figures, String name, JsonNode about, Kernels kernels) {
        int rows = about.get("shape").get(0).asInt();
        int cols = about.get("shape").get(1).asInt();
        boolean nested = about.get("nested").asBoolean();
        QuantType type = about.get("quant_type").asText().equals("nf4") ? QuantType.NF4 : QuantType.FP4;
        int n = rows * cols;
        int blocks = (n + BLOCK - 1) / BLOCK;
        try (DeviceMemory memory = kernels.allocate(16L * n + 65536)) {
            DeviceBuffer x = memory.view(DType.F32, 0, n);
            kernels.upload(MemorySegment.ofArray(figures.read(name + ".weight")), x);
            DeviceBuffer packed = memory.view(DType.U8, 4L * n, (n + 1) / 2);
            long after = (4L * n + (n + 1) / 2 + 63) / 64 * 64;
            DeviceBuffer absmax = memory.view(DType.F32, after, blocks);
            kernels.quantize4(type, x, n, BLOCK, packed, absmax);
            assertThat(bytes(download(kernels, packed))).as(name + " packed").isEqualTo(bytes(figures.tensor(name + ".packed").data()));
            float[] ourAbsmax = download(kernels, absmax).toArray(ValueLayout.JAVA_FLOAT);
            if (nested) {
                secondQuantization(figures, name, DoubleQuantization.of(ourAbsmax));
            } else {
                assertThat(ourAbsmax).as(name + " absmax").isEqualTo(figures.read(name + ".absmax"));
            }
            decode(figures, name, type, rows, cols, nested, kernels);
        }
    }

    private static void secondQuantization(SafetensorsFile figures, String name, DoubleQuantization ours) {
        assertThat((double) ours.offset()).as(name + " offset").isCloseTo(figures.read(name + ".offset")[0], org.assertj.core.data.Percentage.withPercentage(1e-4));
        assertThat(DoubleQuantization.levels()).as(name + " nested map").isEqualTo(figures.read(name + ".code"));
        byte[] expected = bytes(figures.tensor(name + ".absmax").data());
        int equal = 0;
        for (int i = 0; i < expected.length; i++) {
            int difference = Math.abs((expected[i] & 0xff) - (ours.codes()[i] & 0xff));
            assertThat(difference).as(name + " nested code " + i).isLessThanOrEqualTo(1);
            equal += difference == 0 ? 1 : 0;
        }
        assertThat(equal).as(name + " nested codes equal").isGreaterThanOrEqualTo((int) Math.ceil(expected.length * 0.99));
    }

    /** What the given bytes mean, on every bit. */
    private static void decode(SafetensorsFile figures, String name, QuantType type, int rows, int cols, boolean nested, Kernels kernels) {
        SafetensorsFile.Tensor expected = figures.tensor(name + ".dequant");
        int n = rows * cols;
        try (Arena4 a = new Arena4(kernels)) {
            DeviceBuffer levels = a.put(DType.F32, MemorySegment.ofArray(type.levels()));
            DeviceBuffer packed = a.put(DType.U8, figures.tensor(name + ".packed").data());
            DeviceBuffer absmax = a.put(nested ? DType.U8 : DType.F32, figures.tensor(name + ".absmax").data());
            Optional<Q4Weight.Nested> second = Optional.empty();
            if (nested) {
                second = Optional.of(new Q4Weight.Nested(a.put(DType.F32, figures.tensor(name + ".code").data()),
                        a.put(DType.F32, figures.tensor(name + ".nested_absmax").data()), figures.read(name + ".offset")[0]));
            }
            Q4Weight weight = new Q4Weight(rows, cols, BLOCK, packed, levels, absmax, second);
            DType out = expected.type() == SafetensorsFile.Type.BF16 ? DType.BF16 : DType.F32;
            DeviceBuffer y = a.put(out, MemorySegment.ofArray(new byte[n * out.bytes()]));
            kernels.dequantize(weight, y);
            byte[] ours = bytes(download(kernels, y));
            if (expected.type() == SafetensorsFile.Type.F16) {
                ours = halves(download(kernels, y).toArray(ValueLayout.JAVA_FLOAT));
            }
            assertThat(ours).as(name + " dequantized").isEqualTo(bytes(expected.data()));
        }
    }

    private static byte[] halves(float[] values) {
        byte[] out = new byte[2 * values.length];
        for (int i = 0; i < values.length; i++) {
            MemorySegment.ofArray(out).set(ValueLayout.JAVA_SHORT_UNALIGNED, 2L * i, Float.floatToFloat16(values[i]));
        }
        return out;
    }

    private static MemorySegment download(Kernels kernels, DeviceBuffer buffer) {
        MemorySegment host = Arena.ofAuto().allocate(buffer.byteSize(), 8);
        kernels.download(buffer, host);
        return host;
    }

    private static byte[] bytes(MemorySegment s) {
        return s.toArray(ValueLayout.JAVA_BYTE);
    }

    /** Buffers of one check, freed together. */
    private static final class Arena4 implements AutoCloseable {
        private final Kernels kernels;
        private final List<DeviceMemory> all = new ArrayList<>();

        Arena4(Kernels kernels) {
            this.kernels = kernels;
        }

        DeviceBuffer put(DType type, MemorySegment source) {
            DeviceMemory m = kernels.allocate(source.byteSize());
            all.add(m);
            DeviceBuffer b = m.view(type);
            kernels.upload(source, b);
            return b;
        }

        @Override
        public void close() {
            all.forEach(DeviceMemory::close);
        }
    }
}
