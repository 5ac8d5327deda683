package dev.panacea.bindings;

import static org.assertj.core.api.Assertions.assertThat;

import dev.panacea.bindings.cuda.CublasLt;
import dev.panacea.bindings.cuda.Cuda;
import dev.panacea.bindings.cuda.cublasLtMatmulAlgo_t;
import dev.panacea.bindings.cuda.cublasLtMatmulHeuristicResult_t;
import java.io.IOException;
import java.lang.invoke.MethodType;
import java.lang.reflect.Method;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;

/** Fails when what is bound of CUDA is not what NVIDIA's headers declare, or not what the driver's library has. */
class CudaBindingsTest {
    private static CudaHeaders headers() throws IOException {
        Optional<CudaHeaders> found = CudaHeaders.find();
        if (found.isEmpty()) {
            skip("there is no cuda.h: set CUDA_INCLUDE, or put nvcc on the PATH");
        }
        return found.orElseThrow();
    }

    private static void skip(String reason) {
        System.out.println("CUDA bindings not compared: " + reason);
        Assumptions.abort(reason);
    }

    private static List<Method> bound(String prefix) {
        return Stream.of(Cuda.class, CublasLt.class).flatMap(c -> Arrays.stream(c.getDeclaredMethods())).filter(m -> m.getName().matches(prefix) && !m.getName().contains("$")).toList();
    }

    @Test
    void headersAreUnderstood() throws IOException {
        CudaHeaders headers = headers();
        assertThat(headers.functions().size()).isGreaterThan(300);
        assertThat(headers.functions().get("cuMemFree_v2")).isEqualTo(MethodType.methodType(int.class, long.class));
        assertThat(headers.functions().get("cuMemFree")).isNull();
        assertThat(headers.constants().get("CUDA_ERROR_OUT_OF_MEMORY")).isEqualTo(2);
        assertThat(headers.constants().get("CUBLAS_COMPUTE_32F")).isEqualTo(68);
    }

    @Test
    void functionsAreThoseOfTheHeaders() throws IOException {
        CudaHeaders headers = headers();
        List<Method> functions = bound("cu[A-Zb].*");
        assertThat(functions).hasSizeGreaterThan(40);
        for (Method m : functions) {
            assertThat(MethodType.methodType(m.getReturnType(), m.getParameterTypes())).as(m.getName() + " as in " + headers.folder() + "; run bindings/generate-cuda.sh")
                    .isEqualTo(headers.functions().get(m.getName()));
        }
    }

    @Test
    void constantsAreThoseOfTheHeaders() throws ReflectiveOperationException, IOException {
        CudaHeaders headers = headers();
        Map<String, Long> constants = new TreeMap<>();
        for (Method m : bound("CU.*")) {
            constants.put(m.getName(), ((Number) m.invoke(null)).longValue());
        }
        assertThat(constants).hasSizeGreaterThan(20);
        constants.forEach((name, value) -> assertThat(value).as(name + " as in " + headers.folder() + "; run bindings/generate-cuda.sh").isEqualTo(headers.constants().get(name)));
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
