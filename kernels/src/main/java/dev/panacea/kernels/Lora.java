package dev.panacea.kernels;

/**
 * The low-rank pair of one layer: {@code Y = X W^T + scaling * (X A^T) B^T}.
 *
 * @param a F32 [rank, in]
 * @param b F32 [out, rank]
 * @param scaling {@code loraAlpha / rank}, or {@code loraAlpha / sqrt(rank)} with rank-stabilised LoRA
 */
public record Lora(DeviceBuffer a, DeviceBuffer b, int rank, float scaling) {
    public Lora {
        Checks.positive("rank", rank);
        Checks.typed("lora A", a, DType.F32, rank);
        Checks.typed("lora B", b, DType.F32, rank);
    }
}
