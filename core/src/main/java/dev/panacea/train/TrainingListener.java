package dev.panacea.train;

/** Hears of the progress of a training run, on the training thread. */
@FunctionalInterface
public interface TrainingListener {
    /** Before the first step: what the run will need, and whether activations are computed again. */
    default void onPlan(MemoryPlan plan) {}

    /** After every optimizer step. */
    void onStep(StepReport step);
}
