package dev.panacea.kernels;

/**
 * The numbers of one AdamW update (Loshchilov and Hutter 2019, in PyTorch's order).
 *
 * @param gradScale factor on the gradient, such as the one of clipping
 * @param step 1 for the first update
 */
public record AdamWStep(float gradScale, float learningRate, float beta1, float beta2, float eps, float weightDecay, long step) {}
