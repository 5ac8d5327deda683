package dev.panacea.kernels;

import dev.panacea.kernels.cuda.CudaDevice;
import java.lang.foreign.MemorySegment;
import java.util.Objects;
import java.util.Optional;

/**
 * A typed run of elements in the memory of a device: what every operation of {@link Kernels} takes. It owns nothing; its
 * {@link DeviceMemory} does.
 */
public final class DeviceBuffer {
    private final DType type;
    private final long length;
    private final long address;
    private final MemorySegment host;
    /** Of a GPU: the memory that this is a part of, where that is known. */
    private final CudaMemory memory;

    private DeviceBuffer(DType type, long length, long address, MemorySegment host, CudaMemory memory) {
        this.type = type;
        this.length = length;
        this.address = address;
        this.host = host;
        this.memory = memory;
    }

    /** A buffer in memory that this process can read and write, such as the CPU backends use. The segment's size decides the length. */
    public static DeviceBuffer ofHost(DType type, MemorySegment segment) {
        if (segment.byteSize() % type.bytes() != 0) {
            throw new IllegalArgumentException(segment.byteSize() + " bytes are not a whole number of " + type + " elements");
        }
        return new DeviceBuffer(type, segment.byteSize() / type.bytes(), segment.isNative() ? segment.address() : 0, segment, null);
    }

    /** A buffer at an address of a device whose memory this process cannot touch. */
    public static DeviceBuffer ofDevice(DType type, long address, long length) {
        return new DeviceBuffer(type, length, address, null, null);
    }

    /** As {@link #ofDevice}, a part of memory that may be closed, and that belongs to one device. */
    static DeviceBuffer of(CudaMemory memory, DType type, long address, long length) {
        return new DeviceBuffer(type, length, address, null, memory);
    }

    public DType type() {
        return type;
    }

    /** Number of elements. */
    public long length() {
        return length;
    }

    public long byteSize() {
        return length * type.bytes();
    }

    /** The address on the device: for launches, never to be dereferenced in Java. */
    public long address() {
        return address;
    }

    /**
     * The address for work of a device, which looks here right before it begins.
     *
     * @throws IllegalArgumentException if the elements are in this process's memory, or in that of other kernels
     * @throws IllegalStateException if their memory has been closed
     */
    public long addressOn(CudaDevice device) {
        if (host != null) {
            throw new IllegalArgumentException("a buffer in this process's memory (" + this + "), which the GPU cannot reach, is given to its kernels; upload it first");
        }
        if (memory != null) {
            memory.requireOpenOn(device);
        }
        return address;
    }

    /** The elements themselves, if this process can reach them. */
    public Optional<MemorySegment> hostSegment() {
        return Optional.ofNullable(host);
    }

    /**
     * The elements themselves.
     *
     * @throws IllegalStateException if they are in a device's own memory: {@link Kernels#download} them
     */
    public MemorySegment host() {
        if (host == null) {
            throw new IllegalStateException("this buffer is in device memory; download it first");
        }
        return host;
    }

    /**
     * What every operation asks first, in words of its own; memory that another thread closes at this moment is still refused by what comes after.
     *
     * @throws IllegalStateException if the memory has been closed
     */
    void requireOpen(String name) {
        if (host != null && !host.scope().isAlive()) {
            throw new IllegalStateException(name + ": its memory has been closed");
        }
        if (memory != null) {
            memory.requireOpen(name);
        }
    }

    /** {@code count} elements from element {@code from} on. */
    public DeviceBuffer slice(long from, long count) {
        Objects.checkFromIndexSize(from, count, length);
        long offset = from * type.bytes();
        return new DeviceBuffer(type, count, address == 0 ? 0 : address + offset, host == null ? null : host.asSlice(offset, count * type.bytes()), memory);
    }

    @Override
    public String toString() {
        return type + "[" + length + "]" + (host == null ? " on device" : "");
    }
}
