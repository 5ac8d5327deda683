package dev.panacea.autograd;

import java.util.List;

/** The gate of the MLP: silu(gate) * up (Shazeer 2020). */
public final class SwiGlu {
    private SwiGlu() {}

    /** y[M, intermediate]; the gradients take the places of gate and up, which must not be used elsewhere. */
    public static Var apply(Tape tape, Var gate, Var up) {
        long n = (long) gate.rows() * gate.cols();
        Var y = tape.variable(gate.rows(), gate.cols());
        tape.kernels().swiGlu(gate.value(), up.value(), n, y.value());
        y.remakeBy(value -> tape.kernels().swiGlu(gate.value(), up.value(), n, value));
        tape.record(y, List.of(), () -> {
            var gateValue = gate.value();
            var upValue = up.value();
            tape.kernels().swiGluBackward(gateValue, upValue, y.grad(), n, gate.valueBecomesGrad(), up.valueBecomesGrad());
        });
        return y;
    }
}
