package dev.panacea.examples;

import java.time.Duration;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.Supplier;

/** How long each part of a run took, by wall clock. */
final class PhaseClock {
    private final Map<String, Duration> phases = new LinkedHashMap<>();

    /** Does something and adds its time to a phase. */
    <T> T time(String phase, Supplier<T> work) {
        long start = System.nanoTime();
        try {
            return work.get();
        } finally {
            phases.merge(phase, Duration.ofNanos(System.nanoTime() - start), Duration::plus);
        }
    }

    Duration of(String phase) {
        return phases.getOrDefault(phase, Duration.ZERO);
    }

    /** All phases in the order in which they began. */
    Map<String, Duration> phases() {
        return Collections.unmodifiableMap(new LinkedHashMap<>(phases));
    }
}
