package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.panacea.bindings.CublasLtLibrary;
import dev.panacea.bindings.CudaLibrary;
import dev.panacea.bindings.Setting;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * What stands around cuBLASLt: whether it is used, what it is told, and the low-rank term that our kernels add to its products. The library itself needs a GPU;
 * native/tests/cublaslt_stand_in.cpp, which is loaded in a process of its own, takes its place.
 */
class CudaBlasGemmTest {
    @TempDir
    private Path folder;

    private final String setting = System.getProperty(CublasLtLibrary.FILE.property());

    @BeforeEach
    void driver() {
        CudaUnderTest.openOrSkip(() -> CudaKernels.open(0, false)).close();
    }

    @AfterEach
    void restore() {
        if (setting == null) {
            System.clearProperty(CublasLtLibrary.FILE.property());
        } else {
            System.setProperty(CublasLtLibrary.FILE.property(), setting);
        }
    }

    @Test
    void itIsNotUsedWhenItIsSwitchedOff() {
        System.setProperty(CublasLtLibrary.FILE.property(), "off");
        try (CudaKernels kernels = CudaKernels.open(0, false)) {
            assertThat(kernels.matrixLibrary()).isEmpty();
        }
    }

    @Test
    void aFileThatIsNamedAndMissingIsAnError() {
        System.setProperty(CublasLtLibrary.FILE.property(), "/no/such/libcublasLt.so");
        assertThatThrownBy(() -> CudaKernels.open(0, false)).isInstanceOf(PanaceaException.class).hasMessageContaining("/no/such/libcublasLt.so").hasMessageContaining(CublasLtLibrary.FILE.property());
    }

    /**
     * Runs {@link CudaBlasProbe} with the stand-in.
     *
     * @param fault what the stand-in is asked to do wrong, or nothing
     * @param sizes how many sizes to try
     */
    private LoadProbe.Result probe(String fault, int sizes) throws Exception {
        Path library = Path.of("target/native-build", System.mapLibraryName("cublaslt_stand_in")).toAbsolutePath();
        List<String> options = new ArrayList<>(List.of("-D" + CublasLtLibrary.FILE.property() + "=" + library));
        for (Setting passed : new Setting[] {CudaLibrary.FILE, new Setting("panacea.cuda.kernels", "PANACEA_CUDA_KERNELS")}) {
            passed.read().ifPresent(v -> options.add("-D" + passed.property() + "=" + v.text()));
        }
        Map<String, String> environment = Map.of("CUBLASLT_STAND_IN", fault, "CUBLASLT_STAND_IN_DRIVER", CudaLibrary.FILE.read().map(Setting.Value::text).orElse("libcuda.so.1"));
        return LoadProbe.start(CudaBlasProbe.class, folder, LoadProbe.classPath(), environment, options, String.valueOf(sizes)).await();
    }

    @Test
    void largeAlignedProductsAreLeftToIt() throws Exception {
        LoadProbe.Result result = probe("", CudaBlasProbe.SIZES.length);
        assertThat(result.get("violations")).as(result.out() + result.err()).isEqualTo("[]");
        assertThat(result.get("library")).startsWith("cuBLASLt 130000 from ").contains("cublaslt_stand_in");
        assertThat(result.get("products")).as("of it, three of them of the comparison").isEqualTo(String.valueOf(3 + CudaBlasProbe.LARGE_AND_ALIGNED));
    }

    @Test
    void whatItKnowsNoWayForIsLeftToOurKernels() throws Exception {
        LoadProbe.Result result = probe("cubes", 1);
        assertThat(result.get("violations")).as(result.out() + result.err()).isEqualTo("[]");
        assertThat(result.get("products")).as("the comparison").isEqualTo("3");
    }

    @ParameterizedTest
    @CsvSource({"wrong, it differs from our own kernels by", "fails, stand-in: execution failed", "unsupported, it knows no way", "none, it knows no way", "state, it knows no way"})
    void aLibraryThatDoesNotAgreeWithOurKernelsIsLeftAlone(String fault, String reason) throws Exception {
        LoadProbe.Result result = probe(fault, 0);
        assertThat(result.get("library")).isEqualTo("none");
        assertThat(result.err()).contains("cublaslt_stand_in").contains("is not used: ").contains(reason);
    }

    @TestFactory
    Stream<DynamicTest> theLowRankTermIsAddedAlone() {
        List<DynamicTest> tests = new ArrayList<>();
        for (int[] size : new int[][] {{1, 1, 1}, {130, 70, 8}, {33, 257, 3}, {256, 128, 33}}) {
            for (DType type : DType.values()) {
                if (type == DType.F32 || type == DType.BF16) {
                    tests.add(DynamicTest.dynamicTest(type + " " + size[0] + " x " + size[1] + " rank " + size[2], () -> addLowRank(type, size[0], size[1], size[2])));
                }
            }
        }
        return tests.stream();
    }

    /** Against the product of s and the factor, both of BF16 as a framework has them. */
    private static void addLowRank(DType type, int m, int n, int rank) {
        KernelCase c = new KernelCase("addLowRank " + type + m + n + rank).in("s", DType.F32, (long) m * rank).in("factor", DType.F32, (long) n * rank).inOut("c", type, (long) m * n);
        c.call((k, b) -> {
            if (k instanceof CudaKernels cuda) {
                new CudaGemm(cuda.context()).addLowRank(new CudaGemm.LowRank(b.at("s"), b.at("factor"), rank, 1, rank, 1), m, n, b.at("c"));
            } else {
                k.linear(new DenseWeight(b.at("factor"), n, rank), b.at("s"), m, b.at("c"), true);
            }
        }).naive(DType.BF16, (k, b) -> new ReferenceKernels().linear(new DenseWeight(NaiveBf16.bf16(b.at("factor")), n, rank), NaiveBf16.bf16(b.at("s")), m, b.at("c"), true));
        try (CudaKernels kernels = CudaKernels.open(0, false)) {
            assertThat(c.violation(c.runOnDevice(kernels))).isEmpty();
        }
    }
}
