package dev.panacea.benchmarks;

import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.Kernels;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Function;

/**
 * A kernel on operands of its own: the one definition of what is measured, for JMH and for the quick mode. Where DRAM is meant there are several sets
 * of operands, together larger than the last-level cache, and each run takes the next one.
 */
public final class Workload implements AutoCloseable {
    /** What one run works through. */
    interface Run {
        void run();
    }

    /**
     * One set of operands.
     *
     * @param result what the run writes, of which one value is read afterwards
     */
    record Set(Run run, DeviceBuffer result) {}

    private final Operands operands;
    private final List<Set> sets = new ArrayList<>();
    private final double flops;
    private final double bytes;
    private int next;

    private Workload(Operands operands, double flops, double bytes) {
        this.operands = operands;
        this.flops = flops;
        this.bytes = bytes;
    }

    /** One set of operands, which caches may hold. */
    static Workload of(Kernels kernels, double flops, double bytes, Function<Operands, Set> make) {
        return of(kernels, flops, bytes, 1, make);
    }

    /** Sets that go round in {@code Machine.rotation(kernels)} bytes. */
    static Workload inDram(Kernels kernels, double flops, double bytes, Function<Operands, Set> make) {
        return of(kernels, flops, bytes, rounds(Machine.rotation(kernels), bytes), make);
    }

    /** How many sets of so many bytes each are larger than the cache of a CPU together. */
    static int rounds(double bytes) {
        return rounds(Machine.rotation(), bytes);
    }

    private static int rounds(long rotation, double bytes) {
        return (int) Math.max(1, Math.ceil(rotation / bytes));
    }

    private static Workload of(Kernels kernels, double flops, double bytes, int count, Function<Operands, Set> make) {
        Operands operands = new Operands(kernels);
        boolean done = false;
        try {
            Workload w = new Workload(operands, flops, bytes);
            for (int i = 0; i < count; i++) {
                w.sets.add(make.apply(operands));
            }
            done = true;
            return w;
        } finally {
            if (!done) {
                operands.close();
            }
        }
    }

    /** Floating-point operations of a run. */
    public double flops() {
        return flops;
    }

    /** Bytes that a run has to move at least, each operand once. */
    public double bytes() {
        return bytes;
    }

    /** Sets of operands. */
    public int sets() {
        return sets.size();
    }

    /** Runs on the next set of operands; a bit pattern of the result, so that it is used. A device of its own may still be at it: {@link #await}. */
    public int run() {
        Set set = sets.get(next);
        next = (next + 1) % sets.size();
        set.run().run();
        return set.result().hostSegment().map(host -> (int) host.get(ValueLayout.JAVA_BYTE, 0)).orElse(0);
    }

    /** Waits until all runs are done; a bit pattern of a result. */
    public int await() {
        byte[] bits = new byte[result().type().bytes()];
        operands.kernels().download(result().slice(0, 1), MemorySegment.ofArray(bits));
        return bits[0];
    }

    /** What the next run writes. */
    DeviceBuffer result() {
        return sets.get(next).result();
    }

    @Override
    public void close() {
        operands.close();
    }
}
