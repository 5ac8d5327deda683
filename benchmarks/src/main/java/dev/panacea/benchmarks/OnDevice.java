package dev.panacea.benchmarks;

import dev.panacea.kernels.Backends;
import dev.panacea.kernels.CpuKernels;
import dev.panacea.kernels.CpuTier;
import dev.panacea.kernels.Kernels;
import java.util.Locale;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;

/** The kernels that a benchmark runs on: parameters that all of them share. */
@State(Scope.Benchmark)
public class OnDevice {
    /** {@code best}, one of portable, avx2, avx512, avx512bf16, or {@code cuda} or {@code cuda:N}: a GPU. */
    @Param("best")
    public String tier;

    /** Of a CPU; 0: one per physical core. */
    @Param("0")
    public int threads;

    Kernels kernels;

    @Setup(Level.Trial)
    public void open() {
        kernels = open(tier, threads);
    }

    @TearDown(Level.Trial)
    public void close() {
        kernels.close();
    }

    /** The kernels of what {@link #tier} names. */
    static Kernels open(String tier, int threads) {
        return tier.startsWith("cuda") ? Backends.open(tier) : CpuKernels.open(tier.equals("best") ? CpuTier.best() : CpuTier.valueOf(tier.toUpperCase(Locale.ROOT)), threads);
    }

    /** The numbers of a parameter such as {@code 8192x2048}. */
    static int[] shape(String text) {
        String[] parts = text.split("x");
        int[] numbers = new int[parts.length];
        for (int i = 0; i < parts.length; i++) {
            numbers[i] = Integer.parseInt(parts[i]);
        }
        return numbers;
    }
}
