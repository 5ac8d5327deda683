package dev.panacea.generate;

import dev.panacea.kernels.Kernels;
import dev.panacea.llama.Predictions;
import dev.panacea.llama.Predictions.Largest;
import java.util.Arrays;
import java.util.BitSet;
import java.util.OptionalInt;
import java.util.SplittableRandom;
import java.util.function.IntToDoubleFunction;

/** Chooses the next token from logits: repetition penalty, temperature, top-k, top-p, in transformers' order. For one thread. */
final class Sampler {
    /** Eight to a logit, the last for everything further than 32 from the best. */
    private static final int BUCKETS = 257;
    /** Between the sum of {@link Largest} and the one that {@link #sample} takes: as much again for the roundings of differences here. */
    private static final double SUM_ERROR = 2 * Kernels.SUM_ERROR;

    private final GenerationConfig config;
    private final SplittableRandom random;

    Sampler(GenerationConfig config, long seed) {
        this.config = config;
        this.random = new SplittableRandom(seed);
    }

    // ---- from all logits ---------------------------------------------------------------------------------------------

    /**
     * Chooses of all logits.
     *
     * @param seen prompt and answer so far
     * @param length how much of it is filled
     * @throws dev.panacea.kernels.PanaceaException if a logit is no number, or the largest is infinite
     */
    int next(float[] logits, int[] seen, int length) {
        // Minus infinity is a token that cannot come.
        Predictions.requireNumber(logits[best(logits)]);
        for (float logit : logits) {
            if (Float.isNaN(logit)) {
                Predictions.requireNumber(logit);
            }
        }
        if (config.repetitionPenalty() != 1) {
            seen(seen, length).stream().forEach(id -> logits[id] = penalized(logits[id]));
        }
        if (config.temperature() == 0) {
            return best(logits);
        }
        return sample(logits);
    }

    private static BitSet seen(int[] tokens, int length) {
        BitSet seen = new BitSet();
        Arrays.stream(tokens, 0, length).forEach(seen::set);
        return seen;
    }

    private float penalized(float logit) {
        float penalty = (float) config.repetitionPenalty();
        return logit > 0 ? logit / penalty : logit * penalty;
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
        double[] p = new double[logits.length];
        double[] mass = new double[BUCKETS];
        int[] size = new int[BUCKETS];
        double sum = 0;
        for (int i = 0; i < p.length; i++) {
            p[i] = weight(logits[i], max);
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
                order[at++] = key(logits[i], i);
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
        return (int) order[drawn(count, nucleus, i -> p[(int) order[i]])];
    }

    private static int bucket(float below) {
        return (int) Math.min(BUCKETS - 1, below * 8);
    }

    private double weight(float logit, float max) {
        // The largest itself is apart: the coldest temperatures have an infinite inverse.
        return logit == max ? 1 : Math.exp((logit - max) * (1 / config.temperature()));
    }

    /** One of {@code count} by weights that add up to {@code sum}. */
    private int drawn(int count, double sum, IntToDoubleFunction weights) {
        double u = random.nextDouble() * sum;
        for (int i = 0; i < count; i++) {
            u -= weights.applyAsDouble(i);
            if (u < 0) {
                return i;
            }
        }
        return count - 1;
    }

    // ---- a logit and an id as one number -----------------------------------------------------------------------------

    /**
     * The logit in the upper half as an integer of the opposite order, the id in the lower: sorting these sorts tokens by probability, ties by id. Both
     * zeros are one.
     */
    private static long key(float logit, int id) {
        return (long) ~ordered(Float.floatToIntBits(logit + 0f)) << 32 | id;
    }

    private static float logit(long key) {
        return Float.intBitsToFloat(ordered(~(int) (key >> 32)));
    }

    /** The bits of a float as an integer of the same order, and back. */
    private static int ordered(int bits) {
        return bits ^ (bits >> 31 & 0x7fffffff);
    }

    // ---- from the largest logits -------------------------------------------------------------------------------------

    /** Whether {@link #among} can decide at all; not where unlikely tokens count as well, or seen ones become more likely. */
    static boolean largestMayDecide(GenerationConfig config) {
        boolean few = config.temperature() == 0 || (config.topK() == 0 ? config.topP() < 1 : config.topK() <= Kernels.MOST_OF_A_ROW);
        return few && config.repetitionPenalty() >= 1;
    }

    /** For the sum of {@link Largest}, which does not matter to greedy decoding. */
    static double temperatureOfSum(GenerationConfig config) {
        return config.temperature() == 0 ? 1 : config.temperature();
    }

    /**
     * Exactly the token that {@link #next} would choose of the whole vocabulary, where the largest logits decide which it is. Empty where they do not: the
     * nucleus may reach beyond them, or the error of the sum leaves open where it ends. Nothing has been drawn then.
     */
    OptionalInt among(Largest largest, int[] seen, int length) {
        Predictions.requireNumber(largest.logits()[0]);
        Predictions.requireNumber(largest.sum());
        BitSet penalizedIds = config.repetitionPenalty() == 1 ? new BitSet() : seen(seen, length);
        float least = largest.logits()[largest.logits().length - 1];
        double changed = 0;
        long[] order = new long[largest.ids().length];
        int certain = 0;
        for (int i = 0; i < order.length; i++) {
            int id = largest.ids()[i];
            float logit = penalizedIds.get(id) ? penalized(largest.logits()[i]) : largest.logits()[i];
            changed += weight(logit, largest.logits()[0]) - weight(largest.logits()[i], largest.logits()[0]);
            penalizedIds.clear(id);
            order[i] = key(logit, id);
            // Others have at most the least of these: the order of what exceeds it is known.
            certain += logit > least || largest.all() ? 1 : 0;
        }
        if (certain == 0) {
            return OptionalInt.empty();
        }
        Arrays.sort(order);
        if (config.temperature() == 0) {
            return OptionalInt.of((int) order[0]);
        }
        float max = logit(order[0]);
        double[] p = new double[config.topK() == 0 ? certain : Math.min(config.topK(), order.length)];
        if (p.length > certain) {
            return OptionalInt.empty();
        }
        double lower = 0;
        for (int i = 0; i < p.length; i++) {
            p[i] = weight(logit(order[i]), max);
            lower += p[i];
        }
        double upper = lower;
        if (config.topK() == 0) {
            // Relative to the greatest logit now; of what others have lost nothing is known but that it is not more than they had.
            double scale = 1 / weight(max, largest.logits()[0]);
            upper = (largest.sum() * (1 + SUM_ERROR) + changed) * scale;
            lower = (largest.sum() * (1 - SUM_ERROR) + changed - penalizedIds.cardinality() * weight(least, largest.logits()[0])) * scale;
        }
        double nucleus = 0;
        int count = 0;
        while (count < p.length && (count == 0 || nucleus < config.topP() * lower)) {
            nucleus += p[count++];
        }
        boolean open = config.topK() == 0 && !(nucleus >= config.topP() * upper);
        return open ? OptionalInt.empty() : OptionalInt.of((int) order[drawn(count, nucleus, i -> p[i])]);
    }
}
