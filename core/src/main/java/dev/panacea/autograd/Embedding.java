package dev.panacea.autograd;

import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.Weight;
import java.util.List;

/** Rows of the embedding table. The table is frozen: the gradient ends here. */
public final class Embedding {
    private Embedding() {}

    /** y[M, hidden] = table[ids[i], :]; ids I32 [M]. */
    public static Var apply(Tape tape, Weight table, DeviceBuffer ids, int m) {
        Var y = tape.variable(m, table.cols());
        tape.kernels().gatherRows(table, ids, m, y.value());
        tape.record(y, List.of(), () -> {});
        return y;
    }
}
