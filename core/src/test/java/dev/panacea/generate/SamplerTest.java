package dev.panacea.generate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.ReferenceKernels;
import dev.panacea.llama.Predictions.Largest;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Comparator;
import java.util.Map;
import java.util.OptionalInt;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class SamplerTest {
    private static final float[] LOGITS = {0f, 2f, 1f, -1f, 3f};

    private static double[] frequencies(GenerationConfig config) {
        Sampler sampler = new Sampler(config, 7);
        double[] f = new double[LOGITS.length];
        int n = 40_000;
        for (int i = 0; i < n; i++) {
            f[sampler.next(LOGITS.clone(), new int[0], 0)] += 1.0 / n;
        }
        return f;
    }

    private static double[] softmax(double temperature, int... ids) {
        double[] p = new double[LOGITS.length];
        double sum = 0;
        for (int id : ids) {
            p[id] = Math.exp(LOGITS[id] / temperature);
            sum += p[id];
        }
        for (int id : ids) {
            p[id] /= sum;
        }
        return p;
    }

    private static void assertNear(double[] actual, double[] expected) {
        for (int i = 0; i < expected.length; i++) {
            assertThat(actual[i]).as("frequency of " + i).isCloseTo(expected[i], within(0.01));
            if (expected[i] == 0) {
                assertThat(actual[i]).isZero();
            }
        }
    }

    @Test
    void temperatureScalesTheLogits() {
        assertNear(frequencies(new GenerationConfig(1, 0.7, 0, 1, 1, 0)), softmax(0.7, 0, 1, 2, 3, 4));
    }

    @Test
    void topKKeepsTheMostProbable() {
        assertNear(frequencies(new GenerationConfig(1, 1, 2, 1, 1, 0)), softmax(1, 4, 1));
    }

    @Test
    void topPKeepsTheSmallestSetThatReachesIt() {
        // Probabilities at temperature 1: 0.64, 0.24, 0.09, 0.03, 0.01.
        assertNear(frequencies(new GenerationConfig(1, 1, 0, 0.8, 1, 0)), softmax(1, 4, 1));
        assertNear(frequencies(new GenerationConfig(1, 1, 0, 0.5, 1, 0)), softmax(1, 4));
    }

    @Test
    void repetitionPenaltyLowersWhatWasSeen() {
        Sampler sampler = new Sampler(new GenerationConfig(1, 0, 0, 1, 2, 0), 0);
        assertThat(sampler.next(LOGITS.clone(), new int[] {4, 3, 0}, 2)).isEqualTo(1);
    }

    /** The rule itself, over all tokens in order of probability. */
    private static int byTheRule(float[] logits, GenerationConfig config, double uniform) {
        Integer[] order = IntStream.range(0, logits.length).boxed().sorted(Comparator.comparingDouble((Integer i) -> -logits[i]).thenComparing(i -> i)).toArray(Integer[]::new);
        int kept = config.topK() == 0 ? order.length : Math.min(config.topK(), order.length);
        double[] p = IntStream.range(0, kept).mapToDouble(i -> Math.exp((logits[order[i]] - logits[order[0]]) / config.temperature())).toArray();
        double sum = Arrays.stream(p).sum();
        int count = 1;
        while (count < kept && Arrays.stream(p, 0, count).sum() < config.topP() * sum) {
            count++;
        }
        double u = uniform * Arrays.stream(p, 0, count).sum();
        int i = 0;
        while (i < count - 1 && (u -= p[i]) >= 0) {
            i++;
        }
        return order[i];
    }

    @Test
    void largeVocabulariesFollowTheSameRule() {
        SplittableRandom random = new SplittableRandom(3);
        for (double width : new double[] {0.01, 1, 6, 40}) {
            float[] logits = new float[3000];
            for (int i = 0; i < logits.length; i++) {
                logits[i] = i % 5 == 0 ? (float) width : (float) (random.nextGaussian() * width);
            }
            logits[17] = Float.NEGATIVE_INFINITY;
            for (int[] k : new int[][] {{0, 90}, {0, 50}, {40, 100}, {2000, 95}, {1, 100}}) {
                for (int seed = 0; seed < 20; seed++) {
                    GenerationConfig config = new GenerationConfig(1, 0.7, k[0], k[1] / 100.0, 1, 0);
                    int token = new Sampler(config, seed).next(logits.clone(), new int[0], 0);
                    assertThat(token).as("width %s, topK %d, topP 0.%d", width, k[0], k[1]).isEqualTo(byTheRule(logits, config, new SplittableRandom(seed).nextDouble()));
                }
            }
        }
    }

    /** The largest logits by the reference; the sum as far off as it may be. */
    private static Largest largest(float[] logits, int k, double temperature, double error) {
        int n = Math.min(k, logits.length);
        Largest largest = new Largest(new int[n], new float[n], 0, n == logits.length);
        float[] sum = new float[1];
        try (Kernels kernels = new ReferenceKernels()) {
            kernels.topK(buffer(DType.F32, logits), 1, logits.length, n, temperature, buffer(DType.I32, largest.ids()), buffer(DType.F32, largest.logits()), buffer(DType.F32, sum));
        }
        return new Largest(largest.ids(), largest.logits(), (float) (sum[0] * (1 + error)), largest.all());
    }

    private static DeviceBuffer buffer(DType type, Object array) {
        return DeviceBuffer.ofHost(type, array instanceof int[] ints ? MemorySegment.ofArray(ints) : MemorySegment.ofArray((float[]) array));
    }

    /** What the largest logits decide is what all of them decide, and they do decide where it matters: real logits are as wide as 2 to 4. */
    @Test
    void theLargestLogitsDecideAsAllOfThemDo() {
        SplittableRandom random = new SplittableRandom(5);
        Map<Double, Integer> decided = new TreeMap<>();
        int[] seen = random.ints(60, 0, 3000).toArray();
        for (double width : new double[] {0.01, 2, 4, 40}) {
            float[] logits = new float[3000];
            for (int i = 0; i < logits.length; i++) {
                // Some of them equal, both zeros among those.
                logits[i] = i % 7 == 0 ? Math.round(random.nextGaussian() * width) * (i % 2 == 0 ? 1f : -1f) : (float) (random.nextGaussian() * width);
            }
            logits[17] = Float.NEGATIVE_INFINITY;
            for (GenerationConfig config : new GenerationConfig[] {new GenerationConfig(1, 0, 0, 1, 1.2, 0), new GenerationConfig(1, 0.7, 0, 0.9, 1, 0), new GenerationConfig(1, 1.3, 0, 0.7, 1, 0),
                    new GenerationConfig(1, 0.7, 0, 0.9, 1.1, 0), new GenerationConfig(1, 1, 40, 1, 1, 0), new GenerationConfig(1, 0.6, 50, 0.95, 1.3, 0)}) {
                assertThat(Sampler.largestMayDecide(config)).isTrue();
                for (int seed = 0; seed < 12; seed++) {
                    double error = (seed % 3 - 1) * 0.9 * Kernels.SUM_ERROR;
                    for (int k : new int[] {4, 600, 1024}) {
                        Largest largest = largest(logits, k, Sampler.temperatureOfSum(config), error);
                        int expected = new Sampler(config, seed).next(logits.clone(), seen, seen.length);
                        OptionalInt token = new Sampler(config, seed).among(largest, seen, seen.length);
                        if (token.isPresent()) {
                            assertThat(token.getAsInt()).as("width %s, %s, the largest %d", width, config, k).isEqualTo(expected);
                            decided.merge(width, 1, Integer::sum);
                        }
                    }
                }
            }
        }
        System.out.println("decided by the largest logits, of 216 tokens at each width: " + decided);
        assertThat(decided.get(2.0)).isGreaterThan(130);
        assertThat(decided.get(0.01)).isLessThan(130);
    }

    @Test
    void whatUnlikelyTokensDecideIsNotLeftToTheLargest() {
        assertThat(Sampler.largestMayDecide(new GenerationConfig(1, 1, 0, 1, 1, 0))).as("from all tokens").isFalse();
        assertThat(Sampler.largestMayDecide(new GenerationConfig(1, 1, 1025, 1, 1, 0))).as("from too many").isFalse();
        assertThat(Sampler.largestMayDecide(new GenerationConfig(1, 0, 0, 1, 0.9, 0))).as("seen tokens become likelier").isFalse();
    }
}
