package dev.panacea.bindings;

import static org.assertj.core.api.Assertions.assertThat;

import dev.panacea.bindings.cuda.CublasLt;
import dev.panacea.bindings.cuda.Cuda;
import dev.panacea.bindings.cuda.cublasLtMatmulAlgo_t;
import dev.panacea.bindings.cuda.cublasLtMatmulHeuristicResult_t;
import java.io.IOException;
import java.lang.invoke.MethodType;
import java.lang.reflect.Method;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;

/** Fails when what is bound of CUDA is not what NVIDIA's headers declare, or not what the driver's library has. */
class CudaBindingsTest {
    /** Skips, saying why, where these headers are not installed. */
    private static CudaHeaders headers(List<String> files) throws IOException {
        Optional<CudaHeaders> found = CudaHeaders.find(files);
        if (found.isEmpty()) {
            skip("there is no " + String.join(", ", files) + ": set CUDA_INCLUDE, or put nvcc on the PATH");
        }
        return found.orElseThrow();
    }

    private static void skip(String reason) {
        System.out.println("CUDA bindings not compared: " + reason);
        Assumptions.abort(reason);
    }

    @Test
    void headersAreUnderstood() throws IOException {
        CudaHeaders headers = headers(CudaHeaders.DRIVER);
        assertThat(headers.functions().size()).isGreaterThan(300);
        assertThat(headers.functions().get("cuMemFree_v2")).isEqualTo(MethodType.methodType(int.class, long.class));
        assertThat(headers.functions().get("cuMemFree")).isNull();
        assertThat(headers.constants().get("CUDA_ERROR_OUT_OF_MEMORY")).isEqualTo(2);
    }

    @Test
    void cublasLtHeadersAreUnderstood() throws IOException {
        CudaHeaders headers = headers(CudaHeaders.CUBLASLT);
        assertThat(headers.functions().size()).isGreaterThan(30);
        assertThat(headers.constants().get("CUBLAS_COMPUTE_32F")).isEqualTo(68);
    }

    @Test
    void theDriversBindingsAreThoseOfItsHeader() throws ReflectiveOperationException, IOException {
        compare(Cuda.class, headers(CudaHeaders.DRIVER), 40, 18);
    }

    @Test
    void cublasLtsBindingsAreThoseOfItsHeaders() throws ReflectiveOperationException, IOException {
        compare(CublasLt.class, headers(CudaHeaders.CUBLASLT), 14, 9);
    }

    /** Every bound function has the header's signature, under the name that the library exports, and every constant its value. */
    private static void compare(Class<?> bound, CudaHeaders headers, int atLeastFunctions, int atLeastConstants) throws ReflectiveOperationException {
        int functions = 0;
        int constants = 0;
        for (Method m : bound.getDeclaredMethods()) {
            String what = m.getName() + " as in " + headers.folder() + "; run bindings/generate-cuda.sh";
            if (m.getName().matches("cu[A-Zb]\\w*")) {
                assertThat(MethodType.methodType(m.getReturnType(), m.getParameterTypes())).as(what).isEqualTo(headers.functions().get(m.getName()));
                functions++;
            } else if (m.getName().matches("CU[A-Z_]\\w*")) {
                assertThat(((Number) m.invoke(null)).longValue()).as(what).isEqualTo(headers.constants().get(m.getName()));
                constants++;
            }
        }
        assertThat(functions).isGreaterThanOrEqualTo(atLeastFunctions);
        assertThat(constants).isGreaterThanOrEqualTo(atLeastConstants);
    }

    /** By cublasLt.h: {@code uint64_t data[8]}; and that, {@code size_t workspaceSize}, {@code cublasStatus_t state}, {@code float wavesCount}, {@code int reserved[4]}. */
    @Test
    void structsHaveTheSizesThatACompilerGivesThem() {
        assertThat(cublasLtMatmulAlgo_t.layout().byteSize()).isEqualTo(64);
        assertThat(cublasLtMatmulHeuristicResult_t.layout().byteSize()).isEqualTo(64 + 8 + 4 + 4 + 16);
    }

    @Test
    void theDriversLibraryHasAllOfThem() {
        try {
            System.out.println("CUDA driver library: " + CudaLibrary.load());
        } catch (NativeLibraryException e) {
            if (!e.isUnsupported()) {
                throw e;
            }
            skip(e.getMessage());
        }
        for (Method m : Cuda.class.getDeclaredMethods()) {
            if (m.getName().matches("cu[A-Z]\\w*")) {
                assertThat(CudaLibrary.symbol(m.getName()).address()).as(m.getName()).isNotZero();
            }
        }
    }
}
