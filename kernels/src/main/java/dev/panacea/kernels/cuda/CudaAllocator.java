package dev.panacea.kernels.cuda;

import static dev.panacea.kernels.cuda.CudaException.check;

import dev.panacea.bindings.cuda.Cuda;
import dev.panacea.kernels.PanaceaException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.Map;
import java.util.TreeMap;

/**
 * Device memory that is kept when it is freed and given out again: {@code cuMemAlloc} and {@code cuMemFree} wait for the GPU. Since
 * everything runs on one stream, memory that is freed while a kernel still uses it is not written by the next owner before that has ended.
 *
 * <p>Sizes are rounded up, to 512 bytes or to 2 MiB where they are large, and a free block serves a request of at least 7/8 of its size.
 * When the device has no memory left, all free blocks go back to it before the request is refused.
 */
public final class CudaAllocator implements AutoCloseable {
    private static final long SMALL_STEP = 512;
    private static final long LARGE_STEP = 2 << 20;

    private final CudaDevice device;
    private final boolean caching;
    private final Arena arena = Arena.ofShared();
    private final MemorySegment out = arena.allocate(ValueLayout.JAVA_LONG);
    private final TreeMap<Long, Deque<Long>> free = new TreeMap<>();
    private final Map<Long, Long> used = new HashMap<>();
    private long usedBytes;
    private long heldBytes;

    /**
     * @param caching false: every request is the driver's, of exactly its size, so that a tool which watches memory sees an access beyond it
     */
    public CudaAllocator(CudaDevice device, boolean caching) {
        this.device = device;
        this.caching = caching;
    }

    /**
     * The address of at least {@code bytes} bytes of any content, aligned to 256.
     *
     * @throws PanaceaException if the device has not enough memory, even with every free block returned to it
     */
    public long allocate(long bytes) {
        if (bytes < 0) {
            throw new IllegalArgumentException(bytes + " bytes of memory: it must not be negative");
        }
        device.refuseWhileCapturing("allocating memory");
        device.makeCurrent();
        long size = rounded(bytes);
        var entry = free.ceilingEntry(size);
        if (entry != null && entry.getKey() - entry.getKey() / 8 <= size) {
            size = entry.getKey();
            long address = entry.getValue().pop();
            if (entry.getValue().isEmpty()) {
                free.remove(size);
            }
            return use(address, size);
        }
        int code = Cuda.cuMemAlloc_v2(out, size);
        if (code == Cuda.CUDA_ERROR_OUT_OF_MEMORY() && !free.isEmpty()) {
            trim();
            code = Cuda.cuMemAlloc_v2(out, size);
        }
        if (code == Cuda.CUDA_ERROR_OUT_OF_MEMORY()) {
            throw new PanaceaException("the GPU has no " + bytes + " bytes of memory left (of " + device.totalBytes() + " bytes " + device.freeBytes() + " are free and " + usedBytes
                    + " in use here); use a smaller batch, shorter sequences, gradient checkpointing or 4-bit weights, or close other programs");
        }
        check("cuMemAlloc of " + size + " bytes", code);
        heldBytes += size;
        return use(out.get(ValueLayout.JAVA_LONG, 0), size);
    }

    private long use(long address, long size) {
        used.put(address, size);
        usedBytes += size;
        return address;
    }

    private long rounded(long bytes) {
        if (!caching) {
            return Math.max(bytes, 1);
        }
        long step = bytes < LARGE_STEP ? SMALL_STEP : LARGE_STEP;
        if (bytes > Long.MAX_VALUE - step) {
            return bytes;
        }
        return Math.max(step, (bytes + step - 1) / step * step);
    }

    /** Takes back what {@link #allocate} gave. */
    public void free(long address) {
        if (!caching) {
            device.refuseWhileCapturing("freeing memory");
        }
        Long size = used.remove(address);
        if (size == null) {
            throw new IllegalStateException("address " + Long.toHexString(address) + " was not allocated here, or has been freed");
        }
        usedBytes -= size;
        if (caching) {
            free.computeIfAbsent(size, s -> new ArrayDeque<>()).push(address);
        } else {
            release(address, size);
        }
    }

    private void release(long address, long size) {
        device.prepareToRelease(true);
        check("cuMemFree", Cuda.cuMemFree_v2(address));
        heldBytes -= size;
    }

    /** Gives all free blocks back to the device. */
    public void trim() {
        while (!free.isEmpty()) {
            var entry = free.firstEntry();
            release(entry.getValue().pop(), entry.getKey());
            if (entry.getValue().isEmpty()) {
                free.remove(entry.getKey());
            }
        }
    }

    /** Bytes given out and not taken back. */
    public long usedBytes() {
        return usedBytes;
    }

    /** Bytes taken from the device, free blocks included. */
    public long heldBytes() {
        return heldBytes;
    }

    /** Bytes that can still be had: what the device has free, and the free blocks; not all of it in one piece. */
    public long availableBytes() {
        return device.freeBytes() + heldBytes - usedBytes;
    }

    /** Gives everything back to the device, memory in use as well: its owners must not use it any more. */
    @Override
    public void close() {
        device.prepareToRelease(true);
        // Whatever the driver answers: after a fault it answers nothing else, and the context takes the memory with it.
        free.values().forEach(addresses -> addresses.forEach(Cuda::cuMemFree_v2));
        used.keySet().forEach(Cuda::cuMemFree_v2);
        free.clear();
        used.clear();
        usedBytes = 0;
        heldBytes = 0;
        arena.close();
    }
}
