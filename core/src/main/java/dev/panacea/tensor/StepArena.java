package dev.panacea.tensor;

import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.DeviceMemory;
import dev.panacea.kernels.Kernels;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;

/**
 * The memory of one training, evaluation or generation step: one block, as large as the step was planned to need, in which buffers are
 * placed. A buffer given back with {@link #free} leaves a hole that others fill; {@link #reset()} forgets everything at once. The contents
 * of a fresh buffer are undefined.
 *
 * <p>A buffer goes to the smallest hole that it fits, the lowest of several, and only else to the end of what is in use. So the places depend
 * on the order of the calls alone and never on the size of the block: an arena over {@link #counting() memory that does not exist} finds out
 * exactly what the same calls will need.
 *
 * <p>For one thread at a time; whoever owns an arena sees to that.
 */
public final class StepArena implements AutoCloseable {
    private static final long ALIGNMENT = 64;

    private record Place(long from, long bytes) {}

    private final Kernels kernels;
    private final Map<DeviceBuffer, Place> live = new IdentityHashMap<>();
    private final TreeMap<Long, Long> holes = new TreeMap<>();
    private Optional<DeviceMemory> block = Optional.empty();
    private int blocks;
    private long top;
    private long peak;

    public StepArena(Kernels kernels) {
        this.kernels = kernels;
    }

    /** An arena whose buffers have no memory behind them and serve {@link PlanningKernels}: afterwards {@link #peakBytes()} tells what was needed. */
    public static StepArena counting() {
        StepArena arena = new StepArena(PlanningKernels.INSTANCE);
        arena.reserve(Long.MAX_VALUE);
        return arena;
    }

    /**
     * Makes sure that the block has at least this many bytes; it grows when it must, and never shrinks. Nothing may be in use.
     *
     * @throws dev.panacea.kernels.PanaceaException if the system has not so much; the arena is without memory then
     */
    public void reserve(long bytes) {
        if (!live.isEmpty()) {
            throw new IllegalStateException("the arena cannot grow while " + live.size() + " buffers are in use");
        }
        if (bytes > reservedBytes()) {
            // The old block first: both at once would be more than the plan says.
            close();
            block = Optional.of(kernels.allocate(bytes));
            blocks++;
        }
    }

    /**
     * A buffer of {@code length} elements that lives until {@link #reset()} or {@link #free}.
     *
     * @throws IllegalStateException if the block is full: the step differs from its plan
     */
    public DeviceBuffer allocate(DType type, long length) {
        long bytes = Math.max(1, Math.ceilDiv(length * type.bytes(), ALIGNMENT)) * ALIGNMENT;
        long from = take(bytes);
        if (from + bytes > reservedBytes()) {
            throw new IllegalStateException("the step needs more than the " + reservedBytes() + " bytes that were reserved for it");
        }
        DeviceBuffer buffer = block.orElseThrow().view(type, from, length);
        live.put(buffer, new Place(from, bytes));
        return buffer;
    }

    private long take(long bytes) {
        long best = -1;
        long bestSize = Long.MAX_VALUE;
        for (Map.Entry<Long, Long> hole : holes.entrySet()) {
            if (hole.getValue() >= bytes && hole.getValue() < bestSize) {
                best = hole.getKey();
                bestSize = hole.getValue();
            }
        }
        if (best < 0) {
            best = top;
            top += bytes;
            peak = Math.max(peak, top);
            return best;
        }
        holes.remove(best);
        if (bestSize > bytes) {
            holes.put(best + bytes, bestSize - bytes);
        }
        return best;
    }

    /** Row numbers, token ids or positions, copied to the device. */
    public DeviceBuffer ints(int[] values) {
        DeviceBuffer buffer = allocate(DType.I32, values.length);
        kernels.upload(MemorySegment.ofArray(values), buffer);
        return buffer;
    }

    /** As {@link #ints(int[])}, several of them in one copy; they cannot be given back before the step ends. */
    public List<DeviceBuffer> ints(int[]... several) {
        DeviceBuffer all = ints(Arrays.stream(several).flatMapToInt(Arrays::stream).toArray());
        List<DeviceBuffer> parts = new ArrayList<>();
        long at = 0;
        for (int[] values : several) {
            parts.add(all.slice(at, values.length));
            at += values.length;
        }
        return parts;
    }

    /**
     * Gives a buffer back before the step ends; it must not be used any more.
     *
     * @throws IllegalArgumentException if it is not in use: it was given back before, or is no buffer of this arena
     */
    public void free(DeviceBuffer buffer) {
        Place place = live.remove(buffer);
        if (place == null) {
            throw new IllegalArgumentException(buffer + " is not in use in this arena");
        }
        long from = place.from();
        long end = from + place.bytes();
        Map.Entry<Long, Long> before = holes.floorEntry(from);
        if (before != null && before.getKey() + before.getValue() == from) {
            from = before.getKey();
            holes.remove(from);
        }
        Long after = holes.remove(end);
        if (after != null) {
            end += after;
        }
        if (end == top) {
            top = from;
        } else {
            holes.put(from, end - from);
        }
    }

    /** Forgets all buffers; the block stays. */
    public void reset() {
        live.clear();
        holes.clear();
        top = 0;
    }

    /** Most bytes in use at one time so far, holes included. */
    public long peakBytes() {
        return peak;
    }

    /** How many blocks there have been: as long as it stays the same, the same calls get the same addresses. */
    public int blocks() {
        return blocks;
    }

    /** Size of the block. */
    public long reservedBytes() {
        return block.map(DeviceMemory::byteSize).orElse(0L);
    }

    /** Gives the block back to the system; the arena can be used on once memory is reserved again. */
    @Override
    public void close() {
        reset();
        block.ifPresent(DeviceMemory::close);
        block = Optional.empty();
    }
}
