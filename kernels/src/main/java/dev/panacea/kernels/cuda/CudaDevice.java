package dev.panacea.kernels.cuda;

import static dev.panacea.kernels.cuda.CudaException.check;

import dev.panacea.bindings.CudaLibrary;
import dev.panacea.bindings.NativeLibraryException;
import dev.panacea.bindings.cuda.Cuda;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.kernels.UnsupportedBackendException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/**
 * One GPU: its primary context and the one stream on which everything runs in order. Not safe for use by several threads at once; the
 * caller takes turns. A method may be called from any thread.
 */
public final class CudaDevice implements AutoCloseable {
    private final Arena arena = Arena.ofShared();
    private final MemorySegment word = arena.allocate(16);
    private final int device;
    private final MemorySegment context;
    private final MemorySegment stream;
    private final ThreadLocal<Boolean> current = ThreadLocal.withInitial(() -> false);
    private boolean closed;

    private CudaDevice(int ordinal) {
        check("cuDeviceGet", Cuda.cuDeviceGet(word, ordinal));
        device = word.get(ValueLayout.JAVA_INT, 0);
        check("opening CUDA device " + ordinal, Cuda.cuDevicePrimaryCtxRetain(word, device));
        context = word.get(ValueLayout.ADDRESS, 0);
        makeCurrent();
        check("cuStreamCreate", Cuda.cuStreamCreate(word, Cuda.CU_STREAM_NON_BLOCKING()));
        stream = word.get(ValueLayout.ADDRESS, 0);
    }

    /**
     * Opens a GPU.
     *
     * @param ordinal its number, from 0 on
     * @throws UnsupportedBackendException if there is no driver or no GPU; the message says what was looked for and found
     * @throws PanaceaException if the setting of the driver's path is wrong, or there is no GPU of this number
     */
    public static CudaDevice open(int ordinal) {
        String library;
        try {
            library = CudaLibrary.load();
        } catch (NativeLibraryException e) {
            throw e.isUnsupported() ? new UnsupportedBackendException(e.getMessage(), e) : new PanaceaException(e.getMessage(), e);
        }
        int code = Cuda.cuInit(0);
        if (code != 0) {
            throw new UnsupportedBackendException("the CUDA driver " + library + " cannot be used: " + CudaLibrary.error(code), null);
        }
        int count = count();
        if (count == 0) {
            throw new UnsupportedBackendException("the CUDA driver " + library + " finds no GPU", null);
        }
        if (ordinal < 0 || ordinal >= count) {
            throw new PanaceaException("there is no CUDA device " + ordinal + "; the driver " + library + " has " + count + ", numbered from 0");
        }
        return new CudaDevice(ordinal);
    }

    private static int count() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ValueLayout.JAVA_INT);
            int code = Cuda.cuDeviceGetCount(out);
            return code == Cuda.CUDA_ERROR_NO_DEVICE() ? 0 : code == 0 ? out.get(ValueLayout.JAVA_INT, 0) : failed(code);
        }
    }

    private static int failed(int code) {
        throw new CudaException("cuDeviceGetCount", code);
    }

    /** The context belongs to threads, so each that calls the driver has to take it first. */
    void makeCurrent() {
        if (closed) {
            throw new IllegalStateException("this CUDA device has been closed");
        }
        if (!current.get()) {
            check("cuCtxSetCurrent", Cuda.cuCtxSetCurrent(context));
            current.set(true);
        }
    }

    MemorySegment stream() {
        return stream;
    }

    // ---- what it is --------------------------------------------------------------------------------------------------

    /** Such as {@code "NVIDIA A100-SXM4-80GB"}. */
    public String name() {
        try (Arena local = Arena.ofConfined()) {
            MemorySegment text = local.allocate(256);
            check("cuDeviceGetName", Cuda.cuDeviceGetName(text, 256, device));
            return text.getString(0);
        }
    }

    /** @param attribute one of {@code Cuda.CU_DEVICE_ATTRIBUTE_…()} */
    public int attribute(int attribute) {
        check("cuDeviceGetAttribute", Cuda.cuDeviceGetAttribute(word, attribute, device));
        return word.get(ValueLayout.JAVA_INT, 0);
    }

    /** Compute capability as one number: 80 for 8.0. */
    public int architecture() {
        return 10 * attribute(Cuda.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR()) + attribute(Cuda.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR());
    }

    /** Number of streaming multiprocessors. */
    public int multiprocessors() {
        return attribute(Cuda.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT());
    }

    /** Dense BF16 operations per second of the tensor cores at the highest clock, by the figures that NVIDIA publishes for each architecture. */
    public double tensorFlops() {
        int architecture = architecture();
        int perClock = architecture >= 100 ? 8192 : architecture >= 90 ? 4096 : architecture == 80 ? 2048 : 512;
        return 1e3 * attribute(Cuda.CU_DEVICE_ATTRIBUTE_CLOCK_RATE()) * multiprocessors() * perClock;
    }

    /** Bytes of device memory that are free now. */
    public long freeBytes() {
        makeCurrent();
        check("cuMemGetInfo", Cuda.cuMemGetInfo_v2(word, word.asSlice(8)));
        return word.get(ValueLayout.JAVA_LONG, 0);
    }

    /** Bytes of device memory. */
    public long totalBytes() {
        check("cuDeviceTotalMem", Cuda.cuDeviceTotalMem_v2(word, device));
        return word.get(ValueLayout.JAVA_LONG, 0);
    }

    // ---- what it does ------------------------------------------------------------------------------------------------

    /** Sets bytes to zero, in the order of the stream. */
    public void clear(long address, long bytes) {
        makeCurrent();
        if (bytes > 0) {
            check("cuMemsetD8Async", Cuda.cuMemsetD8Async(address, (byte) 0, bytes, stream));
        }
    }

    /** Waits until everything that was asked for has been done. */
    public void synchronize() {
        makeCurrent();
        check("waiting for the GPU", Cuda.cuStreamSynchronize(stream));
    }

    /** Gives the context back. Memory and modules must have been freed. */
    @Override
    public void close() {
        if (!closed) {
            makeCurrent();
            closed = true;
            // Faults of earlier launches show here again; they have been reported, or nobody asked for the results.
            Cuda.cuStreamSynchronize(stream);
            Cuda.cuStreamDestroy_v2(stream);
            Cuda.cuDevicePrimaryCtxRelease_v2(device);
            arena.close();
        }
    }
}
