package dev.panacea.kernels;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Comparator;
import java.util.stream.IntStream;

/**
 * The 4-bit format of bitsandbytes, element by element. A code is the number of midpoints between neighbouring levels that lie strictly
 * below {@code x * (1 / absmax)}, all in single precision: this is what bitsandbytes' CPU library does, bit for bit. (Its CUDA kernels write
 * the same midpoints as decimal constants; NF4's largest differs in its last bit, and FP4's sign of zero is the sign of x there.)
 */
final class Q4Codec {
    /** Codes in ascending order of their levels, and the midpoints between them. */
    private final int[] codes;
    private final float[] midpoints = new float[15];

    Q4Codec(QuantType type) {
        float[] levels = type.levels();
        // A stable sort by value: of FP4's two zeros code 0 stands before code 8, so tiny negative numbers get code 0, tiny positive ones 8.
        codes = IntStream.range(0, 16).boxed().sorted(Comparator.comparing(c -> levels[c])).mapToInt(c -> c).toArray();
        for (int i = 0; i < 15; i++) {
            midpoints[i] = (levels[codes[i]] + levels[codes[i + 1]]) / 2;
        }
    }

    /** The code of a value in [-1, 1]. */
    int code(float x) {
        int below = 0;
        while (below < 15 && midpoints[below] < x) {
            below++;
        }
        return codes[below];
    }

    /** Quantizes {@code n} elements; finite values are assumed. An all-zero block has absmax 0 and the codes of 0. */
    void quantize(DeviceBuffer x, long n, int blockSize, DeviceBuffer packed, DeviceBuffer absmax) {
        for (long start = 0; start < n; start += blockSize) {
            double[] block = Elements.read(x, start, (int) Math.min(blockSize, n - start));
            float max = (float) Arrays.stream(block).map(Math::abs).max().orElse(0);
            // The reciprocal of a scale below 2^-128 overflows; such a block counts as zero.
            float inverse = Float.isFinite(1 / max) ? 1 / max : 0;
            absmax.host().set(Elements.F32, start / blockSize * 4, max);
            for (int i = 0; i < block.length; i += 2) {
                int high = code((float) block[i] * inverse);
                int low = code(i + 1 < block.length ? (float) block[i + 1] * inverse : 0);
                packed.host().set(Elements.U8, (start + i) / 2, (byte) (high << 4 | low));
            }
        }
    }

    /** Scales {@code from} to {@code from + count}. */
    static float[] absmax(Q4Weight w, long from, int count) {
        if (w.nested().isEmpty()) {
            return Elements.readFloats(w.absmax(), from, count);
        }
        Q4Weight.Nested nested = w.nested().get();
        float[] levels = Elements.readFloats(nested.levels(), 0, 256);
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            int code = w.absmax().host().get(Elements.U8, from + i) & 0xFF;
            float scale = nested.scale().host().get(Elements.F32, (from + i) / Q4Weight.NESTED_BLOCK * 4);
            values[i] = levels[code] * scale + nested.offset();
        }
        return values;
    }

    /** Elements {@code from} to {@code from + count} of the flattened matrix, exact products in single precision. */
    static double[] read(Q4Weight w, long from, int count) {
        double[] values = new double[count];
        if (count == 0) {
            return values;
        }
        float[] levels = Elements.readFloats(w.levels(), 0, 16);
        long firstBlock = from / w.blockSize();
        float[] scales = absmax(w, firstBlock, (int) ((from + count - 1) / w.blockSize() - firstBlock) + 1);
        byte[] bytes = new byte[(int) ((from + count + 1) / 2 - from / 2)];
        MemorySegment.copy(w.packed().host(), Elements.U8, from / 2, bytes, 0, bytes.length);
        for (int i = 0; i < count; i++) {
            long element = from + i;
            int pair = bytes[(int) (element / 2 - from / 2)];
            int code = element % 2 == 0 ? pair >> 4 & 15 : pair & 15;
            values[i] = levels[code] * scales[(int) (element / w.blockSize() - firstBlock)];
        }
        return values;
    }
}
