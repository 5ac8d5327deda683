package dev.panacea.kernels;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.Objects;

/** Memory of the reference kernels: a shared arena, so that parallel loops reach it and a late use throws. */
final class HostMemory implements DeviceMemory {
    private final Arena arena = Arena.ofShared();
    private final MemorySegment segment;

    HostMemory(long bytes) {
        Checks.notNegative("bytes", bytes);
        try {
            segment = arena.allocate(bytes, 64);
        } catch (OutOfMemoryError e) {
            arena.close();
            throw new PanaceaException("no " + bytes + " bytes of memory outside the Java heap left; use a smaller model or batch, or raise -XX:MaxDirectMemorySize", e);
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
        Objects.checkFromIndexSize(byteOffset, 0, byteSize());
        Objects.checkFromIndexSize(0, length, (byteSize() - byteOffset) / type.bytes());
        return DeviceBuffer.ofHost(type, segment.asSlice(byteOffset, length * type.bytes()));
    }

    @Override
    public synchronized void close() {
        if (arena.scope().isAlive()) {
            arena.close();
        }
    }
}
