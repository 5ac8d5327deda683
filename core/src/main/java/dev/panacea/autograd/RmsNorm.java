package dev.panacea.autograd;

import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import java.util.List;

/** Root-mean-square normalisation (Zhang and Sennrich 2019) with a frozen weight. */
public final class RmsNorm {
    private RmsNorm() {}

    /** y = x / sqrt(mean(x²) + eps) * weight, row by row; weight F32 [cols]. */
    public static Var apply(Tape tape, Var x, DeviceBuffer weight, float eps) {
        Var y = tape.variable(x.rows(), x.cols());
        DeviceBuffer inv = tape.arena().allocate(DType.F32, x.rows());
        tape.kernels().rmsNorm(x.value(), weight, eps, x.rows(), x.cols(), y.value(), inv);
        y.remakeBy(value -> tape.kernels().rmsNorm(x.value(), weight, eps, x.rows(), x.cols(), value, inv));
        tape.record(y, List.of(inv), () -> {
            boolean accumulate = x.hasGrad();
            tape.kernels().rmsNormBackward(x.value(), weight, inv, y.grad(), x.rows(), x.cols(), x.gradBuffer(), accumulate);
        });
        return y;
    }
}
