package dev.panacea.kernels;

import java.util.stream.IntStream;

/**
 * {@link Kernels#argMax} and {@link Kernels#topK} in plain Java, for the backends whose memory this process can read: rows that it can read it need not
 * have the largest of, so nothing but the definition counts here.
 */
final class LargestLogits {
    private LargestLogits() {}

    static void argMax(DeviceBuffer logits, int rows, int vocab, DeviceBuffer ids) {
        for (int row = 0; row < rows; row++) {
            float[] values = Elements.readFloats(logits, (long) row * vocab, vocab);
            int best = 0;
            for (int i = 1; i < vocab; i++) {
                if (values[i] > values[best] || Float.isNaN(values[best]) && !Float.isNaN(values[i])) {
                    best = i;
                }
            }
            ids.host().set(Elements.I32, 4L * row, best);
        }
    }

    static void topK(DeviceBuffer logits, int rows, int vocab, int k, double temperature, DeviceBuffer ids, DeviceBuffer values, DeviceBuffer sums) {
        for (int row = 0; row < rows; row++) {
            float[] all = Elements.readFloats(logits, (long) row * vocab, vocab);
            long[] largest = IntStream.range(0, vocab).mapToLong(i -> key(all[i], i)).sorted().limit(k).toArray();
            float most = all[(int) largest[0]];
            for (int i = 0; i < k; i++) {
                long at = 4 * ((long) row * k + i);
                ids.host().set(Elements.I32, at, (int) largest[i]);
                values.host().set(Elements.F32, at, all[(int) largest[i]]);
            }
            double sum = 0;
            for (float logit : all) {
                sum += Math.exp((logit - most) / temperature);
            }
            sums.host().set(Elements.F32, 4L * row, (float) sum);
        }
    }

    /** The id in the lower half, in the upper the logit as an integer that is the less the greater the logit is. */
    private static long key(float logit, int id) {
        int bits = Float.floatToRawIntBits(logit + 0f);
        int ordered = Float.isNaN(logit) ? Integer.MIN_VALUE : bits ^ (bits >> 31 & 0x7fffffff);
        return (long) ~ordered << 32 | id;
    }
}
