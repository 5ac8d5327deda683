package dev.panacea.train;

import java.time.Duration;
import java.util.List;
import java.util.OptionalLong;

/**
 * What a training run gave.
 *
 * @param tokens all tokens that went through the model
 * @param duration of the training loop alone
 * @param plan what was planned before the first step
 * @param peakBytes the most memory that the process had in RAM after any step, or that was taken of the device's own, to be compared with the
 *     plan's total; empty where the system does not tell
 */
public record TrainingResult(List<StepReport> steps, long tokens, Duration duration, MemoryPlan plan, OptionalLong peakBytes) {
    public TrainingResult {
        steps = List.copyOf(steps);
    }

    public double tokensPerSecond() {
        return duration.isZero() ? 0 : tokens / (duration.toNanos() * 1e-9);
    }
}
