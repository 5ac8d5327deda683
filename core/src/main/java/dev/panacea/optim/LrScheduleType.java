package dev.panacea.optim;

/** How the learning rate goes after the warm-up, as transformers' {@code lr_scheduler_type}. */
public enum LrScheduleType {
    /** Half a cosine from the peak to 0. */
    COSINE,
    /** A straight line from the peak to 0. */
    LINEAR,
    /** The peak throughout. */
    CONSTANT
}
