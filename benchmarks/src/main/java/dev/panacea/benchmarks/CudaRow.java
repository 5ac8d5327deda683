package dev.panacea.benchmarks;

import dev.panacea.kernels.Kernels;
import java.util.List;
import java.util.Optional;
import java.util.function.Function;

/** A row of a GPU's table, before it is measured. */
sealed interface CudaRow {
    String name();

    String shape();

    Bound bound();

    /** Bytes of the GPU's memory that it takes, roughly. */
    long memory();

    /** What a pattern is matched with. */
    default String text() {
        return name() + " " + shape() + " cuda";
    }

    /** What a row is measured against: the operations of the tensor cores, or the bytes of memory per second. */
    enum Bound { TENSOR, BANDWIDTH }

    /**
     * A kernel in this process.
     *
     * @param peer the same with cuBLASLt, on dense weights
     */
    record Kernel(String name, String shape, Bound bound, long memory, Function<Kernels, Workload> ours, Optional<Function<Kernels, Workload>> peer) implements CudaRow {}

    /**
     * A program in a JVM of its own, in tokens per second.
     *
     * @param arguments of {@link ChildMain}, without the device and threads
     */
    record Program(String name, String shape, Bound bound, long memory, List<String> arguments) implements CudaRow {}
}
