package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;

import dev.panacea.kernels.cuda.CudaDevice;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Predicate;
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

    private static KernelCase linear(WeightFormat format, DType type, int m, int n, int k) {
        KernelCase c = format.add(new KernelCase("linear %s %s m=%d n=%d k=%d".formatted(format, type, m, n, k)), n, k, 64);
        return c.in("x", type, m * k).result("y", type, m * n, true).call((on, b) -> on.linear(format.of(b, n, k, 64, 0), b.at("x"), m, b.at("y"), true))
                .naive(type, (on, b) -> NaiveBf16.linear(format.of(b, n, k, 64, 0), b.at("x"), m, b.at("y"), true));
    }

    private static List<KernelCase> cases() {
        List<KernelCase> cases = new ArrayList<>();
        for (int m : new int[] {17, 33, 64}) {
            cases.add(linear(WeightFormat.NF4_NESTED, DType.BF16, m, 70, 1152));
        }
        for (int m : new int[] {1, 2, 4, 8}) {
            cases.add(linear(WeightFormat.NF4, DType.F32, m, 33, 8192));
            cases.add(linear(WeightFormat.BF16, DType.BF16, m, 33, 14336));
        }
        // More rows than its blocks' sums have room for beside eight rows of x.
        cases.add(linear(WeightFormat.Q6_K, DType.BF16, 8, 16400, 256));
        Predicate<String> named = name -> name.startsWith("loraLinear NF4") && name.contains("m=33 ") || name.contains("heads of 160") || name.contains("heads of 256");
        Stream.concat(LinearCases.all().stream(), LayerCases.all().stream()).filter(c -> named.test(c.toString())).forEach(cases::add);
        return cases;
    }

    @TestFactory
    Stream<DynamicTest> operations() {
        return cases().stream().map(c -> DynamicTest.dynamicTest(c.toString(), () -> assertThat(c.violation(c.runOnDevice(kernels))).as(c.toString()).isEmpty()));
    }
}
