package dev.panacea.autograd;

import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.tensor.StepArena;
import java.util.Objects;
import java.util.function.Consumer;

/** A matrix of activations on the tape, with the gradient of the loss with respect to it once the backward pass has reached it. */
public final class Var {
    private final StepArena arena;
    private final DType type;
    private final int rows;
    private final int cols;
    private final boolean borrowed;
    private DeviceBuffer value;
    private DeviceBuffer grad;
    private Consumer<DeviceBuffer> remake;

    Var(StepArena arena, DType type, int rows, int cols) {
        this(arena, type, rows, cols, arena.allocate(type, (long) rows * cols), false);
    }

    private Var(StepArena arena, DType type, int rows, int cols, DeviceBuffer value, boolean borrowed) {
        this.arena = arena;
        this.type = type;
        this.rows = rows;
        this.cols = cols;
        this.value = value;
        this.borrowed = borrowed;
    }

    /** A variable of the same value, which stays this one's to free, and with a gradient of its own. */
    Var borrow() {
        return new Var(arena, type, rows, cols, value(), true);
    }

    public int rows() {
        return rows;
    }

    public int cols() {
        return cols;
    }

    /** [rows, cols], row-major. */
    public DeviceBuffer value() {
        if (value == null && remake != null) {
            value = arena.allocate(type, (long) rows * cols);
            remake.accept(value);
        }
        return Objects.requireNonNull(value, "this value was released");
    }

    /** The gradient, which a later operation has written. */
    DeviceBuffer grad() {
        return Objects.requireNonNull(grad, "no operation has written this gradient");
    }

    /** Whether an operation has written the gradient already, so that the next one must add to it. */
    boolean hasGrad() {
        return grad != null;
    }

    /** The buffer for an operation's contribution: fresh and undefined unless {@link #hasGrad()}. */
    DeviceBuffer gradBuffer() {
        if (grad == null) {
            grad = arena.allocate(type, (long) rows * cols);
        }
        return grad;
    }

    /** Uses the memory of the value, which no operation will read again, for the gradient. */
    DeviceBuffer valueBecomesGrad() {
        grad = value();
        value = null;
        return grad;
    }

    /** Hands the gradient on to a variable that receives exactly the same one; this variable's own must not be needed any more. */
    void moveGradTo(Var other) {
        other.grad = grad();
        grad = null;
    }

    /** How to make the value again, from values that stay: for cheap operations, so that {@link #forget} may drop it until the backward pass. */
    void remakeBy(Consumer<DeviceBuffer> writer) {
        remake = writer;
    }

    /** Drops the value if it can be made again. */
    void forget() {
        if (remake != null && value != null) {
            arena.free(value);
            value = null;
        }
    }

    /** Gives the value back to the arena; the gradient stays. */
    void dropValue() {
        remake = null;
        if (value != null && !borrowed) {
            arena.free(value);
        }
        value = null;
    }

    /** Gives value and gradient back to the arena. */
    void release() {
        dropValue();
        if (grad != null) {
            arena.free(grad);
            grad = null;
        }
    }
}
