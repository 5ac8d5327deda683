package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;

import dev.panacea.kernels.cuda.CudaDevice;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/**
 * Kernels that take much shared memory, on a GPU whose blocks get 99 KB of it, as on those of compute capability 8.6, 8.9 and 12.0: every one finds a plan
 * that fits, with results within {@link Tolerance}.
 */
class CudaSmallSharedTest {
    private static final int SHARED = 99 << 10;

    private static CudaKernels kernels;

    @BeforeAll
    static void open() {
        System.setProperty(CudaDevice.SHARED.property(), String.valueOf(SHARED));
        try {
            kernels = CudaUnderTest.openOrSkip(() -> CudaKernels.open(0, false));
        } finally {
            System.clearProperty(CudaDevice.SHARED.property());
        }
    }

    @AfterAll
    static void close() {
        if (kernels != null) {
            kernels.close();
        }
    }

    private static List<KernelCase> cases() {
        List<KernelCase> cases = new ArrayList<>();
        for (int m : new int[] {17, 33, 64}) {
            cases.add(CudaShapesTest.linear(WeightFormat.NF4_NESTED, DType.BF16, DType.BF16, m, 70, 1152));
        }
        for (int m : new int[] {1, 2, 4, 8}) {
            cases.add(CudaShapesTest.linear(WeightFormat.NF4, DType.F32, DType.F32, m, 33, 8192));
            cases.add(CudaShapesTest.linear(WeightFormat.BF16, DType.BF16, DType.BF16, m, 33, 14336));
        }
        // More rows than its blocks' sums have room for beside eight rows of x.
        cases.add(CudaShapesTest.linear(WeightFormat.Q6_K, DType.BF16, DType.BF16, 8, 16400, 256));
        cases.add(CudaShapesTest.lora(DType.BF16, 40, 72, 1152, 16));
        for (DType type : new DType[] {DType.F32, DType.BF16}) {
            LayerCases.attention(cases, type, new LayerCases.Heads(7, 1, 256), new LayerCases.Sequences("one and a cached prompt", 0, 9, 0, 9, 9, 4, 9, 50));
        }
        return cases;
    }

    @TestFactory
    Stream<DynamicTest> operations() {
        return cases().stream().map(c -> DynamicTest.dynamicTest(c.toString(), () -> assertThat(c.violation(c.runOnDevice(kernels))).as(c.toString()).isEmpty()));
    }
}
