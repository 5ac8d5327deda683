package dev.panacea.llama;

import dev.panacea.kernels.DType;

/**
 * How a model is held in memory.
 *
 * @param quantization of the linear layers, and with {@code KEEP} of embedding and head; a checkpoint that bitsandbytes quantized keeps its own
 *     4-bit weights, and the layers that it left in 16 bits, with {@code NF4} and {@code KEEP}, and is expanded with {@code NONE}
 * @param activations BF16, or F32 for parity with a reference
 */
public record LoadOptions(Quantization quantization, DType activations) {
    public LoadOptions {
        if (activations != DType.BF16 && activations != DType.F32) {
            throw new IllegalArgumentException("activations in " + activations + ": BF16 or F32");
        }
    }

    /** How the linear layers are held, for people. */
    String inWords() {
        return switch (quantization) {
            case NONE -> "its linear layers in " + activations;
            case NF4 -> "its linear layers in NF4 with double quantization, or in the 4 bits of bitsandbytes that the file has";
            case KEEP -> "as the file holds them";
        };
    }
}
