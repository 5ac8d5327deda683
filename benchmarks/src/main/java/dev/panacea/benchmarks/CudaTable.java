package dev.panacea.benchmarks;

import dev.panacea.kernels.CudaKernels;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.Kernels;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.function.Function;

/**
 * The kernels of a GPU in one table, each beside its ceiling and, where it is a product of matrices, beside cuBLASLt on dense BF16 weights. Ceilings: the bandwidth of
 * copying in GPU memory, measured in the same run, and what the tensor cores would do at the clock that the driver names. Figures are medians.
 */
final class CudaTable {
    /** The setting of {@link CudaKernels} that says whether cuBLASLt may be used. */
    private static final String CUBLASLT = "panacea.cuda.cublaslt";
    private static final double SLICE = 0.02;
    private static final double GIGA = 1e9;
    private static final String FORMAT = "%-24s %-30s %10s %-8s %7s %10s%n";

    /** What a row is measured against. */
    enum Bound { TENSOR, BANDWIDTH }

    /**
     * A row before it is measured.
     *
     * @param peer the same with cuBLASLt, on dense weights
     */
    record Entry(String name, String shape, Bound bound, Function<Kernels, Workload> ours, Optional<Function<Kernels, Workload>> peer) {}

    private final PrintStream out;
    private final int rounds;

    /** @param rounds measurements of a row */
    CudaTable(PrintStream out, int rounds) {
        this.out = out;
        this.rounds = rounds;
    }

    /** All rows for GPUs of tens of gigabytes. */
    static List<Entry> entries() {
        List<Entry> entries = new ArrayList<>();
        for (int[] nk : new int[][] {{8192, 2048}, {2048, 8192}, {4096, 4096}, {14336, 4096}}) {
            for (WeightFormat format : List.of(WeightFormat.BF16, WeightFormat.NF4)) {
                entries.add(product("linear", format, 4096, nk, k -> LinearWork.forward(k, format, 4096, nk[0], nk[1]), k -> LinearWork.forward(k, WeightFormat.BF16, 4096, nk[0], nk[1])));
                entries.add(product("input-grad", format, 4096, nk, k -> LinearWork.inputGrad(k, format, 4096, nk[0], nk[1]),
                        k -> LinearWork.inputGrad(k, WeightFormat.BF16, 4096, nk[0], nk[1])));
            }
            entries.add(product("lora", WeightFormat.NF4, 4096, nk, k -> LinearWork.loraForward(k, WeightFormat.NF4, 4096, nk[0], nk[1], 16),
                    k -> LinearWork.forward(k, WeightFormat.BF16, 4096, nk[0], nk[1])));
            entries.add(product("lora-backward", WeightFormat.NF4, 4096, nk, k -> LinearWork.loraBackward(k, WeightFormat.NF4, 4096, nk[0], nk[1], 16),
                    k -> LinearWork.inputGrad(k, WeightFormat.BF16, 4096, nk[0], nk[1])));
        }
        int[] square = {4096, 4096};
        for (int m : new int[] {16, 64}) {
            entries.add(product("linear", WeightFormat.NF4, m, square, k -> LinearWork.forward(k, WeightFormat.NF4, m, square[0], square[1]),
                    k -> LinearWork.forward(k, WeightFormat.BF16, m, square[0], square[1])));
        }
        for (WeightFormat format : List.of(WeightFormat.NF4, WeightFormat.BF16, WeightFormat.Q4_K)) {
            entries.add(streaming("gemv " + format, "M 1, (N,K) 14336x4096", k -> LinearWork.gemv(k, format, 1, 14336, 4096)));
        }
        for (AttentionWork.Shape s : List.of(new AttentionWork.Shape(4, 2048, 32, 8, 64), new AttentionWork.Shape(4, 2048, 32, 8, 128), new AttentionWork.Shape(16, 256, 32, 8, 64))) {
            entries.add(new Entry("attention", s.toString(), Bound.TENSOR, k -> AttentionWork.forward(k, s), Optional.empty()));
            entries.add(new Entry("attention-backward", s.toString(), Bound.TENSOR, k -> AttentionWork.backward(k, s), Optional.empty()));
        }
        entries.add(streaming("dequantize NF4", "14336x4096", k -> OtherWork.dequantize(k, WeightFormat.NF4, 14336, 4096)));
        entries.add(streaming("quantize NF4", "14336x4096", k -> OtherWork.quantize(k, 14336, 4096)));
        entries.add(streaming("rms-norm", "4096x4096", k -> OtherWork.rmsNorm(k, 4096, 4096)));
        entries.add(streaming("rms-norm-backward", "4096x4096", k -> OtherWork.rmsNormBackward(k, 4096, 4096)));
        entries.add(streaming("rope", "4096x4096", k -> OtherWork.rope(k, 4096, 4096)));
        entries.add(streaming("swiglu", "4096x14336", k -> OtherWork.swiGlu(k, 4096, 14336)));
        entries.add(streaming("swiglu-backward", "4096x14336", k -> OtherWork.swiGluBackward(k, 4096, 14336)));
        entries.add(streaming("adamw", "64 Mi parameters", k -> OtherWork.adamW(k, 64 << 20)));
        entries.add(streaming("adamw-blockwise-8", "64 Mi parameters", k -> OtherWork.adamW8bit(k, 64 << 20)));
        return entries;
    }

    private static Entry product(String name, WeightFormat format, int m, int[] nk, Function<Kernels, Workload> ours, Function<Kernels, Workload> peer) {
        return new Entry(name + " " + format, "M " + m + ", (N,K) " + nk[0] + "x" + nk[1], Bound.TENSOR, ours, Optional.of(peer));
    }

    private static Entry streaming(String name, String shape, Function<Kernels, Workload> ours) {
        return new Entry(name, shape, Bound.BANDWIDTH, ours, Optional.empty());
    }

    /** Measures and prints all rows, as they come. */
    List<Result> print(List<Entry> entries, long copyBytes) {
        List<Result> results = new ArrayList<>();
        String wanted = System.getProperty(CUBLASLT, "");
        System.setProperty(CUBLASLT, "off");
        try (CudaKernels ours = CudaKernels.open()) {
            System.setProperty(CUBLASLT, wanted);
            try (CudaKernels blas = CudaKernels.open()) {
                boolean peers = blas.matrixLibrary().isPresent();
                double bandwidth = copySpeed(ours, copyBytes);
                double tensor = ours.tensorFlops() / GIGA;
                out.printf("GPU: %s; copying %.0f GB/s; tensor cores %.0f TFLOP/s by the driver's clock; peer: %s%n", ours.description(), bandwidth, tensor / 1000,
                        blas.matrixLibrary().orElse("none, cuBLASLt is not in use"));
                out.printf(FORMAT, "name", "shape", "value", "unit", "share", "to peer");
                for (Entry e : entries) {
                    results.add(row(e, ours, peers ? Optional.of(blas) : Optional.empty(), e.bound() == Bound.TENSOR ? tensor : bandwidth));
                }
            }
        }
        return results;
    }

    private Result row(Entry e, CudaKernels ours, Optional<CudaKernels> blas, double ceiling) {
        double seconds;
        double work;
        try (Workload w = e.ours().apply(ours)) {
            work = (e.bound() == Bound.TENSOR ? w.flops() : w.bytes()) / GIGA;
            seconds = seconds(w);
        }
        Double ratio = null;
        if (blas.isPresent() && e.peer().isPresent()) {
            try (Workload w = e.peer().get().apply(blas.get())) {
                ratio = seconds(w) / seconds;
            }
        }
        double value = work / seconds;
        String unit = e.bound() == Bound.TENSOR ? "GFLOP/s" : "GB/s";
        out.printf(Locale.ROOT, FORMAT, e.name(), e.shape(), Table.number(value), unit, String.format(Locale.ROOT, "%.0f %%", 100 * value / ceiling), ratio == null ? "-" : String.format(Locale.ROOT, "%.2f x", ratio));
        out.flush();
        return new Result(e.name(), e.shape(), "cuda", 0, value, unit, value / ceiling, ratio == null ? null : "cuBLASLt, dense bf16", ratio, null, "");
    }

    /** The median of several measurements of as many runs as fill a slice, one wait for each. */
    private double seconds(Workload w) {
        w.run();
        w.await();
        long start = System.nanoTime();
        w.run();
        w.await();
        int runs = (int) Math.clamp(Math.ceil(SLICE * GIGA / Math.max(1, System.nanoTime() - start)), w.sets(), 10_000);
        List<Double> times = new ArrayList<>();
        for (int i = 0; i < rounds; i++) {
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
    private double copySpeed(Kernels kernels, long bytes) {
        try (Workload copy = Workload.of(kernels, 0, 2.0 * bytes, operands -> {
            var from = operands.normal(DType.F32, bytes / 4, 1);
            var to = operands.output(DType.F32, bytes / 4);
            return new Workload.Set(() -> kernels.copy(from, to, bytes / 4, false), to);
        })) {
            return copy.bytes() / GIGA / seconds(copy);
        }
    }
}
