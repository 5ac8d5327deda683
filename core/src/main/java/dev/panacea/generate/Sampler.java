package dev.panacea.generate;

import java.util.Arrays;
import java.util.SplittableRandom;

/** Chooses the next token from logits: repetition penalty, temperature, top-k, top-p, in transformers' order. */
final class Sampler {
    /** Eight to a logit, the last for everything further than 32 from the best. */
    private static final int BUCKETS = 257;

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

    /**
     * Draws from the nucleus. Sorting a vocabulary costs more than the rest of a token's sampling, so tokens are first counted into buckets of
     * a logit's width by their distance from the best, and only the buckets that can reach into the nucleus are sorted.
     */
    private int sample(float[] logits) {
        float max = logits[best(logits)];
        double inverse = 1 / config.temperature();
        double[] p = new double[logits.length];
        double[] mass = new double[BUCKETS];
        int[] size = new int[BUCKETS];
        double sum = 0;
        for (int i = 0; i < p.length; i++) {
            p[i] = Math.exp((logits[i] - max) * inverse);
            sum += p[i];
            int b = bucket(max - logits[i]);
            mass[b] += p[i];
            size[b]++;
        }
        int last = 0;
        int candidates = size[0];
        for (double reached = mass[0]; last < BUCKETS - 1 && (config.topK() == 0 ? reached < config.topP() * sum : candidates < config.topK()); ) {
            reached += mass[++last];
            candidates += size[last];
        }
        long[] order = new long[candidates];
        for (int i = 0, at = 0; i < p.length; i++) {
            if (bucket(max - logits[i]) <= last) {
                // Logit in the upper half as an order-preserving integer, id in the lower: sorting longs sorts tokens by probability, ties by id.
                int bits = Float.floatToIntBits(logits[i]);
                int ordered = bits ^ (bits >> 31 & 0x7fffffff);
                order[at++] = (long) ~ordered << 32 | i;
            }
        }
        if (config.topK() > 0 || config.topP() < 1) {
            Arrays.sort(order);
        }
        int kept = config.topK() == 0 ? candidates : Math.min(config.topK(), candidates);
        if (config.topK() > 0) {
            sum = 0;
            for (int i = 0; i < kept; i++) {
                sum += p[(int) order[i]];
            }
        }
        double nucleus = 0;
        int count = 0;
        while (count < kept && (count == 0 || nucleus < config.topP() * sum)) {
            nucleus += p[(int) order[count++]];
        }
        double u = random.nextDouble() * nucleus;
        for (int i = 0; i < count; i++) {
            u -= p[(int) order[i]];
            if (u < 0) {
                return (int) order[i];
            }
        }
        return (int) order[count - 1];
    }

    private static int bucket(float below) {
        return (int) Math.min(BUCKETS - 1, below * 8);
    }
}
