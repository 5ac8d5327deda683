package dev.panacea.benchmarks;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.function.DoubleSupplier;

/**
 * Times something between measurements of the ceiling and beside a peer: ceiling, ours, peer, ceiling, ours, peer, ceiling ... The clock of a CPU
 * varies by two within minutes, on a shared machine even within seconds, so that only ratios of neighbours mean something; of these the median is taken.
 */
final class Interleaved {
    /** Threads of the other side may spin on for some milliseconds when they have nothing to do. */
    private static final long SETTLE_MS = 12;

    /**
     * When to stop: after {@code atLeast} rounds as soon as the time is up, after {@code atMost} in any case.
     */
    record Budget(int atLeast, int atMost, double seconds) {}

    /**
     * Medians.
     *
     * @param value amount of work per second
     * @param ceiling in the unit of the value
     * @param share of the value in the mean of the ceilings before and after it
     * @param peerRatio the peer's time over ours
     */
    record Medians(double value, double ceiling, double share, OptionalDouble peerRatio) {}

    private Interleaved() {}

    /**
     * @param work what one unit of ours comes to, such as GFLOP
     * @param ceiling measures it, in work per second
     * @param ours runs and returns the seconds per unit
     * @param peer the same of the other side
     */
    static Medians measure(double work, DoubleSupplier ceiling, DoubleSupplier ours, Optional<DoubleSupplier> peer, Budget budget) {
        List<Double> values = new ArrayList<>();
        List<Double> ceilings = new ArrayList<>();
        List<Double> shares = new ArrayList<>();
        List<Double> ratios = new ArrayList<>();
        long end = System.nanoTime() + (long) (1e9 * budget.seconds());
        double before = settled(ceiling);
        ceilings.add(before);
        while (values.size() < budget.atLeast() || values.size() < budget.atMost() && System.nanoTime() < end) {
            double seconds = settled(ours);
            if (peer.isPresent()) {
                ratios.add(settled(peer.get()) / seconds);
            }
            double after = settled(ceiling);
            values.add(work / seconds);
            ceilings.add(after);
            shares.add(work / seconds / ((before + after) / 2));
            before = after;
        }
        return new Medians(median(values), median(ceilings), median(shares), ratios.isEmpty() ? OptionalDouble.empty() : OptionalDouble.of(median(ratios)));
    }

    private static double settled(DoubleSupplier step) {
        double result = step.getAsDouble();
        try {
            Thread.sleep(SETTLE_MS);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException("interrupted while measuring", e);
        }
        return result;
    }

    static double median(List<Double> values) {
        double[] sorted = values.stream().mapToDouble(Double::doubleValue).sorted().toArray();
        int half = sorted.length / 2;
        return sorted.length % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
    }
}
