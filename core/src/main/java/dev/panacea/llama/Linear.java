package dev.panacea.llama;

import dev.panacea.autograd.LoraLinear;
import dev.panacea.autograd.Tape;
import dev.panacea.autograd.Var;
import dev.panacea.kernels.Weight;
import java.util.Optional;

/** A linear layer of the model by its name, its frozen weight, and the adapter's pair if one is attached. */
public final class Linear {
    private final String name;
    private final Weight weight;
    private Optional<LoraLinear.Slot> lora = Optional.empty();

    Linear(String name, Weight weight) {
        this.name = name;
        this.weight = weight;
    }

    /** The module's path, such as {@code model.layers.0.self_attn.q_proj}. */
    public String name() {
        return name;
    }

    /** The last part of the path, such as {@code q_proj}: what target modules name. */
    public String shortName() {
        return name.substring(name.lastIndexOf('.') + 1);
    }

    public int in() {
        return weight.cols();
    }

    public int out() {
        return weight.rows();
    }

    void attach(Optional<LoraLinear.Slot> slot) {
        lora = slot;
    }

    /** x W^T with the low-rank update, plus the residual; a layer with a residual is the last reader of its input. */
    Var forward(Tape tape, Var x, Optional<Var> residual) {
        Var y = LoraLinear.apply(tape, x, weight, lora, residual);
        if (residual.isPresent()) {
            tape.release(x);
        }
        return y;
    }
}
