package dev.panacea.autograd;

import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.Weight;

/**
 * The output embedding and the loss in one operation, some rows at a time: the logits of a whole batch never exist. The gradient is made
 * in the same pass, while a chunk's logits are at hand; the frozen head gets none.
 */
public final class LinearCrossEntropy {
    /**
     * A chunk's logits take at most this, unless that were fewer rows than {@link #LEAST_ROWS}: for every chunk the head's weights are read and
     * packed anew. 128 rows of SmolLM2's head take 7 % longer than 256, half a percent of a training step; 64 rows take 15 %.
     */
    private static final long LOGIT_BYTES = 24L << 20;
    private static final int LEAST_ROWS = 96;

    private LinearCrossEntropy() {}

    /** Rows of a chunk of logits. */
    public static int rowsAtATime(int vocab) {
        return (int) Math.max(LEAST_ROWS, LOGIT_BYTES / (4L * vocab));
    }

    /** Bytes of a chunk's logits and their gradient, while training on {@code n} targets. */
    public static long logitBytes(Weight head, int n, DType activations) {
        return (long) Math.min(n, rowsAtATime(head.rows())) * head.rows() * (activations == DType.F32 ? 4 : 4 + activations.bytes());
    }

    /**
     * Negative log-likelihood, in nats, of each target: F32 [n], on the device, since waiting for it here would keep a GPU from its next work.
     *
     * @param x [n, hidden], the normalised states that predict the targets
     * @param targets I32 [n]
     * @param gradScale factor of the gradient: 1 / target tokens of the optimizer step
     */
    public static DeviceBuffer apply(Tape tape, Var x, Weight head, DeviceBuffer targets, float gradScale) {
        Kernels k = tape.kernels();
        int n = x.rows();
        int vocab = head.rows();
        int hidden = head.cols();
        DeviceBuffer losses = tape.arena().allocate(DType.F32, n);
        if (n == 0) {
            return losses;
        }
        int chunk = Math.min(n, rowsAtATime(vocab));
        DType type = x.value().type();
        DeviceBuffer logits = tape.arena().allocate(DType.F32, (long) chunk * vocab);
        DeviceBuffer gradient = tape.isTraining() && type != DType.F32 ? tape.arena().allocate(type, (long) chunk * vocab) : logits;
        for (int from = 0; from < n; from += chunk) {
            int rows = Math.min(chunk, n - from);
            DeviceBuffer part = x.value().slice((long) from * hidden, (long) rows * hidden);
            k.linear(head, part, rows, logits, false);
            if (tape.isTraining()) {
                k.crossEntropyWithGrad(logits, targets.slice(from, rows), rows, vocab, gradScale, losses.slice(from, rows), gradient);
                k.linearInputGrad(head, gradient, rows, x.gradBuffer().slice((long) from * hidden, (long) rows * hidden), false);
            } else {
                k.crossEntropy(logits, targets.slice(from, rows), rows, vocab, losses.slice(from, rows));
            }
        }
        tape.arena().free(logits);
        if (gradient != logits) {
            tape.arena().free(gradient);
        }
        return losses;
    }

    /** Sum in double precision: a mean over many tokens should not depend on their order. */
    public static double sum(float[] losses) {
        double sum = 0;
        for (float l : losses) {
            sum += l;
        }
        return sum;
    }
}
