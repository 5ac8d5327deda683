package dev.panacea.llama;

/** What the linear layers are held in while training. */
public enum Quantization {
    /** The precision of the activations: BF16, or F32. */
    NONE,
    /** NF4 in blocks of 64 with double quantization, byte for byte as bitsandbytes makes it (QLoRA, Dettmers et al. 2023). */
    NF4,
    /**
     * The blocks of the checkpoint's own file, mapped and not converted: GGUF's. A tensor that the file holds in another form is held as with
     * {@link #NONE}. The checkpoint has to stay open as long as the model.
     */
    KEEP
}
