package dev.panacea.llama;

/** What the linear layers are held in while training. */
public enum Quantization {
    /** The precision of the activations: BF16, or F32. */
    NONE,
    /** NF4 in blocks of 64 with double quantization, byte for byte as bitsandbytes makes it (QLoRA, Dettmers et al. 2023). */
    NF4
}
