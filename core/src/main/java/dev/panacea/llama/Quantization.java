package dev.panacea.llama;

import dev.panacea.io.Checkpoint;
import dev.panacea.io.GgufCheckpoint;

/** What the linear layers are held in while training. */
public enum Quantization {
    /** The precision of the activations: BF16, or F32. */
    NONE,
    /**
     * NF4 in blocks of 64 with double quantization, byte for byte as bitsandbytes makes it (QLoRA, Dettmers et al. 2023). A checkpoint that bitsandbytes
     * has quantized is left as it is: its own 4 bits, and the layers that it left in 16 bits in the precision of the activations.
     */
    NF4,
    /**
     * As the checkpoint's own files hold them, with nothing lost: the blocks of a GGUF file or the plain numbers of any, mapped and not
     * converted, embedding and head included, and bitsandbytes' 4-bit weights. A tensor in a form that the kernels do not read is held as with
     * {@link #NONE}. The checkpoint has to stay open as long as the model, and its files must not be shortened or written meanwhile; replacing
     * one by another of the same name does no harm.
     */
    KEEP;

    /** What suits a checkpoint when nothing else is asked for: the own weights of a GGUF file and of what bitsandbytes has quantized, else NF4. */
    public static Quantization defaultFor(Checkpoint checkpoint) {
        return checkpoint instanceof GgufCheckpoint || checkpoint.quantizedByBitsandbytes() ? KEEP : NF4;
    }
}
