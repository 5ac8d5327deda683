package dev.panacea.io;

/**
 * The two matrices of a LoRA-adapted linear layer, row-major: the layer adds {@code scaling * x Aᵀ Bᵀ}.
 *
 * @param a {@code [rank, in]}
 * @param b {@code [out, rank]}
 */
public record LoraTensors(int rank, int in, int out, float[] a, float[] b) {
    public LoraTensors {
        if (rank < 1 || in < 1 || out < 1 || a.length != (long) rank * in || b.length != (long) out * rank) {
            throw new IllegalArgumentException("rank " + rank + ", " + in + " inputs and " + out + " outputs do not fit " + a.length + " and " + b.length + " values");
        }
    }
}
