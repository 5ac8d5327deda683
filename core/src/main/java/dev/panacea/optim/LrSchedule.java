package dev.panacea.optim;

/**
 * The learning rate of every optimizer step, exactly as transformers' {@code get_cosine_schedule_with_warmup},
 * {@code get_linear_schedule_with_warmup} and {@code get_constant_schedule_with_warmup}: with a warm-up, the first step has rate 0.
 */
public record LrSchedule(LrScheduleType type, double peak, int warmupSteps, int totalSteps) {

    /** The rate of optimizer step {@code step}, counted from 0. */
    public double at(int step) {
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
