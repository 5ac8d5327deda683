package dev.panacea.llama;

import dev.panacea.io.Checkpoint;
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

    /** How the linear layers of a checkpoint are held, for people. */
    String inWords(Checkpoint checkpoint) {
        return switch (quantization) {
            case NONE -> "the linear layers in " + activations;
            case NF4 -> checkpoint.quantizedByBitsandbytes() ? "the linear layers in the file's own 4 bits" : "the linear layers in NF4 with double quantization";
            case KEEP -> "as the file holds them";
        };
    }
}
