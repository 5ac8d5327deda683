package dev.panacea.io;

import dev.panacea.kernels.GgmlType;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.Optional;
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
    /** Of one task, and of what it copies to the heap at a time. */
    private static final long TASK_BYTES = 4 << 20;
    private static final int CHUNK_BYTES = 1 << 15;

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

    /**
     * A matrix that may be used where it is mapped; nothing if its numbers stand where a processor does not want them, which a file may arrange.
     *
     * @throws dev.panacea.kernels.PanaceaException if one of its values is not finite
     */
    static Optional<Checkpoint.StoredBlocks> checked(Path file, String name, Checkpoint.StoredBlocks blocks) {
        if (blocks.data().address() % (blocks.type() == GgmlType.F32 ? 4 : 2) != 0) {
            return Optional.empty();
        }
        if (!finite(blocks.type(), blocks.data())) {
            throw Floats.notFinite(file, name);
        }
        return Optional.of(blocks);
    }

    /** Whether every value of {@code data}, whole blocks of {@code type}, is finite. Reads the data once, in parallel. */
    static boolean finite(GgmlType type, MemorySegment data) {
        BlockScales scales = of(type);
        long task = TASK_BYTES / type.blockBytes() * type.blockBytes();
        return LongStream.range(0, (data.byteSize() + task - 1) / task).parallel()
                .allMatch(i -> scales.finite(data.asSlice(i * task, Math.min(task, data.byteSize() - i * task)), type.blockBytes()));
    }

    private boolean finite(MemorySegment part, int blockBytes) {
        int chunk = CHUNK_BYTES / blockBytes * blockBytes;
        short[] pairs = new short[(int) Math.min(chunk, part.byteSize()) / 2];
        // Added to an exponent of all ones, its lowest bit carries into the sign's place.
        int one = exponent & -exponent;
        int carried = 0;
        for (long done = 0; done < part.byteSize(); done += chunk) {
            int n = (int) Math.min(pairs.length, (part.byteSize() - done) / 2);
            MemorySegment.copy(part, MappedFile.I16, done, pairs, 0, n);
            for (int offset : offsets) {
                for (int i = offset; i < n; i += blockBytes / 2) {
                    carried |= (pairs[i] & exponent) + one;
                }
            }
        }
        return (carried & 0x8000) == 0;
    }
}
