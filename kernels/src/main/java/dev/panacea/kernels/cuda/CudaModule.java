package dev.panacea.kernels.cuda;

import static dev.panacea.kernels.cuda.CudaException.check;

import dev.panacea.bindings.cuda.Cuda;
import dev.panacea.kernels.UnsupportedBackendException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Kernels that have been loaded onto a device, by name. */
public final class CudaModule implements AutoCloseable {
    private final CudaDevice device;
    private final String origin;
    private final Arena arena = Arena.ofShared();
    private final MemorySegment module;
    private final Map<String, Function> functions = new HashMap<>();
    private final Launch launch;
    private boolean closed;

    /** A kernel: its handle, the sizes of its parameters in bytes, and its limits. */
    static final class Function {
        final String name;
        final MemorySegment handle;
        final int[] parameters;
        final int maxThreads;
        final int staticShared;
        int dynamicShared;

        Function(String name, MemorySegment handle, int[] parameters, int maxThreads, int staticShared) {
            this.name = name;
            this.handle = handle;
            this.parameters = parameters;
            this.maxThreads = maxThreads;
            this.staticShared = staticShared;
        }
    }

    /**
     * Loads kernels.
     *
     * @param image a fat binary, or PTX text
     * @param origin where it came from, for messages
     * @throws UnsupportedBackendException if it has no code for this device, or the driver is too old for it
     * @throws CudaException if the image is damaged
     */
    public CudaModule(CudaDevice device, byte[] image, String origin) {
        this.device = device;
        this.origin = origin;
        module = load(device, image, origin);
        launch = new Launch(device, arena);
    }

    private static MemorySegment load(CudaDevice device, byte[] image, String origin) {
        device.makeCurrent();
        try (Arena local = Arena.ofConfined()) {
            // A zero at the end: PTX is a C string. Fat binaries are aligned to 8 bytes.
            MemorySegment copy = local.allocate(image.length + 1L, 16);
            MemorySegment.copy(image, 0, copy, ValueLayout.JAVA_BYTE, 0, image.length);
            MemorySegment out = local.allocate(ValueLayout.ADDRESS);
            int code = Cuda.cuModuleLoadData(out, copy);
            if (code == Cuda.CUDA_ERROR_NO_BINARY_FOR_GPU() || code == Cuda.CUDA_ERROR_UNSUPPORTED_PTX_VERSION()) {
                throw new UnsupportedBackendException("the kernels (" + origin + ") have no code for " + device.name() + " of compute capability "
                        + device.architecture() / 10.0 + " with this driver, which is that of CUDA " + device.driverVersion()
                        + "; they need 8.0 or later, and the driver of CUDA 13.0 or later", new CudaException("cuModuleLoadData", code));
            }
            // To a driver that is older than the compiler its image may look damaged, too.
            check("loading the kernels (" + origin + ") by the driver of CUDA " + device.driverVersion(), code);
            return out.get(ValueLayout.ADDRESS, 0);
        }
    }

    /**
     * The next launch of a kernel: set grid, threads and arguments, then run it. The object is reused by the next call of this method.
     *
     * @throws IllegalStateException if there is no kernel of this name
     */
    public Launch launch(String kernel) {
        return launch.of(functions.computeIfAbsent(kernel, this::find));
    }

    private Function find(String name) {
        device.refuseWhileCapturing("loading the kernel " + name);
        device.makeCurrent();
        try (Arena local = Arena.ofConfined()) {
            MemorySegment out = local.allocate(16, 8);
            int code = Cuda.cuModuleGetFunction(out, module, local.allocateFrom(name));
            if (code == Cuda.CUDA_ERROR_NOT_FOUND()) {
                throw new IllegalStateException("there is no kernel " + name + " in " + origin + ": it is of another build than this jar");
            }
            check("looking up the kernel " + name, code);
            MemorySegment handle = out.get(ValueLayout.ADDRESS, 0);
            return new Function(name, handle, parameters(name, handle, out), attribute(handle, Cuda.CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK(), out),
                    attribute(handle, Cuda.CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES(), out));
        }
    }

    private static int[] parameters(String name, MemorySegment handle, MemorySegment out) {
        List<Integer> sizes = new ArrayList<>();
        int code = Cuda.cuFuncGetParamInfo(handle, 0, out, out.asSlice(8));
        while (code == 0) {
            sizes.add(Math.toIntExact(out.get(ValueLayout.JAVA_LONG, 8)));
            code = Cuda.cuFuncGetParamInfo(handle, sizes.size(), out, out.asSlice(8));
        }
        if (code != Cuda.CUDA_ERROR_INVALID_VALUE()) {
            // That is how the driver says that there are no more.
            check("reading the parameters of the kernel " + name, code);
        }
        return sizes.stream().mapToInt(Integer::intValue).toArray();
    }

    private static int attribute(MemorySegment handle, int attribute, MemorySegment out) {
        check("cuFuncGetAttribute", Cuda.cuFuncGetAttribute(out, attribute, handle));
        return out.get(ValueLayout.JAVA_INT, 0);
    }

    @Override
    public void close() {
        if (!closed) {
            closed = true;
            device.prepareToRelease(true);
            Cuda.cuModuleUnload(module);
            arena.close();
        }
    }
}
