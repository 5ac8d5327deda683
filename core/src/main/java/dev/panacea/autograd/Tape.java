package dev.panacea.autograd;

import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.Kernels;
import dev.panacea.tensor.StepArena;
import java.util.ArrayList;
import java.util.List;

/**
 * The record of a forward pass: fused operations, about ten per layer, in the order in which they ran. {@link #backward()} runs their
 * gradients in the reverse order, and gives the memory of every operation back as soon as its gradient is done. A tape for inference
 * records nothing; there {@link #release} frees what the model needs no more. For one thread.
 */
public final class Tape {
    private record Entry(Runnable backward, Var output, List<DeviceBuffer> saved) {}

    private final Kernels kernels;
    private final StepArena arena;
    private final DType activations;
    private final boolean training;
    private final List<Entry> entries = new ArrayList<>();

    private Tape(Kernels kernels, StepArena arena, DType activations, boolean training) {
        this.kernels = kernels;
        this.arena = arena;
        this.activations = activations;
        this.training = training;
    }

    /** A tape whose {@link #backward()} will be run. */
    public static Tape training(Kernels kernels, StepArena arena, DType activations) {
        return new Tape(kernels, arena, activations, true);
    }

    /** A tape that computes forward only. */
    public static Tape inference(Kernels kernels, StepArena arena, DType activations) {
        return new Tape(kernels, arena, activations, false);
    }

    public Kernels kernels() {
        return kernels;
    }

    public StepArena arena() {
        return arena;
    }

    /** Type of the values and gradients of variables. */
    DType activations() {
        return activations;
    }

    /** Whether gradients will be asked for. */
    public boolean isTraining() {
        return training;
    }

    /** A variable of the activation type, its value still undefined. */
    public Var variable(int rows, int cols) {
        return new Var(arena, activations, rows, cols);
    }

    /** Says that the forward pass reads this variable no more. While training its gradient may need it: it stays, unless it is cheap to make again. */
    public void release(Var v) {
        if (training) {
            v.forget();
        } else {
            v.release();
        }
    }

    /** Records an operation: its gradient, its output, and what it saved for the gradient; output and saved buffers are freed after it. */
    void record(Var output, List<DeviceBuffer> saved, Runnable backward) {
        if (training) {
            entries.add(new Entry(backward, output, saved));
        } else {
            saved.forEach(arena::free);
        }
    }

    /** Records an operation that changed a variable in place: the variable belongs to the operation that made it. */
    void recordInPlace(Runnable backward) {
        if (training) {
            entries.add(new Entry(backward, null, List.of()));
        }
    }

    /** Runs all gradients, last operation first. */
    public void backward() {
        for (int i = entries.size() - 1; i >= 0; i--) {
            Entry e = entries.get(i);
            e.backward().run();
            if (e.output() != null) {
                e.output().release();
            }
            e.saved().forEach(arena::free);
        }
        entries.clear();
    }
}
