package dev.panacea.kernels;

import dev.panacea.kernels.cuda.CudaAllocator;
import dev.panacea.kernels.cuda.CudaDevice;
import java.util.concurrent.locks.Lock;

/** Memory of a GPU. */
final class CudaMemory implements DeviceMemory {
    private final CudaContext cuda;
    private final Lock calls;
    private final long address;
    private final long bytes;
    private volatile boolean closed;

    private CudaMemory(CudaContext cuda, Lock calls, long address, long bytes) {
        this.cuda = cuda;
        this.calls = calls;
        this.address = address;
        this.bytes = bytes;
    }

    /** Zeroed memory. @param calls held while memory is taken or given back */
    static CudaMemory allocate(CudaContext cuda, long bytes, Lock calls) {
        CudaAllocator allocator = cuda.allocator();
        long address = allocator.allocate(bytes);
        boolean done = false;
        try {
            cuda.device().clear(address, bytes);
            done = true;
            return new CudaMemory(cuda, calls, address, bytes);
        } finally {
            if (!done) {
                allocator.free(address);
            }
        }
    }

    @Override
    public long byteSize() {
        return bytes;
    }

    @Override
    public DeviceBuffer view(DType type, long byteOffset, long length) {
        if (closed || cuda.isClosed()) {
            throw new IllegalStateException(closed ? "this memory has been closed" : "this memory has gone with the kernels that it was allocated by");
        }
        if (byteOffset % type.bytes() != 0) {
            throw new IllegalArgumentException("offset " + byteOffset + " is not a multiple of the " + type.bytes() + " bytes of " + type);
        }
        // Division, not multiplication: a length from outside must not overflow.
        if (byteOffset < 0 || length < 0 || byteOffset > bytes || length > (bytes - byteOffset) / type.bytes()) {
            throw new IndexOutOfBoundsException(length + " elements of " + type + " from byte " + byteOffset + " do not lie within " + bytes + " bytes");
        }
        return DeviceBuffer.of(this, type, address + byteOffset, length);
    }

    /** @throws IllegalStateException if this memory, or the kernels that it was allocated by, have been closed */
    void requireOpen(String name) {
        if (closed) {
            throw new IllegalStateException(name + ": its memory has been closed");
        }
        if (cuda.isClosed()) {
            throw new IllegalStateException(name + ": these kernels have been closed, and its memory is gone with them");
        }
    }

    /** As {@link #requireOpen}. @throws IllegalArgumentException if it was allocated on another device, or by other kernels */
    void requireOpenOn(CudaDevice device) {
        requireOpen("a buffer");
        if (device != cuda.device()) {
            throw new IllegalArgumentException("a buffer is in the memory of other kernels, of " + cuda.device().name() + ", than those that it is given to");
        }
    }

    /** Launches that were asked for before may still use the memory: whoever gets it next writes to it after them. */
    @Override
    public void close() {
        calls.lock();
        try {
            if (!closed) {
                closed = true;
                if (!cuda.isClosed()) {
                    cuda.allocator().free(address);
                }
            }
        } finally {
            calls.unlock();
        }
    }
}
