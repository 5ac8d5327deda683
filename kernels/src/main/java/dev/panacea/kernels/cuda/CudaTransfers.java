package dev.panacea.kernels.cuda;

import static dev.panacea.kernels.cuda.CudaException.check;

import dev.panacea.bindings.CudaLibrary;
import dev.panacea.bindings.cuda.Cuda;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;

/**
 * Copies between this process and the device, by way of two pieces of page-locked memory: while the GPU reads one, the other is filled. Small uploads lie
 * side by side in a piece, so that the caller waits for the GPU only when a whole piece has been filled since it last did.
 * (The driver would stage pageable memory itself, in one small piece, and wait for it.)
 */
public final class CudaTransfers implements AutoCloseable {
    static final long PIECE = 8 << 20;
    /** Uploads start at multiples of this in a piece. */
    private static final long STEP = 256;

    private final CudaDevice device;
    private final List<MemorySegment> pieces = new ArrayList<>();
    private final List<MemorySegment> done = new ArrayList<>();
    private final long watched;
    private final MemorySegment watchedCopy;
    private int filling;
    private long filled;
    private boolean closed;

    /**
     * @param watched address of device memory that comes along with every download
     * @param watchedBytes how much of it, at most a page
     */
    public CudaTransfers(CudaDevice device, long watched, long watchedBytes) {
        this.device = device;
        this.watched = watched;
        device.makeCurrent();
        boolean complete = false;
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ValueLayout.ADDRESS);
            for (int i = 0; i < 2; i++) {
                pieces.add(pageLocked(out, PIECE));
                check("cuEventCreate", Cuda.cuEventCreate(out, Cuda.CU_EVENT_DISABLE_TIMING()));
                done.add(out.get(ValueLayout.ADDRESS, 0));
            }
            watchedCopy = pageLocked(out, watchedBytes);
            pieces.add(watchedCopy);
            complete = true;
        } finally {
            if (!complete) {
                close();
            }
        }
    }

    private static MemorySegment pageLocked(MemorySegment out, long bytes) {
        check("cuMemHostAlloc of " + bytes + " bytes", Cuda.cuMemHostAlloc(out, bytes, Cuda.CU_MEMHOSTALLOC_PORTABLE()));
        return CudaLibrary.hostMemory(out.get(ValueLayout.ADDRESS, 0), bytes);
    }

    /** Copies {@code bytes} to the device; the source may be changed when this returns, the copy itself is in the order of the stream. */
    public void upload(MemorySegment source, long address, long bytes) {
        device.refuseWhileCapturing("an upload");
        device.makeCurrent();
        long at = 0;
        while (at < bytes) {
            if (filled == PIECE) {
                turn();
            }
            long size = Math.min(PIECE - filled, bytes - at);
            MemorySegment part = pieces.get(filling).asSlice(filled, size);
            MemorySegment.copy(source, at, part, 0, size);
            check("uploading " + size + " bytes", Cuda.cuMemcpyHtoDAsync_v2(address + at, part, size, device.stream()));
            filled = Math.min(PIECE, (filled + size + STEP - 1) / STEP * STEP);
            at += size;
        }
    }

    /** Goes on in the other piece, as soon as the GPU has read what was last put there. */
    private void turn() {
        check("cuEventRecord", Cuda.cuEventRecord(done.get(filling), device.stream()));
        filling = 1 - filling;
        check("waiting for an upload", Cuda.cuEventSynchronize(done.get(filling)));
        filled = 0;
    }

    /** Copies {@code bytes} from the device when everything asked for before has been done, and waits for it. */
    public void download(long address, MemorySegment destination, long bytes) {
        device.refuseWhileCapturing("a download");
        device.makeCurrent();
        check("downloading", Cuda.cuMemcpyDtoHAsync_v2(watchedCopy, watched, watchedCopy.byteSize(), device.stream()));
        if (bytes == 0) {
            device.synchronize();
        }
        long asked = 0;
        // One piece ahead: while the GPU fills one, the other is copied out.
        for (long at = 0; at < bytes; at += PIECE) {
            while (asked < bytes && asked < at + 2 * PIECE) {
                int i = (int) (asked / PIECE % 2);
                long size = Math.min(PIECE, bytes - asked);
                check("downloading " + size + " bytes", Cuda.cuMemcpyDtoHAsync_v2(pieces.get(i), address + asked, size, device.stream()));
                check("cuEventRecord", Cuda.cuEventRecord(done.get(i), device.stream()));
                asked += size;
            }
            int i = (int) (at / PIECE % 2);
            check("waiting for the GPU", Cuda.cuEventSynchronize(done.get(i)));
            MemorySegment.copy(pieces.get(i), 0, destination, at, Math.min(PIECE, bytes - at));
        }
        // All that was asked for before has been done: both pieces are free.
        filled = 0;
    }

    /** What the watched memory held at the last download. */
    public MemorySegment watched() {
        return watchedCopy;
    }

    @Override
    public void close() {
        if (!closed) {
            closed = true;
            device.prepareToRelease(true);
            pieces.forEach(Cuda::cuMemFreeHost);
            done.forEach(Cuda::cuEventDestroy_v2);
        }
    }
}
