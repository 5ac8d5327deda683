package dev.panacea.kernels.cuda;

import static dev.panacea.kernels.cuda.CudaException.check;

import dev.panacea.bindings.CudaLibrary;
import dev.panacea.bindings.NativeLibraryException;
import dev.panacea.bindings.Setting;
import dev.panacea.bindings.cuda.Cuda;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.kernels.UnsupportedBackendException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Optional;

/**
 * One GPU: its primary context and the one stream on which everything runs in order. Several may be open, of one GPU or of different ones.
 * Not safe for use by several threads at once; the caller takes turns. A method may be called from any thread.
 */
public final class CudaDevice implements AutoCloseable {
    /** The first driver that has all the functions bound here: that of CUDA 12.4. */
    private static final int OLDEST_DRIVER = 12_040;

    /** Fewer bytes of shared memory for a block than the GPU has: a large GPU, or a simulated one, then runs what a smaller one would. */
    public static final Setting SHARED = new Setting("panacea.cuda.shared", "PANACEA_CUDA_SHARED");

    private final int device;
    private final MemorySegment context;
    private final MemorySegment stream;
    private final String name;
    private final int architecture;
    private final int driverVersion;
    private final int multiprocessors;
    private final int sharedLimit;
    private final long totalBytes;
    private boolean capturing;
    private boolean closed;

    private CudaDevice(int device, MemorySegment context, MemorySegment stream, Arena arena) {
        this.device = device;
        this.context = context;
        this.stream = stream;
        MemorySegment text = arena.allocate(256);
        check("cuDeviceGetName", Cuda.cuDeviceGetName(text, 256, device));
        name = text.getString(0);
        architecture = 10 * attribute(Cuda.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR()) + attribute(Cuda.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR());
        multiprocessors = attribute(Cuda.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT());
        sharedLimit = sharedLimit(attribute(Cuda.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN()));
        MemorySegment bytes = arena.allocate(ValueLayout.JAVA_LONG);
        check("cuDeviceTotalMem", Cuda.cuDeviceTotalMem_v2(bytes, device));
        totalBytes = bytes.get(ValueLayout.JAVA_LONG, 0);
        check("cuDriverGetVersion", Cuda.cuDriverGetVersion(bytes));
        driverVersion = bytes.get(ValueLayout.JAVA_INT, 0);
    }

    private static int sharedLimit(int ofDevice) {
        return SHARED.read().map(setting -> {
            try {
                return Math.min(ofDevice, Integer.parseInt(setting.text()));
            } catch (NumberFormatException e) {
                throw new PanaceaException("bytes of shared memory: " + setting.text() + " (" + setting.origin() + ") is not a number", e);
            }
        }).orElse(ofDevice);
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
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment number = arena.allocate(ValueLayout.JAVA_INT);
            int code = Cuda.cuInit(0);
            if (code == 0) {
                check("cuDriverGetVersion", Cuda.cuDriverGetVersion(number));
                int version = number.get(ValueLayout.JAVA_INT, 0);
                if (version < OLDEST_DRIVER) {
                    throw new UnsupportedBackendException("the CUDA driver " + library + " is that of CUDA " + version(version) + "; that of " + version(OLDEST_DRIVER)
                            + " or later is needed. Install a newer NVIDIA driver", null);
                }
                code = Cuda.cuDeviceGetCount(number);
            }
            if (code != 0 && code != Cuda.CUDA_ERROR_NO_DEVICE()) {
                throw new UnsupportedBackendException("the CUDA driver " + library + " cannot be used: " + CudaLibrary.error(code), null);
            }
            int count = code == 0 ? number.get(ValueLayout.JAVA_INT, 0) : 0;
            if (count == 0) {
                throw new UnsupportedBackendException("the CUDA driver " + library + " finds no GPU; nvidia-smi lists what it sees, CUDA_VISIBLE_DEVICES may hide some"
                        + " (now: " + Optional.ofNullable(System.getenv("CUDA_VISIBLE_DEVICES")).orElse("not set") + "), and a container needs to be started with them (--gpus all)", null);
            }
            if (ordinal < 0 || ordinal >= count) {
                throw new PanaceaException("there is no CUDA device " + ordinal + "; the driver " + library + " has " + (count == 1 ? "one, number 0" : count + ", numbered from 0"));
            }
            return open(ordinal, arena);
        }
    }

    /** What has been taken when something fails is given back. */
    private static CudaDevice open(int ordinal, Arena arena) {
        MemorySegment out = arena.allocate(ValueLayout.ADDRESS);
        check("cuDeviceGet", Cuda.cuDeviceGet(out, ordinal));
        int device = out.get(ValueLayout.JAVA_INT, 0);
        check("opening CUDA device " + ordinal, Cuda.cuDevicePrimaryCtxRetain(out, device));
        MemorySegment context = out.get(ValueLayout.ADDRESS, 0);
        MemorySegment stream = MemorySegment.NULL;
        boolean done = false;
        try {
            check("cuCtxSetCurrent", Cuda.cuCtxSetCurrent(context));
            check("cuStreamCreate", Cuda.cuStreamCreate(out, Cuda.CU_STREAM_NON_BLOCKING()));
            stream = out.get(ValueLayout.ADDRESS, 0);
            CudaDevice opened = new CudaDevice(device, context, stream, arena);
            done = true;
            return opened;
        } finally {
            if (!done) {
                release(device, stream);
            }
        }
    }

    private static void release(int device, MemorySegment stream) {
        if (!stream.equals(MemorySegment.NULL)) {
            Cuda.cuStreamDestroy_v2(stream);
        }
        Cuda.cuDevicePrimaryCtxRelease_v2(device);
    }

    /** 12040 is 12.4. */
    private static String version(int number) {
        return number / 1000 + "." + number % 1000 / 10;
    }

    /** The context belongs to threads, and other users of the driver may have set theirs: so each call of the driver is preceded by this. */
    void makeCurrent() {
        requireOpen();
        check("cuCtxSetCurrent", Cuda.cuCtxSetCurrent(context));
    }

    /**
     * What precedes giving things back. After a fault the driver may answer any call with it, even {@code cuCtxSetCurrent}: so whatever it answers.
     *
     * @param wait whether queued work may still use them; {@code cuMemFree} itself only "may" wait for that, by its documentation
     */
    void prepareToRelease(boolean wait) {
        requireOpen();
        Cuda.cuCtxSetCurrent(context);
        if (wait) {
            Cuda.cuStreamSynchronize(stream);
        }
    }

    private void requireOpen() {
        if (closed) {
            throw new IllegalStateException("this CUDA device has been closed");
        }
    }

    MemorySegment stream() {
        return stream;
    }

    // ---- what it is --------------------------------------------------------------------------------------------------

    /** The CUDA version that the driver is of, such as {@code "13.0"}. */
    public String driverVersion() {
        return version(driverVersion);
    }

    /** Such as {@code "NVIDIA A100-SXM4-80GB"}. */
    public String name() {
        return name;
    }

    /** Compute capability as one number: 80 for 8.0. */
    public int architecture() {
        return architecture;
    }

    /** Number of streaming multiprocessors. */
    public int multiprocessors() {
        return multiprocessors;
    }

    /** Bytes of shared memory that one block can have. */
    public int sharedLimit() {
        return sharedLimit;
    }

    /** Bytes of device memory. */
    public long totalBytes() {
        return totalBytes;
    }

    /** Dense BF16 operations per second of the tensor cores at the highest clock, by the figures that NVIDIA publishes for each architecture. */
    public double tensorFlops() {
        int architecture = architecture();
        // 8.6, 8.9 and 12.x are the GPUs of work stations, with smaller tensor cores than those of data centres.
        int perClock = architecture >= 120 ? 512 : architecture >= 100 ? 8192 : architecture >= 90 ? 4096 : architecture == 80 ? 2048 : 512;
        return 1e3 * attribute(Cuda.CU_DEVICE_ATTRIBUTE_CLOCK_RATE()) * multiprocessors() * perClock;
    }

    /** Bytes of device memory that are free now. */
    public long freeBytes() {
        makeCurrent();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment bytes = arena.allocate(16, 8);
            check("cuMemGetInfo", Cuda.cuMemGetInfo_v2(bytes, bytes.asSlice(8)));
            return bytes.get(ValueLayout.JAVA_LONG, 0);
        }
    }

    private int attribute(int attribute) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment value = arena.allocate(ValueLayout.JAVA_INT);
            check("cuDeviceGetAttribute", Cuda.cuDeviceGetAttribute(value, attribute, device));
            return value.get(ValueLayout.JAVA_INT, 0);
        }
    }

    // ---- what it does ------------------------------------------------------------------------------------------------

    /** Sets bytes to zero, in the order of the stream. */
    public void clear(long address, long bytes) {
        makeCurrent();
        if (bytes > 0) {
            check("clearing " + bytes + " bytes of device memory", Cuda.cuMemsetD8Async(address, (byte) 0, bytes, stream));
        }
    }

    /** Waits until everything that was asked for has been done. */
    public void synchronize() {
        refuseWhileCapturing("waiting");
        makeCurrent();
        check("waiting for the GPU", Cuda.cuStreamSynchronize(stream));
    }

    // ---- recording ---------------------------------------------------------------------------------------------------

    /** From now on launches are recorded instead of run. */
    void beginCapture() {
        refuseWhileCapturing("recording");
        makeCurrent();
        check("cuStreamBeginCapture", Cuda.cuStreamBeginCapture_v2(stream, Cuda.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL()));
        capturing = true;
    }

    /** Ends that; writes the handle of the graph, or a null pointer, and returns the driver's code. */
    int endCapture(MemorySegment graph) {
        capturing = false;
        return Cuda.cuStreamEndCapture(stream, graph);
    }

    /** Not all that a device does can be recorded: what waits, or depends on the host, cannot. */
    void refuseWhileCapturing(String what) {
        if (capturing) {
            throw new IllegalStateException(what + " cannot be part of calls that are recorded to be repeated");
        }
    }

    /** Gives the context back; what was allocated on it by this package must have been closed. */
    @Override
    public void close() {
        if (!closed) {
            // Faults of earlier launches show here again; they have been reported, or nobody asked for the results.
            prepareToRelease(true);
            closed = true;
            release(device, stream);
        }
    }
}
