package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/**
 * Sizes at which the GPU's kernels go other ways than at those of {@link KernelsTest}: rows shared by several warps, several rows for one block, rows too
 * long for registers, many rows to scatter, and buffers that start between two 16-byte boundaries.
 */
class CudaLayersTest {
    private static CudaKernels kernels;

    @BeforeAll
    static void open() {
        kernels = CudaUnderTest.openOrSkip(() -> CudaKernels.open(0, false));
    }

    @AfterAll
    static void close() {
        if (kernels != null) {
            kernels.close();
        }
    }

    @TestFactory
    Stream<DynamicTest> operations() {
        List<KernelCase> cases = new ArrayList<>();
        for (DType type : List.of(DType.F32, DType.BF16)) {
            for (int[] size : new int[][] {{600, 64}, {70, 2048}, {1, 8192}, {3, 4096}, {2, 40000}, {1, 2050}}) {
                rmsNorm(cases, type, size[0], size[1], 0);
            }
            rmsNorm(cases, type, 3, 64, 1);
            for (int headDim : new int[] {64, 80, 256, 512}) {
                rope(cases, type, 5, 3, headDim, headDim == 80 ? 1 : 0);
            }
            scatterRows(cases, type, type, 1100, 4, 0);
            swiGlu(cases, type, 1000, 1);
            for (DType to : List.of(DType.F32, DType.BF16)) {
                scatterRows(cases, type, to, 33, 100, 0);
                scatterRows(cases, type, to, 9, 2052, 1);
            }
        }
        crossEntropy(cases, DType.F32, 64, 1);
        crossEntropy(cases, DType.BF16, 67, 2);
        // Rows that shared memory does not hold.
        crossEntropy(cases, DType.F32, 60_001, 1);
        crossEntropy(cases, DType.BF16, 60_004, 0);
        return cases.stream().map(c -> DynamicTest.dynamicTest(c.toString(), () -> {
            Map<String, byte[]> results = c.runOnDevice(kernels);
            assertThat(c.violation(results)).as(c.toString()).isEmpty();
            c.runOnDevice(kernels).forEach((name, bytes) -> assertThat(bytes).as(c + ": " + name + " on another call").isEqualTo(results.get(name)));
        }));
    }

    /** An operand without the {@code skipped} elements that keep it off the boundary. */
    private static DeviceBuffer from(KernelCase.Buffers b, String name, int skipped) {
        DeviceBuffer all = b.at(name);
        return all.slice(skipped, all.length() - skipped);
    }

    private static void rmsNorm(List<KernelCase> cases, DType type, int m, int n, int skipped) {
        String size = " %s m=%d n=%d%s".formatted(type, m, n, skipped == 0 ? "" : " between boundaries");
        int elements = m * n + skipped;
        cases.add(new KernelCase("rmsNorm" + size).in("x", type, elements).in("weight", DType.F32, n + skipped).inOut("y", type, elements).inOut("inv", DType.F32, m)
                .call((k, b) -> k.rmsNorm(from(b, "x", skipped), from(b, "weight", skipped), 1e-5f, m, n, from(b, "y", skipped), b.at("inv"))));
        for (boolean accumulate : new boolean[] {false, true}) {
            KernelCase c = new KernelCase("rmsNormBackward" + size + (accumulate ? " accumulate" : ""));
            cases.add(c.in("x", type, elements).in("weight", DType.F32, n + skipped).in("inv", DType.F32, c.random().doubles(m, 0.5, 1.5).toArray()).in("dy", type, elements)
                    .inOut("dx", type, elements).call((k, b) -> k.rmsNormBackward(from(b, "x", skipped), from(b, "weight", skipped), b.at("inv"), from(b, "dy", skipped), m, n,
                            from(b, "dx", skipped), accumulate)));
        }
        KernelCase c = new KernelCase("rmsNormWeightGrad" + size);
        cases.add(c.in("x", type, elements).in("inv", DType.F32, c.random().doubles(m, 0.5, 1.5).toArray()).in("dy", type, elements).inOut("dweight", DType.F32, n)
                .call((k, b) -> k.rmsNormWeightGrad(from(b, "x", skipped), b.at("inv"), from(b, "dy", skipped), m, n, b.at("dweight"))));
    }

    private static void rope(List<KernelCase> cases, DType type, int m, int heads, int headDim, int skipped) {
        KernelCase c = new KernelCase("rope %s headDim=%d%s".formatted(type, headDim, skipped == 0 ? "" : " between boundaries"));
        cases.add(c.inOut("x", type, m * heads * headDim + skipped).ints("positions", c.random().ints(m, 0, 9).toArray()).in("cos", DType.F32, 9 * headDim / 2).in("sin", DType.F32, 9 * headDim / 2)
                .call((k, b) -> k.rope(from(b, "x", skipped), b.at("positions"), b.at("cos"), b.at("sin"), m, heads, headDim, false)));
    }

    private static void swiGlu(List<KernelCase> cases, DType type, int n, int skipped) {
        cases.add(new KernelCase("swiGlu %s between boundaries".formatted(type)).in("gate", type, n + skipped).in("up", type, n).inOut("y", type, n)
                .call((k, b) -> k.swiGlu(from(b, "gate", skipped), b.at("up"), n, b.at("y"))));
        cases.add(new KernelCase("swiGluBackward %s between boundaries".formatted(type)).in("gate", type, n + skipped).in("up", type, n).in("dy", type, n).inOut("dgate", type, n).inOut("dup", type, n)
                .call((k, b) -> k.swiGluBackward(from(b, "gate", skipped), b.at("up"), b.at("dy"), n, b.at("dgate"), b.at("dup"))));
    }

    /** Without accumulate, the last of several rows with one index stays. */
    private static void scatterRows(List<KernelCase> cases, DType x, DType y, int m, int cols, int skipped) {
        for (boolean accumulate : new boolean[] {false, true}) {
            KernelCase c = new KernelCase("scatterRows %s->%s m=%d cols=%d%s%s".formatted(x, y, m, cols, skipped == 0 ? "" : " between boundaries", accumulate ? " accumulate" : ""));
            int[] index = IntStream.range(0, m).map(i -> i % 5 == 0 ? 3 : c.random().nextInt(m)).toArray();
            cases.add(c.ints("index", index).in("x", x, m * cols + skipped).inOut("y", y, m * cols)
                    .call((k, b) -> k.scatterRows(from(b, "x", skipped), b.at("index"), m, cols, b.at("y"), accumulate))
                    .naive(y, (k, b) -> NaiveBf16.scatterRows(from(b, "x", skipped), index, cols, b.at("y"), accumulate)));
        }
    }

    private static void crossEntropy(List<KernelCase> cases, DType type, int vocab, int skipped) {
        KernelCase c = new KernelCase("crossEntropyWithGrad %s vocab=%d between boundaries".formatted(type, vocab));
        cases.add(c.in("logits", DType.F32, 5L * vocab + skipped).ints("targets", 0, 1, 2, 3, vocab - 1).inOut("losses", DType.F32, 5).inOut("gradient", type, 5L * vocab)
                .call((k, b) -> k.crossEntropyWithGrad(from(b, "logits", skipped), b.at("targets"), 5, vocab, 0.5f, b.at("losses"), b.at("gradient"))));
    }
}
