package dev.panacea.train;

import dev.panacea.optim.LrScheduleType;
import dev.panacea.optim.OptimizerType;
import java.util.Objects;

/**
 * Settings of supervised fine-tuning, by the names of TRL's {@code SFTConfig}.
 *
 * @param numTrainEpochs passes over the data; ignored when {@code maxSteps} is positive
 * @param maxSteps optimizer steps, or 0 to go by epochs
 * @param perDeviceTrainBatchSize sequences per micro-batch
 * @param gradientAccumulationSteps micro-batches per optimizer step
 * @param learningRate the peak rate
 * @param warmupRatio share of the steps over which the rate climbs from 0; where that is less than a whole step there is no warm-up, since the first step of one changes nothing
 * @param optim AdamW with moments in single precision or in 8 bits
 * @param maxGradNorm global L2 norm to which gradients are clipped; 0 for no clipping
 * @param maxSeqLength the most tokens of an example. The trainer takes examples as they are; whoever makes them cuts them at this length, by
 *     {@link dev.panacea.data.ExampleEncoder}
 * @param seed of the order of the data
 * @param gradientCheckpointing whether activations are kept or computed again
 */
public record SftConfig(
        double numTrainEpochs,
        int maxSteps,
        int perDeviceTrainBatchSize,
        int gradientAccumulationSteps,
        double learningRate,
        LrScheduleType lrSchedulerType,
        double warmupRatio,
        double weightDecay,
        double adamBeta1,
        double adamBeta2,
        double adamEpsilon,
        OptimizerType optim,
        double maxGradNorm,
        int maxSeqLength,
        long seed,
        GradientCheckpointing gradientCheckpointing) {

    /** @throws IllegalArgumentException naming the setting that is out of its range */
    public SftConfig {
        check(numTrainEpochs > 0 && Double.isFinite(numTrainEpochs) || maxSteps > 0, "numTrainEpochs", numTrainEpochs, "positive");
        check(maxSteps >= 0, "maxSteps", maxSteps, "0 (go by epochs) or positive");
        check(perDeviceTrainBatchSize > 0, "perDeviceTrainBatchSize", perDeviceTrainBatchSize, "positive");
        check(gradientAccumulationSteps > 0, "gradientAccumulationSteps", gradientAccumulationSteps, "positive");
        check(learningRate > 0 && learningRate < 10, "learningRate", learningRate, "between 0 and 10");
        check(warmupRatio >= 0 && warmupRatio < 1, "warmupRatio", warmupRatio, "at least 0 and below 1");
        check(weightDecay >= 0 && weightDecay < 1, "weightDecay", weightDecay, "at least 0 and below 1");
        check(adamBeta1 >= 0 && adamBeta1 < 1, "adamBeta1", adamBeta1, "at least 0 and below 1");
        check(adamBeta2 >= 0 && adamBeta2 < 1, "adamBeta2", adamBeta2, "at least 0 and below 1");
        check(adamEpsilon > 0 && adamEpsilon < 1, "adamEpsilon", adamEpsilon, "between 0 and 1");
        check(maxGradNorm >= 0, "maxGradNorm", maxGradNorm, "0 (no clipping) or positive");
        Objects.requireNonNull(lrSchedulerType, "lrSchedulerType");
        Objects.requireNonNull(optim, "optim");
        Objects.requireNonNull(gradientCheckpointing, "gradientCheckpointing");
        check(maxSeqLength >= 2, "maxSeqLength", maxSeqLength, "at least 2");
    }

    private static void check(boolean good, String name, Number value, String expected) {
        if (!good) {
            throw new IllegalArgumentException(name + " is " + value + "; it must be " + expected);
        }
    }

    /** The steps of the warm-up in a run of so many. */
    public int warmupSteps(int totalSteps) {
        double steps = warmupRatio * totalSteps;
        return steps < 1 ? 0 : (int) Math.ceil(steps);
    }

    /** The defaults: one epoch, batch 8, rate 2e-4, cosine schedule with 3 % warm-up, clipping at 1.0, sequences up to 512 tokens. */
    public static Builder builder() {
        return new Builder();
    }

    /** Sets what differs from the defaults. */
    public static final class Builder {
        private double numTrainEpochs = 1;
        private int maxSteps;
        private int perDeviceTrainBatchSize = 8;
        private int gradientAccumulationSteps = 1;
        private double learningRate = 2e-4;
        private LrScheduleType lrSchedulerType = LrScheduleType.COSINE;
        private double warmupRatio = 0.03;
        private double weightDecay;
        private double adamBeta1 = 0.9;
        private double adamBeta2 = 0.999;
        private double adamEpsilon = 1e-8;
        private OptimizerType optim = OptimizerType.ADAMW_TORCH;
        private double maxGradNorm = 1.0;
        private int maxSeqLength = 512;
        private long seed = 42;
        private GradientCheckpointing gradientCheckpointing = GradientCheckpointing.AUTO;

        private Builder() {}

        public Builder numTrainEpochs(double v) {
            numTrainEpochs = v;
            return this;
        }

        public Builder maxSteps(int v) {
            maxSteps = v;
            return this;
        }

        public Builder perDeviceTrainBatchSize(int v) {
            perDeviceTrainBatchSize = v;
            return this;
        }

        public Builder gradientAccumulationSteps(int v) {
            gradientAccumulationSteps = v;
            return this;
        }

        public Builder learningRate(double v) {
            learningRate = v;
            return this;
        }

        public Builder lrSchedulerType(LrScheduleType v) {
            lrSchedulerType = v;
            return this;
        }

        public Builder warmupRatio(double v) {
            warmupRatio = v;
            return this;
        }

        public Builder weightDecay(double v) {
            weightDecay = v;
            return this;
        }

        public Builder adamBetas(double beta1, double beta2) {
            adamBeta1 = beta1;
            adamBeta2 = beta2;
            return this;
        }

        public Builder adamEpsilon(double v) {
            adamEpsilon = v;
            return this;
        }

        public Builder optim(OptimizerType v) {
            optim = v;
            return this;
        }

        public Builder maxGradNorm(double v) {
            maxGradNorm = v;
            return this;
        }

        public Builder maxSeqLength(int v) {
            maxSeqLength = v;
            return this;
        }

        public Builder seed(long v) {
            seed = v;
            return this;
        }

        public Builder gradientCheckpointing(GradientCheckpointing v) {
            gradientCheckpointing = v;
            return this;
        }

        public SftConfig build() {
            return new SftConfig(numTrainEpochs, maxSteps, perDeviceTrainBatchSize, gradientAccumulationSteps, learningRate, lrSchedulerType, warmupRatio, weightDecay,
                    adamBeta1, adamBeta2, adamEpsilon, optim, maxGradNorm, maxSeqLength, seed, gradientCheckpointing);
        }
    }
}
