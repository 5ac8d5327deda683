package dev.panacea.kernels;

import java.lang.foreign.MemorySegment;
import java.util.random.RandomGenerator;

/**
 * Random weights in ggml's formats: every bit of codes and small scales is drawn, the half-precision scales are such that values are of the order
 * of {@code 1 / sqrt(cols)}.
 */
final class GgmlContent {
    private GgmlContent() {}

    static byte[] random(GgmlType type, RandomGenerator random, int rows, int cols) {
        double deviation = 1 / Math.sqrt(cols);
        if (type.blockElements() == 1) {
            return dense(type, KernelCase.random(random, (long) rows * cols, deviation));
        }
        byte[] data = new byte[Math.toIntExact(type.byteSize(cols) * rows)];
        random.nextBytes(data);
        MemorySegment bytes = MemorySegment.ofArray(data);
        for (int at = 0; at < data.length; at += type.blockBytes()) {
            double d = (0.5 + random.nextDouble()) * deviation * (random.nextBoolean() ? 1 : -1);
            switch (type) {
                case Q4_0 -> half(bytes, at, d / 4.6);
                case Q4_1 -> halves(bytes, at, d / 4.6, -7.5 * d / 4.6);
                case Q5_0 -> half(bytes, at, d / 9.2);
                case Q5_1 -> halves(bytes, at, d / 9.2, -15.5 * d / 9.2);
                case Q8_0 -> half(bytes, at, d / 74);
                case Q4_K -> halves(bytes, at, d / 330, 7.5 * d / 330);
                case Q5_K -> halves(bytes, at, d / 660, 15.5 * d / 660);
                case Q6_K -> half(bytes, at + 208, d / (74 * 18.5));
                default -> throw new IllegalArgumentException(type + " is not a format of blocks that the kernels read");
            }
        }
        return data;
    }

    private static byte[] dense(GgmlType type, double[] values) {
        byte[] data = new byte[values.length * type.blockBytes()];
        MemorySegment bytes = MemorySegment.ofArray(data);
        for (int i = 0; i < values.length; i++) {
            switch (type) {
                case F32 -> bytes.set(Elements.F32, 4L * i, (float) values[i]);
                case F16 -> half(bytes, 2 * i, values[i]);
                default -> bytes.set(Elements.BF16, 2L * i, Bf16.fromFloat((float) values[i]));
            }
        }
        return data;
    }

    private static void halves(MemorySegment bytes, int at, double first, double second) {
        half(bytes, at, first);
        half(bytes, at + 2, second);
    }

    /** Two bytes, little-endian, as those of BF16. */
    private static void half(MemorySegment bytes, int at, double value) {
        bytes.set(Elements.BF16, at, Float.floatToFloat16((float) value));
    }
}
