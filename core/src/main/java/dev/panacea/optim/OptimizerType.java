package dev.panacea.optim;

/** The optimizers, by the names of transformers' {@code optim}. */
public enum OptimizerType {
    /** {@link AdamW}: moments in single precision, 8 bytes per trained value. */
    ADAMW_TORCH,
    /** {@link AdamW8bit}: moments in 8 bits, as bitsandbytes has them, a little more than 2 bytes per trained value. */
    ADAMW_8BIT
}
