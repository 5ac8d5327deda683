package dev.panacea.examples;

import java.time.Duration;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.Supplier;

/**
 * How long each part of a run took, by wall clock. After each the heap is tidied: a collector lets it grow with the machine's memory before it
 * looks for garbage, and a run should need the same memory everywhere. That costs some hundredths of a second.
 */
final class PhaseClock {
    private final Map<String, Duration> phases = new LinkedHashMap<>();

    /** Does something and adds its time to a phase. */
    <T> T time(String phase, Supplier<T> work) {
        long start = System.nanoTime();
        try {
            return work.get();
        } finally {
            phases.merge(phase, Duration.ofNanos(System.nanoTime() - start), Duration::plus);
            System.gc();
        }
    }

    /** All phases in the order in which they began. */
    Map<String, Duration> phases() {
        return Collections.unmodifiableMap(new LinkedHashMap<>(phases));
    }
}
