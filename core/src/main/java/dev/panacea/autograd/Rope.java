package dev.panacea.autograd;

import dev.panacea.kernels.DeviceBuffer;

/** Rotary position embedding, in place; its gradient is the rotation back. */
public final class Rope {
    private Rope() {}

    /**
     * Turns x[M, heads * headDim] in place.
     *
     * @param positions I32 [M]
     * @param cos F32 [positions, headDim/2]
     */
    public static void apply(Tape tape, Var x, DeviceBuffer positions, DeviceBuffer cos, DeviceBuffer sin, int headDim) {
        int heads = x.cols() / headDim;
        tape.kernels().rope(x.value(), positions, cos, sin, x.rows(), heads, headDim, false);
        tape.recordInPlace(() -> tape.kernels().rope(x.grad(), positions, cos, sin, x.rows(), heads, headDim, true));
    }
}
