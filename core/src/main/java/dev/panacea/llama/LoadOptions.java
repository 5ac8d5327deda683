package dev.panacea.llama;

import dev.panacea.kernels.DType;

/**
 * How a model is held in memory.
 *
 * @param quantization of the linear layers, and with {@code KEEP} of embedding and head; a checkpoint that bitsandbytes quantized keeps its own
 *     4-bit weights with {@code NF4} and {@code KEEP}, and is expanded with {@code NONE}
 * @param activations BF16, or F32 for parity with a reference
 */
public record LoadOptions(Quantization quantization, DType activations) {
    public LoadOptions {
        if (activations != DType.BF16 && activations != DType.F32) {
            throw new IllegalArgumentException("activations in " + activations + ": BF16 or F32");
        }
    }
}
