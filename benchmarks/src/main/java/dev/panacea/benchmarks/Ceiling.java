package dev.panacea.benchmarks;

import dev.panacea.kernels.CpuProbe;
import dev.panacea.kernels.CpuTier;
import dev.panacea.kernels.DType;

/** What bounds a kernel: the arithmetic it uses, or reading. */
enum Ceiling {
    F32_FMA("f32 FMA", "GFLOP/s"),
    /** The tier's dot products of pairs of bf16. */
    BF16_DOT("bf16 dot", "GFLOP/s"),
    READ("read", "GB/s");

    private final String label;
    private final String unit;

    Ceiling(String label, String unit) {
        this.label = label;
        this.unit = unit;
    }

    /** The arithmetic of matrix products of a tier. */
    static Ceiling products(CpuTier tier) {
        return tier == CpuTier.AVX512BF16 ? BF16_DOT : F32_FMA;
    }

    String label() {
        return label;
    }

    String unit() {
        return unit;
    }

    /** Measures it now, in its unit. Reading goes on where it stopped, in quarters of the memory that the probe goes round in. */
    double measure(CpuProbe probe, long memory) {
        return switch (this) {
            case F32_FMA -> probe.gflops(DType.F32);
            case BF16_DOT -> probe.gflops(DType.BF16);
            case READ -> probe.readGBs(Math.max(64, memory / 4));
        };
    }
}
