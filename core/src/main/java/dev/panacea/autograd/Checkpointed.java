package dev.panacea.autograd;

import java.util.List;
import java.util.function.BiFunction;

/**
 * A part of the network that keeps nothing but its input while the tape runs forward, and is run again when its gradient is due (Chen et al.
 * 2016, "Training Deep Nets with Sublinear Memory Cost"). The second run is the same computation on the same values, so the gradients are
 * those of the part without checkpointing, to the bit.
 */
public final class Checkpointed {
    private Checkpointed() {}

    /**
     * y = part(x).
     *
     * @param part of one input and one output, without randomness and without effects but on the tape it is given; it may release its input, and
     *     the gradient of its last operation must not read that operation's output
     */
    public static Var apply(Tape tape, Var x, BiFunction<Tape, Var, Var> part) {
        if (!tape.isTraining()) {
            return part.apply(tape, x);
        }
        Var y = part.apply(Tape.inference(tape.kernels(), tape.arena(), tape.activations()), x.borrow());
        tape.record(y, List.of(), () -> {
            Tape again = Tape.training(tape.kernels(), tape.arena(), tape.activations());
            Var input = x.borrow();
            Var output = part.apply(again, input);
            output.dropValue();
            y.moveGradTo(output);
            if (x.hasGrad()) {
                x.moveGradTo(input);
            }
            again.backward();
            input.moveGradTo(x);
        });
        return y;
    }
}
