package dev.panacea.optim;

import java.util.Objects;

/**
 * The learning rate of every optimizer step, exactly as transformers' {@code get_cosine_schedule_with_warmup},
 * {@code get_linear_schedule_with_warmup} and {@code get_constant_schedule_with_warmup}: with a warm-up, the first step has rate 0.
 */
public record LrSchedule(LrScheduleType type, double peak, int warmupSteps, int totalSteps) {

    /** @throws IllegalArgumentException naming what is out of its range */
    public LrSchedule {
        Objects.requireNonNull(type, "type");
        if (!(peak >= 0 && Double.isFinite(peak))) {
            throw new IllegalArgumentException("peak is " + peak + "; it must be 0 or positive");
        }
        if (warmupSteps < 0 || totalSteps < 0) {
            throw new IllegalArgumentException("warmupSteps is " + warmupSteps + " and totalSteps " + totalSteps + "; neither may be negative");
        }
    }

    /**
     * The rate of optimizer step {@code step}, counted from 0.
     *
     * @throws IllegalArgumentException if it is negative
     */
    public double at(int step) {
        if (step < 0) {
            throw new IllegalArgumentException("step is " + step + "; steps are counted from 0");
        }
        if (step < warmupSteps) {
            return peak * step / Math.max(1, warmupSteps);
        }
        double progress = (double) (step - warmupSteps) / Math.max(1, totalSteps - warmupSteps);
        return switch (type) {
            case COSINE -> peak * Math.max(0, 0.5 * (1 + Math.cos(Math.PI * progress)));
            case LINEAR -> peak * Math.max(0, (double) (totalSteps - step) / Math.max(1, totalSteps - warmupSteps));
            case CONSTANT -> peak;
        };
    }
}
