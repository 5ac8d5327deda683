package dev.panacea.optim;

import dev.panacea.kernels.AdamWStep;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceMemory;
import dev.panacea.kernels.Kernels;
import dev.panacea.tensor.UseGuard;

/** AdamW (Loshchilov and Hutter 2019) with F32 moments, in PyTorch's order: weight decay first, then the step. */
public final class AdamW implements Optimizer {
    private final Kernels kernels;
    private final TrainableParameters parameters;
    private final double beta1;
    private final double beta2;
    private final double eps;
    private final double weightDecay;
    private final DeviceMemory moments;
    private final UseGuard guard = new UseGuard("the optimizer", "have the threads take turns");
    private long step;

    /**
     * Takes the memory of the moments.
     *
     * @param eps added to the root of the second moment
     * @param weightDecay share of a value that a step at rate 1 takes away
     * @throws IllegalArgumentException naming the setting that is out of its range
     * @throws dev.panacea.kernels.PanaceaException if memory does not suffice
     */
    public AdamW(Kernels kernels, TrainableParameters parameters, double beta1, double beta2, double eps, double weightDecay) {
        AdamW.check(beta1, beta2, eps, weightDecay);
        this.kernels = kernels;
        this.parameters = parameters;
        this.beta1 = beta1;
        this.beta2 = beta2;
        this.eps = eps;
        this.weightDecay = weightDecay;
        this.moments = kernels.allocate(2 * TrainableParameters.runBytes(parameters.size()));
    }

    static void check(double beta1, double beta2, double eps, double weightDecay) {
        check(beta1 >= 0 && beta1 < 1, "beta1", beta1, "at least 0 and below 1");
        check(beta2 >= 0 && beta2 < 1, "beta2", beta2, "at least 0 and below 1");
        check(eps > 0 && eps < 1, "eps", eps, "between 0 and 1");
        check(weightDecay >= 0 && weightDecay < 1, "weightDecay", weightDecay, "at least 0 and below 1");
    }

    private static void check(boolean good, String name, double value, String expected) {
        if (!good) {
            throw new IllegalArgumentException(name + " is " + value + "; it must be " + expected);
        }
    }

    @Override
    public void step(double learningRate, double gradScale) {
        guard.during(() -> parameters.guard().during(() -> {
            update(learningRate, gradScale);
            return null;
        }));
    }

    private void update(double learningRate, double gradScale) {
        step++;
        long n = parameters.size();
        kernels.adamW(parameters.values(), parameters.gradients(), moments.view(DType.F32, 0, n), moments.view(DType.F32, TrainableParameters.runBytes(n), n), n,
                new AdamWStep((float) gradScale, (float) learningRate, (float) beta1, (float) beta2, (float) eps, (float) weightDecay, step));
    }

    @Override
    public long byteSize() {
        return moments.byteSize();
    }

    @Override
    public void close() {
        if (guard.close()) {
            moments.close();
        }
    }
}
