package dev.panacea.train;

import java.time.Duration;
import java.util.List;

/**
 * What a training run gave.
 *
 * @param tokens all tokens that went through the model
 * @param duration of the training loop alone
 */
public record TrainingResult(List<StepReport> steps, long tokens, Duration duration) {
    public TrainingResult {
        steps = List.copyOf(steps);
    }

    public double tokensPerSecond() {
        return duration.isZero() ? 0 : tokens / (duration.toNanos() * 1e-9);
    }
}
