package dev.panacea.autograd;

import dev.panacea.kernels.DenseWeight;
import dev.panacea.kernels.DeviceBuffer;
import java.util.List;

/** Some rows of a matrix: the positions whose predictions count. */
public final class GatherRows {
    private GatherRows() {}

    /** y[n, cols] = x[index[i], :]; index I32 [n], without repetition. */
    public static Var apply(Tape tape, Var x, DeviceBuffer index, int n) {
        Var y = tape.variable(n, x.cols());
        tape.kernels().gatherRows(new DenseWeight(x.value(), x.rows(), x.cols()), index, n, y.value());
        tape.record(y, List.of(), () -> {
            if (!x.hasGrad()) {
                tape.kernels().clear(x.gradBuffer());
            }
            tape.kernels().scatterRows(y.grad(), index, n, x.cols(), x.grad(), true);
        });
        return y;
    }
}
