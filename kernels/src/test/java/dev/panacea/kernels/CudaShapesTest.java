package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;

import dev.panacea.kernels.LayerCases.Heads;
import dev.panacea.kernels.LayerCases.Sequences;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/**
 * Operations on a GPU in the sizes of real models, one dimension at a time, the others small: what the cases of every backend, which are of hundreds,
 * do not reach of grids, parts of sums and splits of keys.
 */
class CudaShapesTest {
    private static final int VOCAB = 128_256;
    private static final DType[] TYPES = {DType.F32, DType.BF16};

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

    static KernelCase linear(WeightFormat format, DType in, DType out, int m, int n, int k) {
        KernelCase c = format.add(new KernelCase("linear %s %s->%s m=%d n=%d k=%d".formatted(format, in, out, m, n, k)), n, k, 64);
        return c.in("x", in, (long) m * k).result("y", out, (long) m * n, m % 2 == 0).call((on, b) -> on.linear(format.of(b, n, k, 64, 0), b.at("x"), m, b.at("y"), m % 2 == 0))
                .naive(in, (on, b) -> NaiveBf16.linear(format.of(b, n, k, 64, 0), b.at("x"), m, b.at("y"), m % 2 == 0));
    }

    private static KernelCase inputGrad(WeightFormat format, DType type, int m, int n, int k) {
        KernelCase c = format.add(new KernelCase("linearInputGrad %s %s m=%d n=%d k=%d".formatted(format, type, m, n, k)), n, k, 64);
        return c.in("dy", type, KernelCase.random(c.random(), (long) m * n, Math.sqrt((double) k / n))).out("dx", type, (long) m * k)
                .call((on, b) -> on.linearInputGrad(format.of(b, n, k, 64, 0), b.at("dy"), m, b.at("dx"), false))
                .naive(type, (on, b) -> NaiveBf16.linearInputGrad(format.of(b, n, k, 64, 0), b.at("dy"), m, b.at("dx"), false));
    }

    static KernelCase lora(DType type, int m, int n, int k, int rank) {
        KernelCase c = WeightFormat.NF4.add(new KernelCase("loraLinear %s m=%d n=%d k=%d rank=%d".formatted(type, m, n, k, rank)), n, k, 64);
        factors(c, n, k, rank);
        return c.in("x", type, (long) m * k).out("s", DType.F32, (long) m * rank).out("y", type, (long) m * n)
                .call((on, b) -> on.loraLinear(weight(b, n, k), factors(b, rank), b.at("x"), m, b.at("s"), b.at("y"), false))
                .naive(type, (on, b) -> NaiveBf16.loraLinear(weight(b, n, k), factors(b, rank), b.at("x"), m, b.at("s"), b.at("y"), false));
    }

    private static KernelCase loraBackward(DType type, int m, int n, int k, int rank) {
        KernelCase c = WeightFormat.NF4.add(new KernelCase("loraLinearBackward %s m=%d n=%d k=%d rank=%d".formatted(type, m, n, k, rank)), n, k, 64);
        factors(c, n, k, rank);
        return c.in("x", type, (long) m * k).in("s", DType.F32, (long) m * rank).in("dy", type, (long) m * n).inOut("da", DType.F32, (long) rank * k).inOut("db", DType.F32, (long) n * rank)
                .out("dx", type, (long) m * k)
                .call((on, b) -> on.loraLinearBackward(weight(b, n, k), factors(b, rank), b.at("x"), b.at("s"), b.at("dy"), m, b.at("da"), b.at("db"), b.at("dx"), false))
                .naive(type, (on, b) -> NaiveBf16.loraLinearBackward(weight(b, n, k), factors(b, rank), b.at("x"), b.at("s"), b.at("dy"), m, b.at("da"), b.at("db"), b.at("dx"), false));
    }

    private static void factors(KernelCase c, int n, int k, int rank) {
        c.in("a", DType.F32, KernelCase.random(c.random(), (long) rank * k, 1 / Math.sqrt(k))).in("b", DType.F32, KernelCase.random(c.random(), (long) n * rank, 1 / Math.sqrt(n + rank)));
    }

    private static Lora factors(KernelCase.Buffers b, int rank) {
        return new Lora(b.at("a"), b.at("b"), rank, 1.5f);
    }

    private static Weight weight(KernelCase.Buffers b, int n, int k) {
        return WeightFormat.NF4.of(b, n, k, 64, 0);
    }

    private static KernelCase weightGrad(DType type, int m, int n, int k) {
        return new KernelCase("linearWeightGrad %s m=%d n=%d k=%d".formatted(type, m, n, k)).in("dy", type, (long) m * n).in("x", type, (long) m * k).inOut("dw", DType.F32, (long) n * k)
                .call((on, b) -> on.linearWeightGrad(b.at("dy"), b.at("x"), m, n, k, b.at("dw")));
    }

    private static List<KernelCase> cases() {
        List<KernelCase> cases = new ArrayList<>();
        // The widest rows of a weight: long sums, in parts.
        for (int m : new int[] {1, 4, 12, 40, 72}) {
            cases.add(linear(WeightFormat.NF4_NESTED, DType.BF16, DType.BF16, m, 72, 14336));
        }
        for (DType type : TYPES) {
            cases.add(linear(WeightFormat.NF4, type, DType.F32, 1, 40, 8192));
            cases.add(linear(WeightFormat.Q6_K, type, type, 3, 40, 14336));
            cases.add(inputGrad(WeightFormat.NF4, type, 9, 14336, 72));
            cases.add(lora(type, 20, 72, 2048, 64));
            cases.add(loraBackward(type, 1100, 72, 64, 64));
            cases.add(weightGrad(type, 2100, 40, 48));
        }
        cases.add(inputGrad(WeightFormat.NF4, DType.BF16, 72, 14336, 72));
        cases.add(lora(DType.BF16, 72, 88, 8192, 16));
        cases.add(loraBackward(DType.BF16, 72, 88, 8192, 16));
        // All tokens of a large vocabulary: the grid, the sum over them, a row of logits.
        for (int m : new int[] {1, 9}) {
            cases.add(linear(WeightFormat.BF16, DType.BF16, DType.F32, m, VOCAB, 16));
        }
        cases.add(linear(WeightFormat.NF4, DType.BF16, DType.F32, 9, 32064, 64));
        cases.add(inputGrad(WeightFormat.BF16, DType.BF16, 9, VOCAB, 16));
        LossCases.crossEntropy(cases, 2, VOCAB);
        for (DType type : TYPES) {
            // Rows that several warps share, and blocks of several such; the longest that fit registers, and the first that do not.
            LayerCases.rmsNorm(cases, type, 520, 4096);
            LayerCases.rmsNorm(cases, type, 3, 8192);
            LayerCases.rmsNorm(cases, type, 2, 16384);
            LayerCases.rmsNorm(cases, type, 2, 16392);
        }
        LayerCases.attention(cases, DType.BF16, new Heads(32, 8, 128), new Sequences("two texts", 0, 70, 0, 70, 70, 9, 70, 9));
        LayerCases.attention(cases, DType.BF16, new Heads(24, 8, 128), new Sequences("a text", 0, 66, 0, 66));
        LayerCases.attention(cases, DType.BF16, new Heads(2, 1, 64), new Sequences("a text of 600", 0, 600, 0, 600));
        LayerCases.forward(cases, DType.BF16, new Heads(32, 8, 128), new Sequences("a long cache", 0, 1, 0, 4099));
        LayerCases.forward(cases, DType.BF16, new Heads(1, 1, 64), new Sequences("a long cached prompt", 0, 70, 0, 8192));
        String wanted = System.getProperty("panacea.cases", "");
        cases.removeIf(c -> !c.toString().contains(wanted));
        return cases;
    }

    @TestFactory
    Stream<DynamicTest> operations() {
        return cases().stream().map(c -> DynamicTest.dynamicTest(c.toString(), () -> assertThat(c.violation(c.runOnDevice(kernels))).as(c.toString()).isEmpty()));
    }
}
