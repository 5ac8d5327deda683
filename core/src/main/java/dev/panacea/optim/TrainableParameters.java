package dev.panacea.optim;

import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.DeviceMemory;
import dev.panacea.kernels.Kernels;
import dev.panacea.tensor.UseGuard;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * All trained values in one run of memory, and their gradients in the next, so that clipping and the optimizer are one call each. F32.
 *
 * <p>Threads: any, but one at a time, and not while a model computes with them in another thread: that, and closing them meanwhile, is an {@link IllegalStateException}.
 */
public final class TrainableParameters implements AutoCloseable {
    private record Place(long from, long length) {}

    /** Runs begin where kernels can read whole lines. */
    private static final long ALIGNMENT = 64;

    private final Kernels kernels;
    private final Map<String, Place> places = new LinkedHashMap<>();
    private final long size;
    private final DeviceMemory memory;
    private final UseGuard guard = new UseGuard("the adapter", "read one for each model that is to compute at the same time, or have the threads take turns");

    /** @param lengths elements of each named tensor, in the order in which they are laid out */
    public TrainableParameters(Kernels kernels, Map<String, Long> lengths) {
        this.kernels = kernels;
        long at = 0;
        for (Map.Entry<String, Long> e : lengths.entrySet()) {
            places.put(e.getKey(), new Place(at, e.getValue()));
            at += e.getValue();
        }
        this.size = at;
        this.memory = kernels.allocate(2 * runBytes(size));
    }

    /** Number of trained values. */
    public long size() {
        return size;
    }

    /** Elements of each tensor, in the order in which they are laid out. */
    List<Long> lengths() {
        return places.values().stream().map(Place::length).toList();
    }

    /** Bytes of values and gradients. */
    public long byteSize() {
        return memory.byteSize();
    }

    /** Bytes from one run of {@code size} values to the next. */
    static long runBytes(long size) {
        return Math.max(1, (4 * size + ALIGNMENT - 1) / ALIGNMENT) * ALIGNMENT;
    }

    /** Held by whoever uses them, such as a model that they are attached to while it computes. */
    public UseGuard guard() {
        return guard;
    }

    public DeviceBuffer values() {
        guard.requireOpen();
        return memory.view(DType.F32, 0, size);
    }

    public DeviceBuffer gradients() {
        guard.requireOpen();
        return memory.view(DType.F32, runBytes(size), size);
    }

    /** @throws IllegalArgumentException if there is no tensor of this name */
    public DeviceBuffer value(String name) {
        Place p = place(name);
        return values().slice(p.from(), p.length());
    }

    /** @throws IllegalArgumentException if there is no tensor of this name */
    public DeviceBuffer gradient(String name) {
        Place p = place(name);
        return gradients().slice(p.from(), p.length());
    }

    private Place place(String name) {
        Place p = places.get(name);
        if (p == null) {
            throw new IllegalArgumentException("there is no trained tensor " + name);
        }
        return p;
    }

    public void clearGradients() {
        guard.during(() -> {
            kernels.clear(gradients());
            return null;
        });
    }

    /** Global L2 norm of the gradients. */
    public double gradientNorm() {
        return guard.during(() -> Math.sqrt(kernels.sumOfSquares(gradients(), size)));
    }

    /** @throws IllegalStateException if they are in use */
    @Override
    public void close() {
        if (guard.close()) {
            memory.close();
        }
    }
}
