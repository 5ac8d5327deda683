package dev.panacea.train;

/** Hears of the progress of a training run, on the training thread. */
@FunctionalInterface
public interface TrainingListener {
    /** After every optimizer step. */
    void onStep(StepReport step);
}
