package dev.panacea.golden;

import static org.assertj.core.api.Assertions.assertThat;

/** How far figures are from the reference, as golden/README.md measures it. */
final class Deviation {
    private Deviation() {}

    /** Largest difference over the largest magnitude expected. */
    static double ofLargest(float[] actual, float[] expected) {
        assertThat(actual.length).isEqualTo(expected.length);
        double difference = 0;
        double largest = 0;
        for (int i = 0; i < expected.length; i++) {
            difference = Math.max(difference, Math.abs((double) actual[i] - expected[i]));
            largest = Math.max(largest, Math.abs(expected[i]));
        }
        return difference / largest;
    }

    /** Norm of the difference over the norm expected. */
    static double ofNorm(float[] actual, float[] expected) {
        assertThat(actual.length).isEqualTo(expected.length);
        double difference = 0;
        double norm = 0;
        for (int i = 0; i < expected.length; i++) {
            double d = (double) actual[i] - expected[i];
            difference += d * d;
            norm += (double) expected[i] * expected[i];
        }
        return Math.sqrt(difference / norm);
    }

    /** Checks a deviation against its limit and keeps it for the list printed at the end. */
    static void within(String name, double deviation, double limit) {
        GoldenTest.deviation(String.format(java.util.Locale.ROOT, "%-60s %.2e of %.1e allowed", name, deviation, limit));
        assertThat(deviation).as(name).isLessThanOrEqualTo(limit);
    }
}
