package dev.panacea.generate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

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
}
