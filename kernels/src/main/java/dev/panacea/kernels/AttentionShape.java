package dev.panacea.kernels;

/**
 * Heads of an attention layer.
 *
 * @param heads query heads
 * @param kvHeads key/value heads; {@code heads} is a multiple of it (grouped-query attention)
 * @param headDim elements per head, an even number; the CPU kernels take up to 256
 * @param scale factor on the scores, usually {@code 1/sqrt(headDim)}
 */
public record AttentionShape(int heads, int kvHeads, int headDim, float scale) {
    public AttentionShape {
        Checks.positive("heads", heads);
        Checks.positive("kvHeads", kvHeads);
        Checks.headDim(headDim);
        if (heads % kvHeads != 0) {
            throw new IllegalArgumentException(heads + " heads are not a multiple of " + kvHeads + " key/value heads");
        }
    }
}
