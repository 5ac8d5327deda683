package dev.panacea.generate;

import java.util.Arrays;
import java.util.SplittableRandom;

/** Chooses the next token from logits: repetition penalty, temperature, top-k, top-p, in transformers' order. */
final class Sampler {
    private final GenerationConfig config;
    private final SplittableRandom random;

    Sampler(GenerationConfig config, long seed) {
        this.config = config;
        this.random = new SplittableRandom(seed);
    }

    /** @param seen prompt and answer so far; @param length how much of it is filled */
    int next(float[] logits, int[] seen, int length) {
        penalize(logits, seen, length);
        if (config.temperature() == 0) {
            return best(logits);
        }
        return sample(logits);
    }

    private void penalize(float[] logits, int[] seen, int length) {
        if (config.repetitionPenalty() == 1) {
            return;
        }
        float penalty = (float) config.repetitionPenalty();
        for (int id : Arrays.stream(seen, 0, length).distinct().toArray()) {
            logits[id] = logits[id] > 0 ? logits[id] / penalty : logits[id] * penalty;
        }
    }

    private static int best(float[] logits) {
        int best = 0;
        for (int i = 1; i < logits.length; i++) {
            if (logits[i] > logits[best]) {
                best = i;
            }
        }
        return best;
    }

    private int sample(float[] logits) {
        // Logit in the upper half as an order-preserving integer, id in the lower: sorting longs sorts tokens by probability, ties by id.
        long[] order = new long[logits.length];
        for (int i = 0; i < logits.length; i++) {
            int bits = Float.floatToIntBits(logits[i]);
            int ordered = bits ^ (bits >> 31 & 0x7fffffff);
            order[i] = (long) ~ordered << 32 | i;
        }
        Arrays.sort(order);
        int kept = config.topK() == 0 ? order.length : Math.min(config.topK(), order.length);
        double max = logits[(int) order[0]];
        double[] p = new double[kept];
        double sum = 0;
        for (int i = 0; i < kept; i++) {
            p[i] = Math.exp((logits[(int) order[i]] - max) / config.temperature());
            sum += p[i];
        }
        double nucleus = 0;
        int count = 0;
        while (count < kept && (count == 0 || nucleus < config.topP() * sum)) {
            nucleus += p[count++];
        }
        double u = random.nextDouble() * nucleus;
        for (int i = 0; i < count; i++) {
            u -= p[i];
            if (u < 0) {
                return (int) order[i];
            }
        }
        return (int) order[count - 1];
    }
}
