package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.panacea.bindings.CublasLtLibrary;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/** What stands around cuBLASLt: whether it is used, and the low-rank term that our kernels add to its products. The library itself needs a GPU. */
class CudaBlasGemmTest {
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
