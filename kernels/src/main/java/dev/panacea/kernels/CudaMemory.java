package dev.panacea.kernels;

import java.util.concurrent.locks.Lock;

/** Memory of a GPU. */
final class CudaMemory implements DeviceMemory {
    private final CudaContext cuda;
    private final Lock calls;
    private final long address;
    private final long bytes;
    private boolean closed;

    /** Zeroed memory. @param calls held while memory is taken or given back */
    CudaMemory(CudaContext cuda, long bytes, Lock calls) {
        this.cuda = cuda;
        this.calls = calls;
        this.bytes = bytes;
        address = cuda.allocator().allocate(bytes);
        cuda.device().clear(address, bytes);
    }

    @Override
    public long byteSize() {
        return bytes;
    }

    @Override
    public DeviceBuffer view(DType type, long byteOffset, long length) {
        if (closed) {
            throw new IllegalStateException("this memory has been closed");
        }
        if (byteOffset % type.bytes() != 0) {
            throw new IllegalArgumentException("offset " + byteOffset + " is not a multiple of the " + type.bytes() + " bytes of " + type);
        }
        // Division, not multiplication: a length from outside must not overflow.
        if (byteOffset < 0 || length < 0 || byteOffset > bytes || length > (bytes - byteOffset) / type.bytes()) {
            throw new IndexOutOfBoundsException(length + " elements of " + type + " from byte " + byteOffset + " do not lie within " + bytes + " bytes");
        }
        return DeviceBuffer.ofDevice(type, address + byteOffset, length);
    }

    @Override
    public void close() {
        calls.lock();
        try {
            if (!closed) {
                closed = true;
                cuda.free(address);
            }
        } finally {
            calls.unlock();
        }
    }
}
