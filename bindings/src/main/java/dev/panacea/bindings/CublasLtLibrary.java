package dev.panacea.bindings;

import dev.panacea.bindings.cuda.CublasLt;
import java.lang.foreign.MemorySegment;
import java.util.List;

/**
 * NVIDIA's matrix library cuBLASLt, which is used when it is there: the file named by {@code -Dpanacea.cuda.cublaslt} or
 * {@code PANACEA_CUDA_CUBLASLT}, else the system's {@code libcublasLt.so.13}.
 */
public final class CublasLtLibrary {
    /** Names the file of the library, or says {@code off}. */
    public static final Setting FILE = new Setting("panacea.cuda.cublaslt", "PANACEA_CUDA_CUBLASLT");

    private static final int MAX_TEXT = 4096;
    private static final DynamicLibrary LIBRARY = new DynamicLibrary("cuBLASLt library", FILE, List.of("libcublasLt.so.13"), "cublasLtMatmul",
            "It is part of the CUDA toolkit 13; Panacea's own kernels serve without it");

    private CublasLtLibrary() {}

    /** As {@link CudaLibrary#load()}. */
    public static String load() {
        return LIBRARY.load();
    }

    /** The library's words for a status code. */
    public static String error(int status) {
        return CublasLt.cublasLtGetStatusString(status).reinterpret(MAX_TEXT).getString(0);
    }

    /** The address of a function, for the generated bindings. */
    public static MemorySegment symbol(String name) {
        return LIBRARY.symbol(name);
    }
}
