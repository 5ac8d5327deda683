package dev.panacea.kernels.cuda;

import static dev.panacea.kernels.cuda.CudaException.check;

import dev.panacea.bindings.CudaLibrary;
import dev.panacea.bindings.cuda.Cuda;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * Copies between this process and the device, by way of two pieces of page-locked memory: while the GPU reads one, the other is filled.
 * (The driver would stage pageable memory itself, in one small piece, and wait for it.)
 */
public final class CudaTransfers implements AutoCloseable {
    private static final long PIECE = 8 << 20;

    private final CudaDevice device;
    private final Arena arena = Arena.ofShared();
    private final MemorySegment[] pieces = new MemorySegment[2];
    private final MemorySegment[] done = new MemorySegment[2];
    private int next;

    public CudaTransfers(CudaDevice device) {
        this.device = device;
        device.makeCurrent();
        MemorySegment out = arena.allocate(ValueLayout.ADDRESS);
        for (int i = 0; i < 2; i++) {
            check("cuMemHostAlloc of " + PIECE + " bytes", Cuda.cuMemHostAlloc(out, PIECE, Cuda.CU_MEMHOSTALLOC_PORTABLE()));
            pieces[i] = CudaLibrary.hostMemory(out.get(ValueLayout.ADDRESS, 0), PIECE);
            check("cuEventCreate", Cuda.cuEventCreate(out, Cuda.CU_EVENT_DISABLE_TIMING()));
            done[i] = out.get(ValueLayout.ADDRESS, 0);
        }
    }

    /** Copies {@code bytes} to the device; the source may be changed when this returns, the copy itself is in the order of the stream. */
    public void upload(MemorySegment source, long address, long bytes) {
        device.makeCurrent();
        for (long at = 0; at < bytes; at += PIECE) {
            long size = Math.min(PIECE, bytes - at);
            int i = next;
            next = 1 - next;
            check("waiting for an upload", Cuda.cuEventSynchronize(done[i]));
            MemorySegment.copy(source, at, pieces[i], 0, size);
            check("uploading " + size + " bytes", Cuda.cuMemcpyHtoDAsync_v2(address + at, pieces[i], size, device.stream()));
            check("cuEventRecord", Cuda.cuEventRecord(done[i], device.stream()));
        }
    }

    /** Copies {@code bytes} from the device when everything asked for before has been done, and waits for it. */
    public void download(long address, MemorySegment destination, long bytes) {
        device.makeCurrent();
        if (bytes == 0) {
            device.synchronize();
        }
        long asked = 0;
        // One piece ahead: while the GPU fills one, the other is copied out.
        for (long at = 0; at < bytes; at += PIECE) {
            while (asked < bytes && asked < at + 2 * PIECE) {
                int i = (int) (asked / PIECE % 2);
                long size = Math.min(PIECE, bytes - asked);
                check("downloading " + size + " bytes", Cuda.cuMemcpyDtoHAsync_v2(pieces[i], address + asked, size, device.stream()));
                check("cuEventRecord", Cuda.cuEventRecord(done[i], device.stream()));
                asked += size;
            }
            int i = (int) (at / PIECE % 2);
            check("waiting for the GPU", Cuda.cuEventSynchronize(done[i]));
            MemorySegment.copy(pieces[i], 0, destination, at, Math.min(PIECE, bytes - at));
        }
    }

    @Override
    public void close() {
        device.synchronize();
        for (int i = 0; i < 2; i++) {
            check("cuMemFreeHost", Cuda.cuMemFreeHost(pieces[i]));
            check("cuEventDestroy", Cuda.cuEventDestroy_v2(done[i]));
        }
        arena.close();
    }
}
