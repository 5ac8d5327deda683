package dev.panacea.optim;

import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.DeviceMemory;
import dev.panacea.kernels.Kernels;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * All trained values in one run of memory, and their gradients in the next, so that clipping and the optimizer are one call each. F32.
 */
public final class TrainableParameters implements AutoCloseable {
    private record Place(long from, long length) {}

    /** Runs begin where kernels can read whole lines. */
    private static final long ALIGNMENT = 64;

    private final Kernels kernels;
    private final Map<String, Place> places = new LinkedHashMap<>();
    private final long size;
    private final DeviceMemory memory;

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

    public DeviceBuffer values() {
        return memory.view(DType.F32, 0, size);
    }

    public DeviceBuffer gradients() {
        return memory.view(DType.F32, runBytes(size), size);
    }

    public DeviceBuffer value(String name) {
        Place p = places.get(name);
        return values().slice(p.from(), p.length());
    }

    public DeviceBuffer gradient(String name) {
        Place p = places.get(name);
        return gradients().slice(p.from(), p.length());
    }

    public void clearGradients() {
        kernels.clear(gradients());
    }

    /** Global L2 norm of the gradients. */
    public double gradientNorm() {
        return Math.sqrt(kernels.sumOfSquares(gradients(), size));
    }

    @Override
    public void close() {
        memory.close();
    }
}
