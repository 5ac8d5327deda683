package dev.panacea.kernels;

/**
 * A block of memory on the device of one {@link Kernels}, freed by {@link #close()}. Buffers are typed views of it; an operation on one whose memory has
 * been closed throws {@link IllegalStateException}. Any thread may close it: that waits for a call that is running.
 */
public interface DeviceMemory extends AutoCloseable {
    long byteSize();

    /**
     * A typed view.
     *
     * @param byteOffset start in bytes, a multiple of the element size
     * @param length number of elements
     * @throws IllegalStateException if this memory has been closed
     * @throws IndexOutOfBoundsException if the view does not lie inside the block
     */
    DeviceBuffer view(DType type, long byteOffset, long length);

    /** All of the block as elements of one type; {@link #byteSize()} must be a multiple of the element size. */
    default DeviceBuffer view(DType type) {
        return view(type, 0, byteSize() / type.bytes());
    }

    /** Frees the memory; once it is freed, does nothing. */
    @Override
    void close();
}
