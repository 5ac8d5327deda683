package dev.panacea.train;

/** Whether a training step keeps one activation per layer and computes the others again: less memory for the time of a second forward pass, and the same gradients. */
public enum GradientCheckpointing {
    /** Only when the step does not fit into the available memory without. */
    AUTO,
    ON,
    OFF
}
