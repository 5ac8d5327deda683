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
     */
    public CudaModule(CudaDevice device, byte[] image, String origin) {
        this.device = device;
        device.makeCurrent();
        try (Arena local = Arena.ofConfined()) {
            // A zero at the end: PTX is a C string. Fat binaries are aligned to 8 bytes.
            MemorySegment copy = local.allocate(image.length + 1L, 16);
            MemorySegment.copy(image, 0, copy, ValueLayout.JAVA_BYTE, 0, image.length);
            MemorySegment out = local.allocate(ValueLayout.ADDRESS);
            int code = Cuda.cuModuleLoadData(out, copy);
            if (code == Cuda.CUDA_ERROR_NO_BINARY_FOR_GPU() || code == Cuda.CUDA_ERROR_UNSUPPORTED_PTX_VERSION()) {
                arena.close();
                throw new UnsupportedBackendException("the kernels (" + origin + ") have no code for " + device.name() + " of compute capability "
                        + device.architecture() / 10.0 + " with this driver; they need 8.0 or later, and a driver for CUDA 13.0 or later", new CudaException("cuModuleLoadData", code));
            }
            if (code != 0) {
                arena.close();
            }
            check("loading the kernels (" + origin + ")", code);
            module = out.get(ValueLayout.ADDRESS, 0);
        }
        launch = new Launch(device, arena);
    }

    /** The next launch of a kernel: set grid, threads and arguments, then run it. The object is reused by the next call of this method. */
    public Launch launch(String kernel) {
        return launch.of(functions.computeIfAbsent(kernel, this::find));
    }

    private Function find(String name) {
        device.makeCurrent();
        try (Arena local = Arena.ofConfined()) {
            MemorySegment out = local.allocate(16);
            check("looking up the kernel " + name, Cuda.cuModuleGetFunction(out, module, local.allocateFrom(name)));
            MemorySegment handle = out.get(ValueLayout.ADDRESS, 0);
            List<Integer> sizes = new ArrayList<>();
            while (Cuda.cuFuncGetParamInfo(handle, sizes.size(), out, out.asSlice(8)) == 0) {
                sizes.add((int) out.get(ValueLayout.JAVA_LONG, 8));
            }
            int[] limits = new int[2];
            check("cuFuncGetAttribute", Cuda.cuFuncGetAttribute(out, Cuda.CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK(), handle));
            limits[0] = out.get(ValueLayout.JAVA_INT, 0);
            check("cuFuncGetAttribute", Cuda.cuFuncGetAttribute(out, Cuda.CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES(), handle));
            limits[1] = out.get(ValueLayout.JAVA_INT, 0);
            return new Function(name, handle, sizes.stream().mapToInt(Integer::intValue).toArray(), limits[0], limits[1]);
        }
    }

    @Override
    public void close() {
        if (!closed) {
            closed = true;
            device.makeCurrent();
            check("cuModuleUnload", Cuda.cuModuleUnload(module));
            arena.close();
        }
    }
}
