package dev.panacea.kernels.cuda;

import dev.panacea.bindings.CublasLtLibrary;
import dev.panacea.bindings.NativeLibraryException;
import dev.panacea.bindings.cuda.CublasLt;
import dev.panacea.bindings.cuda.cublasLtMatmulHeuristicResult_t;
import dev.panacea.kernels.PanaceaException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.HashMap;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;

/**
 * Products of dense BF16 matrices by NVIDIA's cuBLASLt, where that library is installed. Matrices are row-major here and column-major there, so the
 * library is asked for the transpose of the result: the product of the factors in the other order.
 */
public final class CudaBlas implements AutoCloseable {
    /** To what the addresses of matrices must be aligned, in bytes. The library is told; by default it counts on 256. */
    public static final int ALIGNMENT = 16;

    private static final long WORKSPACE = 32 << 20;

    private final CudaDevice device;
    private final CudaScratch scratch;
    private final Arena arena = Arena.ofShared();
    private final MemorySegment out = arena.allocate(16);
    private final MemorySegment zero = arena.allocateFrom(ValueLayout.JAVA_FLOAT, 0f);
    private final MemorySegment one = arena.allocateFrom(ValueLayout.JAVA_FLOAT, 1f);
    private final MemorySegment handle;
    private final String origin;
    private final Map<Shape, Optional<Plan>> plans = new HashMap<>();
    private final Deque<Runnable> descriptors = new ArrayDeque<>();

    /**
     * A product c[m, n] = a b (+ c).
     *
     * @param transposedA a is stored as [k, m], else as [m, k]
     * @param transposedB b is stored as [n, k], else as [k, n]
     * @param single c is F32, else BF16
     */
    public record Shape(boolean transposedA, boolean transposedB, long m, long n, long k, boolean single) {}

    /** What the library is told of a product, and how it has chosen to compute it. */
    private record Plan(MemorySegment operation, MemorySegment first, MemorySegment second, MemorySegment result, MemorySegment algorithm) {}

    /**
     * Opens the library on a device.
     *
     * @throws PanaceaException if it is not installed, or does not work on this device; the message says which
     */
    public CudaBlas(CudaDevice device, CudaScratch scratch) {
        this.device = device;
        this.scratch = scratch;
        device.makeCurrent();
        try {
            origin = CublasLtLibrary.load();
            check("cublasLtCreate", CublasLt.cublasLtCreate(out));
        } catch (NativeLibraryException e) {
            arena.close();
            throw new PanaceaException(e.getMessage(), e);
        } catch (PanaceaException e) {
            arena.close();
            throw e;
        }
        handle = out.get(ValueLayout.ADDRESS, 0);
    }

    /** The file and version of the library. */
    public String description() {
        return "cuBLASLt " + CublasLt.cublasLtGetVersion() + " from " + origin;
    }

    /**
     * Asks for a product, in the order of the stream; false, with nothing done, if the library knows no way to compute it.
     *
     * @param a address, like the others aligned to {@link #ALIGNMENT} bytes
     * @throws PanaceaException if the library fails
     */
    public boolean multiply(Shape shape, long a, long b, long c, boolean accumulate) {
        device.makeCurrent();
        Optional<Plan> known = plans.computeIfAbsent(shape, this::plan);
        if (known.isEmpty()) {
            return false;
        }
        Plan plan = known.get();
        MemorySegment result = MemorySegment.ofAddress(c);
        check("cublasLtMatmul of " + shape, CublasLt.cublasLtMatmul(handle, plan.operation(), one, MemorySegment.ofAddress(b), plan.first(), MemorySegment.ofAddress(a), plan.second(),
                accumulate ? one : zero, result, plan.result(), result, plan.result(), plan.algorithm(), MemorySegment.ofAddress(scratch.at("cublaslt", WORKSPACE)), WORKSPACE, device.stream()));
        return true;
    }

    /** c^T[n, m] = b^T a^T, where a row-major matrix [rows, cols] is, to the library, a column-major one [cols, rows]. */
    private Optional<Plan> plan(Shape s) {
        check("cublasLtMatmulDescCreate", CublasLt.cublasLtMatmulDescCreate(out, CublasLt.CUBLAS_COMPUTE_32F(), CublasLt.CUDA_R_32F()));
        MemorySegment operation = created(CublasLt::cublasLtMatmulDescDestroy);
        transpose(operation, CublasLt.CUBLASLT_MATMUL_DESC_TRANSA(), s.transposedB());
        transpose(operation, CublasLt.CUBLASLT_MATMUL_DESC_TRANSB(), s.transposedA());
        MemorySegment first = s.transposedB() ? layout(CublasLt.CUDA_R_16BF(), s.k(), s.n()) : layout(CublasLt.CUDA_R_16BF(), s.n(), s.k());
        MemorySegment second = s.transposedA() ? layout(CublasLt.CUDA_R_16BF(), s.m(), s.k()) : layout(CublasLt.CUDA_R_16BF(), s.k(), s.m());
        MemorySegment result = layout(s.single() ? CublasLt.CUDA_R_32F() : CublasLt.CUDA_R_16BF(), s.n(), s.m());
        check("cublasLtMatmulPreferenceCreate", CublasLt.cublasLtMatmulPreferenceCreate(out));
        MemorySegment preference = out.get(ValueLayout.ADDRESS, 0);
        MemorySegment found = arena.allocate(cublasLtMatmulHeuristicResult_t.layout());
        int status;
        try {
            out.set(ValueLayout.JAVA_LONG, 0, WORKSPACE);
            prefer(preference, CublasLt.CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES(), Long.BYTES);
            out.set(ValueLayout.JAVA_INT, 0, ALIGNMENT);
            prefer(preference, CublasLt.CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES(), Integer.BYTES);
            prefer(preference, CublasLt.CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES(), Integer.BYTES);
            prefer(preference, CublasLt.CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES(), Integer.BYTES);
            prefer(preference, CublasLt.CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES(), Integer.BYTES);
            // Where k is split over blocks, partial sums stay F32: by default the library may also add them up in the type of the result, which is BF16.
            out.set(ValueLayout.JAVA_INT, 0, CublasLt.CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE());
            prefer(preference, CublasLt.CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK(), Integer.BYTES);
            out.set(ValueLayout.JAVA_INT, 0, 0);
            status = CublasLt.cublasLtMatmulAlgoGetHeuristic(handle, operation, first, second, result, result, preference, 1, found, out);
        } finally {
            CublasLt.cublasLtMatmulPreferenceDestroy(preference);
        }
        if (status == CublasLt.CUBLAS_STATUS_NOT_SUPPORTED()) {
            return Optional.empty();
        }
        check("choosing how to compute " + s, status);
        // The fields of a result are valid only if its own status says so.
        boolean any = out.get(ValueLayout.JAVA_INT, 0) > 0 && cublasLtMatmulHeuristicResult_t.state(found) == CublasLt.CUBLAS_STATUS_SUCCESS();
        return any ? Optional.of(new Plan(operation, first, second, result, cublasLtMatmulHeuristicResult_t.algo(found))) : Optional.empty();
    }

    /** What has just been created, to be destroyed when the library is closed. */
    private MemorySegment created(Consumer<MemorySegment> destroy) {
        MemorySegment descriptor = out.get(ValueLayout.ADDRESS, 0);
        descriptors.push(() -> destroy.accept(descriptor));
        return descriptor;
    }

    private void prefer(MemorySegment preference, int attribute, int bytes) {
        check("cublasLtMatmulPreferenceSetAttribute", CublasLt.cublasLtMatmulPreferenceSetAttribute(preference, attribute, out, bytes));
    }

    private void transpose(MemorySegment operation, int attribute, boolean transposed) {
        out.set(ValueLayout.JAVA_INT, 0, transposed ? CublasLt.CUBLAS_OP_T() : CublasLt.CUBLAS_OP_N());
        check("cublasLtMatmulDescSetAttribute", CublasLt.cublasLtMatmulDescSetAttribute(operation, attribute, out, Integer.BYTES));
    }

    /** A column-major matrix without gaps. */
    private MemorySegment layout(int type, long rows, long cols) {
        check("cublasLtMatrixLayoutCreate", CublasLt.cublasLtMatrixLayoutCreate(out, type, rows, cols, rows));
        return created(CublasLt::cublasLtMatrixLayoutDestroy);
    }

    private static void check(String what, int status) {
        if (status != CublasLt.CUBLAS_STATUS_SUCCESS()) {
            throw new PanaceaException(what + ": " + CublasLtLibrary.error(status));
        }
    }

    @Override
    public void close() {
        device.prepareToRelease(true);
        descriptors.forEach(Runnable::run);
        CublasLt.cublasLtDestroy(handle);
        arena.close();
    }
}
