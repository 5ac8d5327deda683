package dev.panacea.autograd;

import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.Lora;
import dev.panacea.kernels.Weight;
import java.util.List;
import java.util.Optional;

/**
 * A frozen linear layer with, where the adapter targets it, its trained low-rank update (Hu et al. 2021), and with the residual stream
 * added in the same pass.
 */
public final class LoraLinear {
    /**
     * The trained pair of a layer and where its gradients go.
     *
     * @param gradA F32 [rank, in]
     * @param gradB F32 [out, rank]
     */
    public record Slot(Lora lora, DeviceBuffer gradA, DeviceBuffer gradB) {}

    private LoraLinear() {}

    /** y[M, out] = x W^T + scaling (x A^T) B^T. */
    public static Var apply(Tape tape, Var x, Weight w, Optional<Slot> slot) {
        return apply(tape, x, w, slot, Optional.empty());
    }

    /** As {@link #apply(Tape, Var, Weight, Optional)}, plus {@code residual}. */
    public static Var apply(Tape tape, Var x, Weight w, Optional<Slot> slot, Optional<Var> residual) {
        int m = x.rows();
        Var y = tape.variable(m, w.rows());
        residual.ifPresent(r -> tape.kernels().copy(r.value(), y.value(), (long) m * w.rows(), false));
        if (slot.isEmpty()) {
            tape.kernels().linear(w, x.value(), m, y.value(), residual.isPresent());
            tape.record(y, List.of(), () -> {
                boolean accumulate = x.hasGrad();
                tape.kernels().linearInputGrad(w, y.grad(), m, x.gradBuffer(), accumulate);
                passToResidual(tape, y, residual);
            });
            return y;
        }
        Slot l = slot.get();
        DeviceBuffer s = tape.arena().allocate(DType.F32, (long) m * l.lora().rank());
        tape.kernels().loraLinear(w, l.lora(), x.value(), m, s, y.value(), residual.isPresent());
        tape.record(y, List.of(s), () -> {
            boolean accumulate = x.hasGrad();
            tape.kernels().loraLinearBackward(w, l.lora(), x.value(), s, y.grad(), m, l.gradA(), l.gradB(), x.gradBuffer(), accumulate);
            passToResidual(tape, y, residual);
        });
        return y;
    }

    /** The sum's gradient is that of the residual too; nothing reads it here any more, so it moves instead of being copied. */
    private static void passToResidual(Tape tape, Var y, Optional<Var> residual) {
        residual.ifPresent(r -> {
            if (r.hasGrad()) {
                tape.kernels().copy(y.grad(), r.grad(), (long) y.rows() * y.cols(), true);
            } else {
                y.moveGradTo(r);
            }
        });
    }
}
