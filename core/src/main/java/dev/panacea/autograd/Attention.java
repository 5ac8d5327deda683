package dev.panacea.autograd;

import dev.panacea.kernels.AttentionShape;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import java.util.List;

/** Causal attention over the sequences of a batch, each on its own. */
public final class Attention {
    private Attention() {}

    /** out[M, heads * headDim] from q of the same shape and k, v [M, kvHeads * headDim]; sequences as in {@link dev.panacea.kernels.Kernels#attention}. */
    public static Var apply(Tape tape, Var q, Var k, Var v, DeviceBuffer sequences, int count, AttentionShape shape) {
        Var out = tape.variable(q.rows(), q.cols());
        DeviceBuffer lse = tape.arena().allocate(DType.F32, (long) q.rows() * shape.heads());
        tape.kernels().attention(q.value(), k.value(), v.value(), sequences, count, shape, out.value(), lse);
        tape.record(out, List.of(lse), () -> tape.kernels().attentionBackward(q.value(), k.value(), v.value(), out.value(), lse, out.grad(), sequences, count, shape,
                q.gradBuffer(), k.gradBuffer(), v.gradBuffer()));
        return out;
    }

    /** The same without gradient, over keys and values that a cache holds. */
    public static Var cached(Tape tape, Var q, DeviceBuffer keys, DeviceBuffer values, DeviceBuffer sequences, int count, AttentionShape shape) {
        if (tape.isTraining()) {
            throw new IllegalStateException("attention over a cache has no gradient");
        }
        Var out = tape.variable(q.rows(), q.cols());
        DeviceBuffer lse = tape.arena().allocate(DType.F32, (long) q.rows() * shape.heads());
        tape.kernels().attention(q.value(), keys, values, sequences, count, shape, out.value(), lse);
        tape.arena().free(lse);
        return out;
    }
}
