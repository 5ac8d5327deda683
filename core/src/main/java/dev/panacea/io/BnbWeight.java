package dev.panacea.io;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.panacea.io.Checkpoint.Stored4Bit;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.kernels.QuantType;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * A weight that bitsandbytes quantized to 4 bits, as a safetensors file holds it: the packed codes under the weight's own name and, with
 * suffixes, the scales and a JSON text of settings. Everything is checked against the shape before a value is computed.
 */
record BnbWeight(String name, Path path, long[] shape, Stored4Bit stored) {
    /** Of the tensors beside the packed codes. */
    static final Set<String> SUFFIXES = Set.of(".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map",
            ".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4");
    private static final int NESTED_BLOCK = 256;
    private static final float LEVEL_TOLERANCE = 1e-6f;

    /** Whether the weight of this name is stored in 4 bits; {@code files} says where each tensor is, as the parts may lie in several files. */
    static boolean isStored(Map<String, SafetensorsFile> files, String name) {
        return state(files, name).isPresent();
    }

    private static Optional<QuantType> state(Map<String, SafetensorsFile> files, String name) {
        for (QuantType type : QuantType.values()) {
            if (files.containsKey(name + ".quant_state.bitsandbytes__" + type.id())) {
                return Optional.of(type);
            }
        }
        return Optional.empty();
    }

    /** Reads the settings and finds the parts. */
    static BnbWeight of(Map<String, SafetensorsFile> files, String name) {
        QuantType type = state(files, name).orElseThrow();
        String stateName = name + ".quant_state.bitsandbytes__" + type.id();
        SafetensorsFile.Tensor stateTensor = files.get(stateName).tensor(stateName);
        String what = files.get(stateName).path() + ": " + stateName;
        SafetensorsFile file = files.get(name);
        if (stateTensor.data().byteSize() > 1 << 16) {
            throw new PanaceaException(what + " has " + stateTensor.data().byteSize() + " bytes, too many for a text of settings");
        }
        ObjectNode state = JsonFiles.parse(MappedFile.utf8(stateTensor.data()).orElseThrow(() -> new PanaceaException(what + " is not UTF-8 text")), what);
        if (!state.path("quant_type").asText().equals(type.id())) {
            throw new PanaceaException(what + " has quant_type " + state.path("quant_type"));
        }
        long[] shape = shape(state, what);
        int blockSize = state.path("blocksize").asInt(0);
        if (blockSize < 32 || blockSize > 4096 || Integer.bitCount(blockSize) != 1) {
            throw new PanaceaException(what + " has blocksize " + state.path("blocksize") + "; a power of two from 32 to 4096 is expected");
        }
        long elements = shape[0] * shape[1];
        long blocks = (elements + blockSize - 1) / blockSize;
        SafetensorsFile.Tensor packed = file.tensor(name);
        long packedBytes = (elements + 1) / 2;
        if (packed.data().byteSize() < packedBytes || packed.data().byteSize() >= packedBytes + packed.type().bytes()) {
            throw new PanaceaException(file.path() + ": tensor " + name + " has " + packed.data().byteSize() + " bytes; 4-bit codes of shape [" + shape[0] + ", "
                    + shape[1] + "] have " + packedBytes);
        }
        checkLevels(files, name, type);
        boolean isNested = files.containsKey(name + ".nested_absmax");
        MemorySegment absmax = part(files, name + ".absmax", isNested ? SafetensorsFile.Type.U8 : SafetensorsFile.Type.F32, blocks);
        Optional<Stored4Bit.Nested> nested = isNested ? Optional.of(nested(files, name, state, what, blocks)) : Optional.empty();
        return new BnbWeight(name, file.path(), shape, new Stored4Bit(type, blockSize, packed.data().asSlice(0, packedBytes), absmax, nested));
    }

    String storedType() {
        return stored.type().id().toUpperCase(Locale.ROOT);
    }

    /** Checks that all scales are finite, which reads them. */
    Stored4Bit checked() {
        if (stored.nested().isPresent()) {
            requireFinite(".nested_absmax", stored.nested().get().scale());
        } else {
            requireFinite(".absmax", stored.absmax());
        }
        return stored;
    }

    /** Level times scale, in single precision. */
    void read(long offset, int count, float[] destination) {
        float[] levels = stored.type().levels();
        int blockSize = stored.blockSize();
        float[] nestedLevels = stored.nested().map(n -> n.levels().toArray(MappedFile.F32)).orElse(new float[0]);
        long i = offset;
        int done = 0;
        while (done < count) {
            float scale = scale(i / blockSize, nestedLevels);
            int n = (int) Math.min(count - done, blockSize - i % blockSize);
            for (int end = done + n; done < end; done++, i++) {
                int pair = stored.packed().get(MappedFile.U8, i >>> 1);
                destination[done] = levels[((i & 1) == 0 ? pair >>> 4 : pair) & 15] * scale;
            }
        }
        Floats.requireFinite(path, name, destination, count);
    }

    private float scale(long block, float[] nestedLevels) {
        if (stored.nested().isEmpty()) {
            return stored.absmax().get(MappedFile.F32, block * 4);
        }
        Stored4Bit.Nested n = stored.nested().get();
        float level = nestedLevels[stored.absmax().get(MappedFile.U8, block) & 0xff];
        return level * n.scale().get(MappedFile.F32, block / NESTED_BLOCK * 4) + n.offset();
    }

    private static long[] shape(JsonNode state, String what) {
        JsonNode shape = state.path("shape");
        boolean valid = shape.isArray() && shape.size() == 2;
        for (JsonNode d : shape) {
            valid &= d.isIntegralNumber() && d.canConvertToInt() && d.intValue() > 0;
        }
        if (!valid) {
            throw new PanaceaException(what + " has shape " + shape + "; two dimensions are expected");
        }
        return new long[] {shape.get(0).intValue(), shape.get(1).intValue()};
    }

    private static Stored4Bit.Nested nested(Map<String, SafetensorsFile> files, String name, JsonNode state, String what, long blocks) {
        if (state.path("nested_blocksize").asInt(0) != NESTED_BLOCK || !state.path("nested_dtype").asText().equals("float32")
                || !state.path("nested_offset").isNumber()) {
            throw new PanaceaException(what + " must have nested_blocksize " + NESTED_BLOCK + ", nested_dtype float32 and a nested_offset, but is " + state);
        }
        float offset = (float) state.path("nested_offset").doubleValue();
        MemorySegment levels = part(files, name + ".nested_quant_map", SafetensorsFile.Type.F32, 256);
        if (!Float.isFinite(offset)) {
            throw new PanaceaException(what + " has nested_offset " + state.path("nested_offset"));
        }
        Floats.requireFinite(files.get(name).path(), name + ".nested_quant_map", levels.toArray(MappedFile.F32), 256);
        return new Stored4Bit.Nested(levels, part(files, name + ".nested_absmax", SafetensorsFile.Type.F32, (blocks + NESTED_BLOCK - 1) / NESTED_BLOCK), offset);
    }

    private static void checkLevels(Map<String, SafetensorsFile> files, String name, QuantType type) {
        float[] found = part(files, name + ".quant_map", SafetensorsFile.Type.F32, 16).toArray(MappedFile.F32);
        float[] expected = type.levels();
        for (int i = 0; i < expected.length; i++) {
            if (!(Math.abs(found[i] - expected[i]) <= LEVEL_TOLERANCE)) {
                throw new PanaceaException(files.get(name).path() + ": " + name + ".quant_map has " + found[i] + " at " + i + ", where the " + type + " table of bitsandbytes has "
                        + expected[i] + "; quantize the model again with a current bitsandbytes");
            }
        }
    }

    private static MemorySegment part(Map<String, SafetensorsFile> files, String name, SafetensorsFile.Type type, long elements) {
        SafetensorsFile file = files.get(name);
        if (file == null) {
            throw new PanaceaException("The tensor " + name + " of a 4-bit weight is missing; the other parts of it are in " + files.values().iterator().next().path()
                    + " or beside it. Download or save the model again");
        }
        SafetensorsFile.Tensor t = file.tensor(name);
        if (t.type() != type || t.elements() != elements) {
            throw new PanaceaException(file.path() + ": tensor " + name + " is " + t.type() + " of shape " + t.shape() + "; " + elements + " of " + type + " are expected");
        }
        return t.data();
    }

    private void requireFinite(String suffix, MemorySegment scales) {
        float[] chunk = new float[4096];
        long elements = scales.byteSize() / 4;
        for (long at = 0; at < elements; at += chunk.length) {
            int n = (int) Math.min(chunk.length, elements - at);
            Floats.f32(scales, at, n, chunk, 0);
            Floats.requireFinite(path, name + suffix, chunk, n);
        }
    }
}
