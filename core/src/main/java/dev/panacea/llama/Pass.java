package dev.panacea.llama;

/** What a run over whole sequences is for. */
public enum Pass {
    /** The losses alone. */
    EVALUATION,
    /** Losses and gradients; all activations that the gradients need are kept. */
    TRAINING,
    /** The same, bit for bit, with one activation kept per layer: the others are computed again when the gradients need them, for about a third more time. */
    TRAINING_CHECKPOINTED
}
