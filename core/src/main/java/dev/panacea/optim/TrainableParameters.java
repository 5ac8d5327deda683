package dev.panacea.optim;

import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.DeviceMemory;
import dev.panacea.kernels.Kernels;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * All trained values in one run of memory, and their gradients in another, so that clipping and the optimizer are one call each. F32.
 */
public final class TrainableParameters implements AutoCloseable {
    private record Place(long from, long length) {}

    private final Kernels kernels;
    private final Map<String, Place> places = new LinkedHashMap<>();
    private final long size;
    private final DeviceMemory valueMemory;
    private final DeviceMemory gradientMemory;

    /** @param lengths elements of each named tensor, in the order in which they are laid out */
    public TrainableParameters(Kernels kernels, Map<String, Long> lengths) {
        this.kernels = kernels;
        long at = 0;
        for (Map.Entry<String, Long> e : lengths.entrySet()) {
            places.put(e.getKey(), new Place(at, e.getValue()));
            at += e.getValue();
        }
        this.size = at;
        this.valueMemory = kernels.allocate(Math.max(4, 4 * size));
        this.gradientMemory = kernels.allocate(Math.max(4, 4 * size));
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
        return valueMemory.byteSize() + gradientMemory.byteSize();
    }

    public DeviceBuffer values() {
        return valueMemory.view(DType.F32, 0, size);
    }

    public DeviceBuffer gradients() {
        return gradientMemory.view(DType.F32, 0, size);
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
        valueMemory.close();
        gradientMemory.close();
    }
}
