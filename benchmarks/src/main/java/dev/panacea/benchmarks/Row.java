package dev.panacea.benchmarks;

import dev.panacea.kernels.CpuKernels;
import dev.panacea.kernels.CpuTier;
import java.util.List;
import java.util.Optional;
import java.util.function.Function;

/** A row of the quick mode's table, before it is measured. */
sealed interface Row {
    String name();

    String shape();

    CpuTier tier();

    /** Takes minutes, and so runs only when it is asked for. */
    default boolean takesMinutes() {
        return false;
    }

    /** What a pattern is matched with. */
    default String text() {
        return name() + " " + shape() + " " + tier().id();
    }

    /** A kernel against a ceiling and perhaps a peer, in this process. */
    record Kernel(String name, String shape, CpuTier tier, Ceiling ceiling, Function<CpuKernels, Workload> ours, Optional<Function<PeerLibrary, Peer>> peer) implements Row {}

    /**
     * A program in a JVM of its own.
     *
     * @param unit of what is counted per second, such as {@code tokens/s}
     * @param arguments of {@link ChildMain}, without tier and threads
     */
    record Program(String name, String shape, CpuTier tier, String unit, Ceiling ceiling, Interleaved.Budget budget, boolean takesMinutes, List<String> arguments)
            implements Row {}

    /** From the start of a JVM to the first training step: its beginning or its end. */
    record StartUp(String name, String shape, CpuTier tier, boolean toTheEnd) implements Row {}
}
