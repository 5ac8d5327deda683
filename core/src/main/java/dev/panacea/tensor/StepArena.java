package dev.panacea.tensor;

import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.DeviceMemory;
import dev.panacea.kernels.Kernels;
import java.lang.foreign.MemorySegment;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * The memory of one training or generation step: allocation moves a mark forward, {@link #reset()} forgets everything at once. A buffer
 * given back early with {@link #free} serves the next request of the same type and length, so that the gradients of a backward pass take
 * the places of activations that are no longer needed. The contents of a fresh buffer are undefined.
 */
public final class StepArena implements AutoCloseable {
    private static final long FIRST_SLAB = 8L << 20;
    private static final long ALIGNMENT = 64;

    private record Kind(DType type, long length) {}

    private final Kernels kernels;
    private final List<DeviceMemory> slabs = new ArrayList<>();
    private final Map<Kind, Deque<DeviceBuffer>> freed = new HashMap<>();
    private long mark;
    private long used;
    private long peak;

    public StepArena(Kernels kernels) {
        this.kernels = kernels;
    }

    /** A buffer of {@code length} elements that lives until {@link #reset()} or {@link #free}. */
    public DeviceBuffer allocate(DType type, long length) {
        Deque<DeviceBuffer> again = freed.get(new Kind(type, length));
        if (again != null && !again.isEmpty()) {
            return again.pop();
        }
        long bytes = Math.max(ALIGNMENT, (length * type.bytes() + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
        if (slabs.isEmpty() || mark + bytes > slabs.getLast().byteSize()) {
            long slab = slabs.isEmpty() ? FIRST_SLAB : slabs.getLast().byteSize() * 2;
            slabs.add(kernels.allocate(Math.max(slab, bytes)));
            mark = 0;
        }
        DeviceBuffer buffer = slabs.getLast().view(type, mark, length);
        mark += bytes;
        used += bytes;
        peak = Math.max(peak, used);
        return buffer;
    }

    /** Row numbers, token ids or positions, copied to the device. */
    public DeviceBuffer ints(int[] values) {
        DeviceBuffer buffer = allocate(DType.I32, values.length);
        kernels.upload(MemorySegment.ofArray(values), buffer);
        return buffer;
    }

    /** Gives a buffer back before the step ends; it must not be used any more. */
    public void free(DeviceBuffer buffer) {
        freed.computeIfAbsent(new Kind(buffer.type(), buffer.length()), k -> new ArrayDeque<>()).push(buffer);
    }

    /** Forgets all buffers. A step that needed several slabs leaves one of their total size, so that the next step has it in one piece. */
    public void reset() {
        freed.clear();
        if (slabs.size() > 1) {
            long total = slabs.stream().mapToLong(DeviceMemory::byteSize).sum();
            slabs.forEach(DeviceMemory::close);
            slabs.clear();
            slabs.add(kernels.allocate(total));
        }
        mark = 0;
        used = 0;
    }

    /** Most bytes in use at one time so far. */
    public long peakBytes() {
        return peak;
    }

    @Override
    public void close() {
        slabs.forEach(DeviceMemory::close);
        slabs.clear();
        freed.clear();
    }
}
