package dev.panacea.io;

import dev.panacea.kernels.GgmlType;
import java.lang.foreign.MemorySegment;
import java.util.stream.LongStream;

/**
 * Whether all values of a tensor are finite, told without decoding it: a block's values are sums of products of its half-precision scales
 * and small integers, far from single precision's limits, so they are finite exactly if the scales are; a plain number is its own scale.
 *
 * @param offsets where they stand in a block, in units of two bytes; of a single-precision number the upper half is looked at
 * @param exponent mask of the exponent, whose bits are all set in infinities and NaN and in nothing else
 */
record BlockScales(int[] offsets, int exponent) {
    private static final int HALF = 0x7c00;
    private static final int BRAIN = 0x7f80;
    private static final int CHUNK_BYTES = 1 << 18;

    static BlockScales of(GgmlType type) {
        return switch (type) {
            case F32 -> at(BRAIN, 2);
            case BF16 -> at(BRAIN, 0);
            case F16, Q4_0, Q5_0, Q8_0, IQ4_NL -> at(HALF, 0);
            case Q4_1, Q5_1, Q4_K, Q5_K -> at(HALF, 0, 2);
            case Q2_K -> at(HALF, 80, 82);
            case Q3_K -> at(HALF, 108);
            case Q6_K -> at(HALF, 208);
        };
    }

    private static BlockScales at(int exponent, int... bytes) {
        int[] offsets = bytes.clone();
        for (int i = 0; i < offsets.length; i++) {
            offsets[i] /= 2;
        }
        return new BlockScales(offsets, exponent);
    }

    /** Whether every value of {@code data}, whole blocks of {@code type}, is finite. Reads the data once, in parallel. */
    static boolean finite(GgmlType type, MemorySegment data) {
        BlockScales scales = of(type);
        long chunk = (long) CHUNK_BYTES / type.blockBytes() * type.blockBytes();
        return LongStream.range(0, (data.byteSize() + chunk - 1) / chunk).parallel()
                .allMatch(i -> scales.finite(data.asSlice(i * chunk, Math.min(chunk, data.byteSize() - i * chunk)), type.blockBytes() / 2));
    }

    private boolean finite(MemorySegment part, int stride) {
        short[] pairs = part.toArray(MappedFile.I16);
        // Added to an exponent of all ones, its lowest bit carries into the sign's place.
        int one = exponent & -exponent;
        int carried = 0;
        for (int offset : offsets) {
            for (int i = offset; i < pairs.length; i += stride) {
                carried |= (pairs[i] & exponent) + one;
            }
        }
        return (carried & 0x8000) == 0;
    }
}
