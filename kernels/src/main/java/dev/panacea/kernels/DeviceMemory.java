package dev.panacea.kernels;

/**
 * A block of memory on the device of one {@link Kernels}, freed by {@link #close()}. Buffers are typed views of it and must not be used
 * once it is closed; on the CPU backends such a use throws {@link IllegalStateException}.
 */
public interface DeviceMemory extends AutoCloseable {
    long byteSize();

    /**
     * A typed view.
     *
     * @param byteOffset start in bytes, a multiple of the element size
     * @param length number of elements
     * @throws IndexOutOfBoundsException if the view does not lie inside the block
     */
    DeviceBuffer view(DType type, long byteOffset, long length);

    /** All of the block as elements of one type; {@link #byteSize()} must be a multiple of the element size. */
    default DeviceBuffer view(DType type) {
        return view(type, 0, byteSize() / type.bytes());
    }

    @Override
    void close();
}
