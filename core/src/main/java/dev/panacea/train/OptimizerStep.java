package dev.panacea.train;

import dev.panacea.autograd.LinearCrossEntropy;
import dev.panacea.data.Batches;
import dev.panacea.data.Targets;
import dev.panacea.data.TokenizedExample;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.Pass;
import dev.panacea.optim.Optimizer;
import dev.panacea.optim.TrainableParameters;
import java.lang.foreign.MemorySegment;
import java.util.List;

/**
 * One step of the optimizer over one or more micro-batches. The loss is the sum over the target tokens of the whole step divided by their
 * number, so that a batch of 8 and four accumulated batches of 2 are the same step. Threads: as {@link LlamaModel}, which a step holds from its beginning to its end.
 */
public final class OptimizerStep {
    private final LlamaModel model;
    private final TrainableParameters parameters;
    private final Optimizer optimizer;
    private final double maxGradNorm;
    private final Pass pass;

    /** @param maxGradNorm 0 for no clipping */
    public OptimizerStep(LlamaModel model, TrainableParameters parameters, Optimizer optimizer, double maxGradNorm) {
        this(model, parameters, optimizer, maxGradNorm, false);
    }

    /** @param checkpointing whether activations are computed again instead of kept */
    public OptimizerStep(LlamaModel model, TrainableParameters parameters, Optimizer optimizer, double maxGradNorm, boolean checkpointing) {
        this.model = model;
        this.parameters = parameters;
        this.optimizer = optimizer;
        this.maxGradNorm = maxGradNorm;
        this.pass = checkpointing ? Pass.TRAINING_CHECKPOINTED : Pass.TRAINING;
    }

    /**
     * What a step did.
     *
     * @param loss before the update
     * @param gradNorm before clipping
     */
    public record Outcome(double loss, double gradNorm) {}

    /**
     * Gradients of all micro-batches, clipping, and the update.
     *
     * @throws PanaceaException if the loss is not a number: the update is not made then
     * @throws IllegalStateException if the adapter is not attached to the model
     */
    public Outcome run(Batches.Step examples, double learningRate) {
        return model.exclusively(() -> {
            Outcome o = gradients(examples);
            optimizer.step(learningRate, clipFactor(o.gradNorm()));
            return o;
        });
    }

    /** The factor by which PyTorch's clip_grad_norm_ shrinks gradients of this norm. */
    public double clipFactor(double gradNorm) {
        return maxGradNorm > 0 ? Math.min(1, maxGradNorm / (gradNorm + 1e-6)) : 1;
    }

    /**
     * The first half of {@link #run}: gradients, not yet clipped, and no update.
     *
     * @throws IllegalStateException if the adapter is not attached to the model
     */
    public Outcome gradients(Batches.Step examples) {
        int targets = examples.targetTokens();
        if (targets == 0) {
            throw new IllegalArgumentException("no example of this step has a target token");
        }
        return model.exclusively(() -> parameters.guard().during(() -> gradients(examples, targets)));
    }

    private Outcome gradients(Batches.Step examples, int targets) {
        if (!model.isAttached(parameters.guard())) {
            throw new IllegalStateException("the adapter that is trained is not attached to the model, and would get no gradients; attach it again, as when a listener has taken it off");
        }
        parameters.clearGradients();
        DeviceBuffer onDevice = model.roomForLosses(targets);
        int at = 0;
        for (List<TokenizedExample> batch : examples.microBatches()) {
            Targets t = Targets.of(batch);
            if (t.ids().length == 0) {
                continue;
            }
            model.losses(t.sequences(), t.rows(), t.ids(), 1f / targets, pass, onDevice.slice(at, t.ids().length));
            at += t.ids().length;
        }
        // A device is waited for here, once all of its work has been asked for, and not after every micro-batch.
        double norm = parameters.gradientNorm();
        float[] losses = new float[targets];
        model.kernels().download(onDevice, MemorySegment.ofArray(losses));
        double loss = LinearCrossEntropy.sum(losses) / targets;
        if (!Double.isFinite(loss) || !Double.isFinite(norm)) {
            throw new PanaceaException("the loss became " + loss + " with a gradient norm of " + norm + "; lower the learning rate, or look for odd rows in the data");
        }
        return new Outcome(loss, norm);
    }
}
