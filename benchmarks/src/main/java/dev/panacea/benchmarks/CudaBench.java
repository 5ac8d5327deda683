package dev.panacea.benchmarks;

import dev.panacea.bindings.CublasLtLibrary;
import dev.panacea.io.ByteCount;
import dev.panacea.kernels.CudaKernels;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.MemoryUse;
import dev.panacea.kernels.PanaceaException;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;

/**
 * Measures the rows of a GPU, one after another, each beside its ceiling and, where it is a product of matrices, beside cuBLASLt on dense BF16 weights. Ceilings: the bandwidth of
 * copying in GPU memory, measured at the beginning, and what the tensor cores would do at the clock that the driver names. Figures are medians.
 */
final class CudaBench implements AutoCloseable {
    private static final double GIGA = 1e9;
    private static final double MEGA = 1e6;

    /**
     * How long to measure.
     *
     * @param rounds measurements of a row
     * @param slice seconds of one of them, at least, of a kernel
     * @param copied bytes that are copied to learn the bandwidth, as far as they fit into an eighth of what is free
     */
    record Effort(int rounds, double slice, long copied) {
        static final Effort FULL = new Effort(9, 0.02, 1L << 30);
        static final Effort SMALL = new Effort(1, 0, 1 << 16);
    }

    private final int ordinal;
    private final Effort effort;
    private Optional<Session> session;
    /** Why there is no peer, once that is known: kernels are opened for it no more. */
    private Optional<String> noPeer = Optional.empty();
    private final double bandwidth;
    private final double tensor;

    /**
     * Open kernels.
     *
     * @param ours without cuBLASLt
     * @param blas with it, where it is installed
     * @param peer what it is, or why there is none
     */
    private record Session(CudaKernels ours, Optional<CudaKernels> blas, String peer) implements AutoCloseable {
        @Override
        public void close() {
            blas.ifPresent(CudaKernels::close);
            ours.close();
        }
    }

    /**
     * Opens a GPU.
     *
     * @throws PanaceaException if it cannot be used; the message says why
     */
    CudaBench(int ordinal, Effort effort) {
        this.ordinal = ordinal;
        this.effort = effort;
        Session s = openSession();
        session = Optional.of(s);
        try {
            bandwidth = copySpeed(s.ours());
            tensor = s.ours().tensorFlops() / GIGA;
        } catch (RuntimeException e) {
            s.close();
            throw e;
        }
    }

    private Session openSession() {
        CudaKernels ours = withCublasLt("off");
        if (noPeer.isPresent()) {
            return new Session(ours, Optional.empty(), noPeer.get());
        }
        try {
            CudaKernels blas = withCublasLt(System.getProperty(CublasLtLibrary.FILE.property(), ""));
            Optional<String> library = blas.matrixLibrary();
            if (library.isPresent()) {
                return new Session(ours, Optional.of(blas), library.get());
            }
            blas.close();
            noPeer = Optional.of("none, cuBLASLt is not in use (" + CublasLtLibrary.FILE + " names its file)");
        } catch (PanaceaException e) {
            // The table is worth having without this column.
            noPeer = Optional.of("none: " + e.getMessage());
        }
        return new Session(ours, Optional.empty(), noPeer.get());
    }

    private CudaKernels withCublasLt(String setting) {
        String property = CublasLtLibrary.FILE.property();
        String before = System.getProperty(property);
        System.setProperty(property, setting);
        try {
            return CudaKernels.open(ordinal);
        } finally {
            if (before == null) {
                System.clearProperty(property);
            } else {
                System.setProperty(property, before);
            }
        }
    }

    /** Opened again if {@link #close()} was called: after a failure, as a fault ends all that a context can do, or because free blocks or the whole GPU were needed. */
    private Session session() {
        if (session.isEmpty()) {
            session = Optional.of(openSession());
        }
        return session.get();
    }

    /** The GPU, the ceilings and the peer, in a line. */
    String description() {
        Session s = session();
        return String.format(Locale.ROOT, "GPU: %s; copying %.0f GB/s; tensor cores %.0f TFLOP/s by the driver's clock; peer: %s", s.ours().description(), bandwidth, tensor / 1000, s.peer());
    }

    /** Why a row would not be measured, if so: it needs more memory than there is. */
    Optional<String> skipped(CudaRow row) {
        if (row.memory() <= available()) {
            return Optional.empty();
        }
        close();
        long free = available();
        return row.memory() <= free ? Optional.empty()
                : Optional.of("it needs about " + ByteCount.text(row.memory()) + " of the GPU's memory, of which " + ByteCount.text(free) + " are free");
    }

    private long available() {
        return session().ours().memoryUse().map(MemoryUse::available).orElseThrow();
    }

    /** @throws RuntimeException if the row cannot be measured */
    Result measure(CudaRow row) {
        try {
            return switch (row) {
                case CudaRow.Kernel k -> kernel(k);
                case CudaRow.Program p -> program(p);
            };
        } catch (RuntimeException e) {
            try {
                close();
            } catch (RuntimeException closing) {
                e.addSuppressed(closing);
            }
            throw e;
        }
    }

    // ---- kernels -----------------------------------------------------------------------------------------------------

    private Result kernel(CudaRow.Kernel row) {
        Session s = session();
        double seconds;
        double work;
        try (Workload w = row.ours().apply(s.ours())) {
            work = (row.bound() == CudaRow.Bound.TENSOR ? w.flops() : w.bytes()) / GIGA;
            seconds = seconds(w);
        }
        Double ratio = null;
        if (s.blas().isPresent() && row.peer().isPresent()) {
            try (Workload w = row.peer().get().apply(s.blas().get())) {
                ratio = seconds(w) / seconds;
            }
        }
        String unit = row.bound() == CudaRow.Bound.TENSOR ? "GFLOP/s" : "GB/s";
        return new Result(row.name(), row.shape(), "cuda", 0, work / seconds, unit, work / seconds / ceiling(row), ratio == null ? null : "cuBLASLt, dense bf16", ratio, null, null, "");
    }

    private double ceiling(CudaRow row) {
        return row.bound() == CudaRow.Bound.TENSOR ? tensor : bandwidth;
    }

    /** The median of several measurements of as many runs as fill a slice, one wait for each. */
    private double seconds(Workload w) {
        w.run();
        w.await();
        long start = System.nanoTime();
        w.run();
        w.await();
        int runs = (int) Math.clamp(Math.ceil(effort.slice() * GIGA / Math.max(1, System.nanoTime() - start)), w.sets(), 10_000);
        List<Double> times = new ArrayList<>();
        for (int i = 0; i < effort.rounds(); i++) {
            long from = System.nanoTime();
            for (int j = 0; j < runs; j++) {
                w.run();
            }
            w.await();
            times.add((System.nanoTime() - from) / GIGA / runs);
        }
        return Interleaved.median(times);
    }

    /** GB/s of reading and writing, both counted. */
    private double copySpeed(CudaKernels kernels) {
        long elements = Math.min(effort.copied(), kernels.memoryUse().orElseThrow().available() / 8) / 4;
        try (Workload copy = Workload.of(kernels, 0, 8.0 * elements, operands -> {
            var from = operands.normal(DType.F32, elements, 1);
            var to = operands.output(DType.F32, elements);
            return new Workload.Set(() -> kernels.copy(from, to, elements, false), to);
        })) {
            return copy.bytes() / GIGA / seconds(copy);
        }
    }

    // ---- programs ----------------------------------------------------------------------------------------------------

    /** With the whole GPU to itself. */
    private Result program(CudaRow.Program row) {
        close();
        List<String> arguments = new ArrayList<>(row.arguments());
        arguments.add("cuda:" + ordinal);
        arguments.add("0");
        try (Child child = new Child(arguments)) {
            double units = child.number();
            double work = child.number() / GIGA;
            List<Double> times = new ArrayList<>();
            for (int i = 0; i < effort.rounds(); i++) {
                times.add(child.seconds());
            }
            double seconds = Interleaved.median(times);
            return new Result(row.name(), row.shape(), "cuda", 0, units / seconds, "tokens/s", work / seconds / ceiling(row), null, null, null, child.peak() / MEGA, "");
        }
    }

    /** Closes what is open; the next row opens it again. */
    @Override
    public void close() {
        Optional<Session> open = session;
        session = Optional.empty();
        open.ifPresent(Session::close);
    }
}
