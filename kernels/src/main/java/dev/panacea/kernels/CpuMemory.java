package dev.panacea.kernels;

import dev.panacea.bindings.NativeMemory;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** Memory of the native library in an arena of its own, so that a view which is used too late throws instead of reading what is there now. */
final class CpuMemory implements DeviceMemory {
    private final Arena arena;
    private final MemorySegment segment;

    private CpuMemory(Arena arena, MemorySegment segment) {
        this.arena = arena;
        this.segment = segment;
    }

    static CpuMemory allocate(long bytes) {
        Arena arena = Arena.ofShared();
        try {
            MemorySegment segment = NativeMemory.allocate(bytes, arena).orElseThrow(() -> new PanaceaException(
                    "the system has no " + bytes + " bytes of memory left; use a smaller batch, shorter sequences or 4-bit weights, or close other programs"));
            return new CpuMemory(arena, segment);
        } catch (RuntimeException e) {
            arena.close();
            throw e;
        }
    }

    @Override
    public long byteSize() {
        return segment.byteSize();
    }

    @Override
    public DeviceBuffer view(DType type, long byteOffset, long length) {
        if (!arena.scope().isAlive()) {
            throw new IllegalStateException("this memory has been closed");
        }
        if (byteOffset % type.bytes() != 0) {
            throw new IllegalArgumentException("offset " + byteOffset + " is not a multiple of the " + type.bytes() + " bytes of " + type);
        }
        // Division, not multiplication: a length from outside must not overflow.
        if (byteOffset < 0 || length < 0 || byteOffset > byteSize() || length > (byteSize() - byteOffset) / type.bytes()) {
            throw new IndexOutOfBoundsException(length + " elements of " + type + " from byte " + byteOffset + " do not lie within " + byteSize() + " bytes");
        }
        return DeviceBuffer.ofHost(type, segment.asSlice(byteOffset, length * type.bytes()));
    }

    @Override
    public void close() {
        // The fields of a weight's struct are mere addresses, which do not keep an arena open.
        NativeCalls.whileNoneRuns(() -> {
            if (arena.scope().isAlive()) {
                arena.close();
            }
        });
    }
}
