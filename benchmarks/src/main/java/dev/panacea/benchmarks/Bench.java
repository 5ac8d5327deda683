package dev.panacea.benchmarks;

import dev.panacea.kernels.CpuKernels;
import dev.panacea.kernels.CpuProbe;
import dev.panacea.kernels.CpuTier;
import dev.panacea.kernels.PanaceaException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.function.DoubleSupplier;

/** Measures rows, one after another. The kernels of the last tier stay open for the next row. */
final class Bench implements AutoCloseable {
    /** How long a kernel or a peer runs between two measurements of the ceiling, at least, unless one run takes longer. */
    private static final double SLICE = 0.02;
    private static final double MEGA = 1e6;
    private static final double GIGA = 1e9;

    private final int threads;
    private final Optional<PeerLibrary> library;
    private final Optional<Path> model;
    private final Interleaved.Budget budget;
    private final long memory = Machine.rotation();
    private Optional<Session> session = Optional.empty();

    private record Session(CpuKernels kernels, CpuProbe probe) {}

    /**
     * @param threads 0 for one per physical core
     * @param model of the start-up row
     * @param budget of a kernel's row
     */
    Bench(int threads, Optional<PeerLibrary> library, Optional<Path> model, Interleaved.Budget budget) {
        this.threads = threads;
        this.library = library;
        this.model = model;
        this.budget = budget;
    }

    /** Why a row would not be measured, if so. */
    Optional<String> skipped(Row row) {
        return row instanceof Row.StartUp && model.isEmpty() ? Optional.of("SmolLM2 is not in the cache; give --model FILE") : Optional.empty();
    }

    /** @throws RuntimeException if the row cannot be measured */
    Result measure(Row row) {
        return switch (row) {
            case Row.Kernel k -> kernel(k);
            case Row.Program p -> program(p);
            case Row.StartUp s -> startUp(s);
        };
    }

    private Session session(CpuTier tier) {
        if (session.isEmpty() || session.get().kernels().tier() != tier) {
            close();
            CpuKernels kernels = CpuKernels.open(tier, threads);
            session = Optional.of(new Session(kernels, new CpuProbe(kernels, memory)));
        }
        return session.get();
    }

    // ---- kernels -----------------------------------------------------------------------------------------------------

    private Result kernel(Row.Kernel row) {
        Session s = session(row.tier());
        try (Workload ours = row.ours().apply(s.kernels()); Opened peer = new Opened(row)) {
            double work = (row.ceiling() == Ceiling.READ ? ours.bytes() : ours.flops()) / GIGA;
            DoubleSupplier timed = timed(ours::run, ours.sets());
            Interleaved.Medians m = Interleaved.measure(work, () -> row.ceiling().measure(s.probe(), memory), timed, peer.timed(), budget);
            return result(row, s.kernels(), m.value(), row.ceiling().unit(), row.ceiling(), m, peer.name(), null);
        }
    }

    /** The peer of a row, if it has one. */
    private final class Opened implements AutoCloseable {
        private final Optional<Peer> peer;

        Opened(Row.Kernel row) {
            peer = library.flatMap(t -> row.peer().map(make -> make.apply(t)));
        }

        Optional<DoubleSupplier> timed() {
            return peer.map(p -> Bench.timed(p::run, p.sets()));
        }

        String name() {
            return peer.map(Peer::name).orElse(null);
        }

        @Override
        public void close() {
            peer.ifPresent(Peer::close);
        }
    }

    /** Seconds per run, of as many runs as fill a slice, or go once round all sets. The first ones warm up. */
    private static DoubleSupplier timed(Runnable run, int sets) {
        run.run();
        long start = System.nanoTime();
        run.run();
        double once = (System.nanoTime() - start) / GIGA;
        int runs = (int) Math.clamp(Math.ceil(SLICE / Math.max(once, 1e-7)), sets, 100_000);
        return () -> {
            long from = System.nanoTime();
            for (int i = 0; i < runs; i++) {
                run.run();
            }
            return (System.nanoTime() - from) / GIGA / runs;
        };
    }

    // ---- programs ----------------------------------------------------------------------------------------------------

    private Result program(Row.Program row) {
        Session s = session(row.tier());
        List<String> arguments = new ArrayList<>(row.arguments());
        arguments.add(row.tier().id());
        arguments.add(Integer.toString(s.kernels().threads()));
        try (Child child = new Child(arguments)) {
            double units = child.number();
            double work = child.number() / GIGA;
            Interleaved.Medians m = Interleaved.measure(work, () -> row.ceiling().measure(s.probe(), memory), child::seconds, Optional.empty(), row.budget());
            return result(row, s.kernels(), units * m.value() / work, row.unit(), row.ceiling(), m, null, child.peak());
        }
    }

    private Result startUp(Row.StartUp row) {
        Session s = session(row.tier());
        List<String> arguments = List.of("start-up", model.orElseThrow().toString(), row.tier().id(), Integer.toString(s.kernels().threads()));
        List<Double> seconds = new ArrayList<>();
        double peak = 0;
        for (int i = 0; i < 3; i++) {
            long start = System.nanoTime();
            try (Child child = new Child(arguments)) {
                child.number();
                double begun = (System.nanoTime() - start) / GIGA;
                child.number();
                seconds.add(row.toTheEnd() ? (System.nanoTime() - start) / GIGA : begun);
                peak = Math.max(peak, child.peak());
            }
        }
        return new Result(row.name(), row.shape(), row.tier().id(), s.kernels().threads(), Interleaved.median(seconds), "s", null, null, null, megabytes(peak), null, "");
    }

    private static Result result(Row row, CpuKernels kernels, double value, String unit, Ceiling ceiling, Interleaved.Medians m, String peer, Double peak) {
        OptionalDouble ratio = m.peerRatio();
        return new Result(row.name(), row.shape(), row.tier().id(), kernels.threads(), value, unit, m.share(), peer, ratio.isPresent() ? ratio.getAsDouble() : null,
                peak == null ? null : megabytes(peak), null, String.format(Locale.ROOT, "%s %.0f", ceiling.label(), m.ceiling()));
    }

    /** Null where the system does not tell. */
    private static Double megabytes(double bytes) {
        return bytes > 0 ? bytes / MEGA : null;
    }

    @Override
    public void close() {
        session.ifPresent(s -> {
            s.probe().close();
            s.kernels().close();
        });
        session = Optional.empty();
    }
}
