package dev.panacea.benchmarks;

import dev.panacea.kernels.GgmlType;

/** How a benchmark's weights are stored. */
public enum WeightFormat {
    F32,
    BF16,
    /** In blocks of 64 with double quantization, as QLoRA has it. */
    NF4,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4_K,
    Q5_K,
    Q6_K;

    /** Bytes of W[n, k] with its scales. */
    long bytes(int n, int k) {
        long elements = (long) n * k;
        return switch (this) {
            case F32 -> 4 * elements;
            case BF16 -> 2 * elements;
            case NF4 -> {
                long scales = Math.ceilDiv(elements, 64L);
                yield Math.ceilDiv(elements, 2L) + scales + 4 * Math.ceilDiv(scales, 256L);
            }
            default -> ggml().byteSize(k) * n;
        };
    }

    /** Of the formats of GGUF files. */
    GgmlType ggml() {
        return GgmlType.valueOf(name());
    }
}
