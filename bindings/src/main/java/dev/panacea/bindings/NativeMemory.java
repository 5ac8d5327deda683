package dev.panacea.bindings;

import dev.panacea.bindings.generated.PanaceaCpu;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Optional;
import java.util.function.Consumer;

/**
 * Memory from the native library. {@code Arena.allocate} would charge it to the limit of direct buffers, a quarter of the machine by
 * default, and clear it in a loop; this comes zeroed from the system, aligned, and with huge pages where it is large. The library must
 * have been loaded ({@link NativeLibrary#load()}).
 */
public final class NativeMemory {
    private NativeMemory() {}

    /** {@code bytes} of zeroed memory, aligned to 64 bytes, freed when {@code arena} closes; empty if the system has not enough. */
    public static Optional<MemorySegment> allocate(long bytes, Arena arena) {
        long size = nonZero(bytes);
        return owned(PanaceaCpu.pan_alloc(size), size, arena, p -> PanaceaCpu.pan_free(p, size)).map(s -> s.asSlice(0, bytes));
    }

    /**
     * For tests: as {@link #allocate}, but ending exactly at an inaccessible page, so that a kernel which touches one byte too many ends
     * the process instead of passing. Aligned only as {@code bytes} allows.
     */
    public static Optional<MemorySegment> allocateGuarded(long bytes, Arena arena) {
        long size = nonZero(bytes);
        return owned(PanaceaCpu.pan_alloc_guarded(size), size, arena, p -> PanaceaCpu.pan_free_guarded(p, size)).map(s -> s.asSlice(size - bytes));
    }

    private static long nonZero(long bytes) {
        if (bytes < 0) {
            throw new IllegalArgumentException(bytes + " bytes of memory: it must not be negative");
        }
        return Math.max(bytes, 1);
    }

    private static Optional<MemorySegment> owned(MemorySegment start, long size, Arena arena, Consumer<MemorySegment> free) {
        if (start.address() == 0) {
            return Optional.empty();
        }
        try {
            return Optional.of(start.reinterpret(size, arena, free));
        } catch (RuntimeException e) {
            free.accept(start);
            throw e;
        }
    }
}
