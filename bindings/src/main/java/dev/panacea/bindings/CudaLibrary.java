package dev.panacea.bindings;

import dev.panacea.bindings.cuda.Cuda;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;

/**
 * The CUDA driver's library, which comes with NVIDIA's driver: the file named by {@code -Dpanacea.cuda.driver} or {@code PANACEA_CUDA_DRIVER}, else
 * the system's {@code libcuda.so.1}.
 */
public final class CudaLibrary {
    /** Names the file of the driver's library. */
    public static final Setting FILE = new Setting("panacea.cuda.driver", "PANACEA_CUDA_DRIVER");

    private static final int MAX_TEXT = 4096;
    private static final DynamicLibrary LIBRARY = new DynamicLibrary("CUDA driver library", FILE, List.of("libcuda.so.1"), "cuInit",
            "It comes with the NVIDIA driver; install that, or name the file by " + FILE);

    private CudaLibrary() {}

    /**
     * Opens the library, if that has not been done.
     *
     * @return the file it came from, for logs and reports
     * @throws NativeLibraryException if there is none; {@link NativeLibraryException#isUnsupported()} unless a setting is wrong
     */
    public static String load() {
        return LIBRARY.load();
    }

    /** The driver's words for a result code, such as {@code CUDA_ERROR_OUT_OF_MEMORY: out of memory}. */
    public static String error(int code) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment text = arena.allocate(ValueLayout.ADDRESS);
            String name = Cuda.cuGetErrorName(code, text) == 0 ? string(text) : "CUDA error " + code;
            return Cuda.cuGetErrorString(code, text) == 0 ? name + ": " + string(text) : name;
        }
    }

    private static String string(MemorySegment pointer) {
        return pointer.get(ValueLayout.ADDRESS, 0).reinterpret(MAX_TEXT).getString(0);
    }

    /** Page-locked memory of this process from {@code cuMemHostAlloc}, at the address that it gave. */
    public static MemorySegment hostMemory(MemorySegment address, long bytes) {
        return address.reinterpret(bytes);
    }

    /** The address of a function, for the generated bindings. */
    public static MemorySegment symbol(String name) {
        return LIBRARY.symbol(name);
    }
}
