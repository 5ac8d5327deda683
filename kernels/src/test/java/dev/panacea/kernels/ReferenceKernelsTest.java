package dev.panacea.kernels;

import static dev.panacea.kernels.HostBuffers.f32;
import static dev.panacea.kernels.HostBuffers.i32;
import static dev.panacea.kernels.HostBuffers.values;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** The reference kernels against formulas written out anew, and the arguments that they refuse. */
class ReferenceKernelsTest {
    private final ReferenceKernels kernels = new ReferenceKernels();
    private final Random random = new Random(5);

    private double[] random(int count) {
        return values(f32(KernelCase.random(random, count, 1)));
    }

    @Test
    void bf16RoundsToNearestEven() {
        assertThat(Bf16.round(1 + 1f / 256)).isEqualTo(1);
        assertThat(Bf16.round(1 + 3f / 256)).isEqualTo(1 + 4f / 256);
        assertThat(Bf16.round(Math.nextUp(1 + 1f / 256))).isEqualTo(1 + 2f / 256);
        assertThat(Bf16.round(Float.MAX_VALUE)).isEqualTo(Float.POSITIVE_INFINITY);
        assertThat(Bf16.round(Float.intBitsToFloat(0x7F800001))).isNaN();
        assertThat(Bf16.fromFloat(-0f)).isEqualTo((short) 0x8000);
    }

    /** The mean of the squares is 9, so x * inv is a multiple of a third; without the rounding in between, two of the results are others. */
    @Test
    void rmsNormRoundsBeforeTheWeightOnEveryBackend() {
        double[] x = {1, 1, 5, 3};
        double[] weight = values(f32(1.15, 0.7, 1.3, 1.9));
        double[] expected = new double[4];
        double[] unrounded = new double[4];
        for (int i = 0; i < 4; i++) {
            expected[i] = bf16(bf16(x[i] / 3) * weight[i]);
            unrounded[i] = bf16(x[i] / 3 * weight[i]);
        }
        assertThat(expected).isNotEqualTo(unrounded);
        for (BackendUnderTest backend : BackendUnderTest.onHostMemory()) {
            Kernels k = backend.variants().getFirst();
            try (DeviceMemory memory = k.allocate(256)) {
                DeviceBuffer y = memory.view(DType.BF16, 64, 4);
                k.rmsNorm(upload(k, memory.view(DType.BF16, 0, 4), x), upload(k, memory.view(DType.F32, 128, 4), weight), 0, 1, 4, y, memory.view(DType.F32, 192, 1));
                assertThat(values(y)).as(backend.name()).isEqualTo(expected);
            }
        }
    }

    @Test
    void swiGluRoundsSiluOnEveryBackend() {
        double[] gate = {-1.5, -0.25, 0.75, 1.25, 2.5, 4};
        double[] up = {1.1171875, -0.703125, 3.296875, 1.8984375, 0.55078125, 1.3359375};
        double[] expected = new double[6];
        double[] unrounded = new double[6];
        for (int i = 0; i < 6; i++) {
            double silu = gate[i] / (1 + Math.exp(-gate[i]));
            expected[i] = bf16(bf16(silu) * up[i]);
            unrounded[i] = bf16(silu * up[i]);
        }
        assertThat(expected).isNotEqualTo(unrounded);
        for (BackendUnderTest backend : BackendUnderTest.onHostMemory()) {
            Kernels k = backend.variants().getFirst();
            try (DeviceMemory memory = k.allocate(192)) {
                DeviceBuffer y = memory.view(DType.BF16, 128, 6);
                k.swiGlu(upload(k, memory.view(DType.BF16, 0, 6), gate), upload(k, memory.view(DType.BF16, 64, 6), up), 6, y);
                assertThat(values(y)).as(backend.name()).isEqualTo(expected);
            }
        }
    }

    private static double bf16(double value) {
        return Bf16.round((float) value);
    }

    private static DeviceBuffer upload(Kernels k, DeviceBuffer buffer, double[] values) {
        k.upload(MemorySegment.ofArray(KernelCase.content(buffer.type(), values)), buffer);
        return buffer;
    }

    @Test
    void ropeTurnsHalfSplitPairs() {
        DeviceBuffer x = f32(1, 2, 3, 4);
        kernels.rope(x, i32(1), f32(1, 1, Math.cos(0.5), Math.cos(2)), f32(0, 0, Math.sin(0.5), Math.sin(2)), 1, 1, 4, false);
        double[] expected = {Math.cos(0.5) - 3 * Math.sin(0.5), 2 * Math.cos(2) - 4 * Math.sin(2), 3 * Math.cos(0.5) + Math.sin(0.5), 4 * Math.cos(2) + 2 * Math.sin(2)};
        assertThat(values(x)).containsExactly(expected, within(1e-6));
    }

    @Test
    void adamWFollowsItsFormulaForFiveSteps() {
        int n = 6;
        double[] p = random(n);
        double[] m = new double[n];
        double[] v = new double[n];
        DeviceBuffer parameters = f32(p);
        DeviceBuffer means = f32(n);
        DeviceBuffer squares = f32(n);
        for (int t = 1; t <= 5; t++) {
            double[] g = random(n);
            kernels.adamW(parameters, f32(g), means, squares, n, new AdamWStep(0.5f, 0.01f, 0.9f, 0.99f, 1e-8f, 0.1f, t));
            for (int i = 0; i < n; i++) {
                double grad = 0.5 * g[i];
                m[i] = 0.9 * m[i] + 0.1 * grad;
                v[i] = 0.99 * v[i] + 0.01 * grad * grad;
                p[i] = p[i] * (1 - 0.01 * 0.1) - 0.01 * (m[i] / (1 - Math.pow(0.9, t))) / (Math.sqrt(v[i] / (1 - Math.pow(0.99, t))) + 1e-8);
            }
        }
        assertThat(values(parameters)).containsExactly(p, within(1e-6));
        assertThat(values(means)).containsExactly(m, within(1e-6));
        assertThat(values(squares)).containsExactly(v, within(1e-6));
    }

    @Test
    void crossEntropyIsMinusTheLogarithmOfTheProbability() {
        DeviceBuffer losses = f32(2);
        kernels.crossEntropy(f32(0, Math.log(2), Math.log(5), 1000, 0, 1000), i32(1, 0), 2, 3, losses);
        assertThat(values(losses)).containsExactly(new double[] {Math.log(4), Math.log(2)}, within(1e-6));
    }

    @Test
    void sumOfSquaresIsInDoublePrecisionOnEveryBackend() {
        double[] x = random(100_003);
        x[0] = 1e6;
        double expected = Arrays.stream(x).map(a -> a * a).sum();
        for (BackendUnderTest backend : BackendUnderTest.onHostMemory()) {
            double first = sumOfSquares(backend.variants().getFirst(), x);
            assertThat(first).as(backend.name()).isCloseTo(expected, within(1e-12 * expected));
            assertThat(backend.variants()).as(backend.name()).allSatisfy(k -> assertThat(sumOfSquares(k, x)).isEqualTo(first));
        }
    }

    private static double sumOfSquares(Kernels k, double[] x) {
        try (DeviceMemory memory = k.allocate(4L * x.length)) {
            k.upload(f32(x).host(), memory.view(DType.F32));
            return k.sumOfSquares(memory.view(DType.F32), x.length);
        }
    }

    // ---- attention ---------------------------------------------------------------------------------------------------

    private static final AttentionShape SHAPE = new AttentionShape(6, 2, 8, 0.35f);

    /** out and lse of an attention over random q, k, v of 12 query and 20 key rows. */
    private double[][] attention(double[] q, double[] k, double[] v, int... sequences) {
        DeviceBuffer out = f32(q.length);
        DeviceBuffer lse = f32(q.length / SHAPE.headDim());
        kernels.attention(f32(q), f32(k), f32(v), i32(sequences), sequences.length / 4, SHAPE, out, lse);
        return new double[][] {values(out), values(lse)};
    }

    @Test
    void attentionIsSoftmaxOverTheVisibleKeys() {
        int queries = 5;
        int keys = 9;
        double[] q = random(queries * 48);
        double[] k = random(keys * 16);
        double[] v = random(keys * 16);
        double[][] results = attention(q, k, v, 0, queries, 0, keys);
        for (int i = 0; i < queries; i++) {
            for (int head = 0; head < 6; head++) {
                double[] weights = new double[keys - queries + i + 1];
                for (int j = 0; j < weights.length; j++) {
                    double score = 0;
                    for (int d = 0; d < 8; d++) {
                        score += q[i * 48 + head * 8 + d] * k[j * 16 + head / 3 * 8 + d];
                    }
                    weights[j] = Math.exp(0.35f * score);
                }
                double sum = Arrays.stream(weights).sum();
                assertThat(results[1][i * 6 + head]).isCloseTo(Math.log(sum), within(1e-6));
                for (int d = 0; d < 8; d++) {
                    int column = head / 3 * 8 + d;
                    double expected = IntStream.range(0, weights.length).mapToDouble(j -> weights[j] / sum * v[j * 16 + column]).sum();
                    assertThat(results[0][i * 48 + head * 8 + d]).isCloseTo(expected, within(1e-6));
                }
            }
        }
    }

    @Test
    void sequencesDoNotSeeEachOther() {
        double[] q = random(12 * 48);
        double[] k = random(20 * 16);
        double[] v = random(20 * 16);
        int[] sequences = {0, 5, 0, 7, 5, 7, 7, 13};
        double[][] before = attention(q, k, v, sequences);
        Arrays.fill(k, 0, 7 * 16, 3);
        Arrays.fill(v, 0, 7 * 16, -2);
        Arrays.fill(q, 0, 5 * 48, 1);
        double[][] after = attention(q, k, v, sequences);
        assertThat(Arrays.copyOfRange(after[0], 5 * 48, 12 * 48)).isEqualTo(Arrays.copyOfRange(before[0], 5 * 48, 12 * 48));
        assertThat(Arrays.copyOf(after[0], 5 * 48)).isNotEqualTo(Arrays.copyOf(before[0], 5 * 48));
    }

    @Test
    void decodingRowByRowEqualsTheWholeAndTheFutureIsNotSeen() {
        double[] q = random(12 * 48);
        double[] k = random(12 * 16);
        double[] v = random(12 * 16);
        double[] whole = attention(q, k, v, 0, 12, 0, 12)[0];
        for (int i = 0; i < 12; i++) {
            double[] past = k.clone();
            Arrays.fill(past, (i + 1) * 16, past.length, 100);
            double[] row = attention(Arrays.copyOfRange(q, i * 48, (i + 1) * 48), past, v, 0, 1, 0, i + 1)[0];
            assertThat(row).isEqualTo(Arrays.copyOfRange(whole, i * 48, (i + 1) * 48));
        }
    }

    // ---- refused arguments -------------------------------------------------------------------------------------------

    @Test
    void indicesOutOfRangeAreRefusedOnEveryBackendBeforeAnythingIsWritten() {
        for (BackendUnderTest backend : BackendUnderTest.onHostMemory()) {
            for (int bad : new int[] {-1, 3, Integer.MAX_VALUE, Integer.MIN_VALUE}) {
                Kernels k = backend.variants().getLast();
                String name = backend + ", index " + bad;
                try (DeviceMemory memory = k.allocate(4096)) {
                    DeviceBuffer index = memory.view(DType.I32, 0, 2);
                    DeviceBuffer table = memory.view(DType.F32, 64, 6);
                    DeviceBuffer target = memory.view(DType.F32, 1024, 12);
                    DeviceBuffer losses = memory.view(DType.F32, 2048, 2);
                    k.upload(MemorySegment.ofArray(new int[] {1, bad}), index);
                    k.upload(f32(1, 2, 3, 4, 5, 6).host(), table);
                    assertThatThrownBy(() -> k.gatherRows(new DenseWeight(table, 3, 2), index, 2, target)).as(name).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("" + bad);
                    assertThatThrownBy(() -> k.scatterRows(table, index, 2, 2, target.slice(0, 6), true)).as(name).isInstanceOf(IllegalArgumentException.class)
                            .hasMessageContaining("" + bad);
                    assertThatThrownBy(() -> k.rope(target.slice(0, 4), index, table.slice(0, 3), table.slice(3, 3), 2, 1, 2, false)).as(name)
                            .isInstanceOf(IllegalArgumentException.class).hasMessageContaining("" + bad);
                    assertThatThrownBy(() -> k.crossEntropyWithGrad(table, index, 2, 3, 1, losses, target)).as(name).isInstanceOf(IllegalArgumentException.class)
                            .hasMessageContaining("" + bad);
                    assertThat(values(target)).as(name).containsOnly(0);
                    assertThat(values(losses)).as(name).containsOnly(0);
                }
            }
        }
    }

    @Test
    void shortOrMistypedBuffersAreNamed() {
        DenseWeight w = new DenseWeight(f32(6), 2, 3);
        assertThatThrownBy(() -> kernels.linear(w, f32(5), 2, f32(4), false)).isInstanceOf(IllegalArgumentException.class).hasMessage("x has 5 elements, 6 are needed");
        assertThatThrownBy(() -> kernels.linear(w, f32(6), 2, i32(0, 0, 0, 0), false)).isInstanceOf(IllegalArgumentException.class).hasMessage("y is I32, F32 or BF16 is needed");
        assertThatThrownBy(() -> kernels.linear(w, f32(6), -1, f32(4), false)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("-1");
        assertThatThrownBy(() -> kernels.loraLinear(w, new Lora(f32(5), f32(4), 2, 1), f32(6), 2, f32(4), f32(4), false)).isInstanceOf(IllegalArgumentException.class)
                .hasMessage("lora A has 5 elements, 6 are needed");
        assertThatThrownBy(() -> kernels.quantize4(QuantType.NF4, f32(64), 64, 48, DeviceBuffer.ofHost(DType.U8, KernelCase.heap(32)), f32(2)))
                .isInstanceOf(IllegalArgumentException.class).hasMessageContaining("48");
        assertThatThrownBy(() -> attention(random(48), random(16), random(16), 0, 1, 0, 2)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("[0, 1, 0, 2]");
        assertThatThrownBy(() -> attention(random(96), random(16), random(16), 0, 2, 0, 1)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("as many keys");
        assertThatThrownBy(() -> attention(random(96), random(32), random(32), 0, 2, 0, 2, 1, 1, 0, 1)).isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("query row 1 belongs to two sequences");
    }

    @Test
    void memoryEndsWithItsBlock() {
        DeviceMemory memory = kernels.allocate(10);
        DeviceBuffer view = memory.view(DType.F32, 4, 1);
        assertThatThrownBy(() -> memory.view(DType.F32, 8, 1)).isInstanceOf(IndexOutOfBoundsException.class);
        assertThatThrownBy(() -> memory.view(DType.F32, 2, 1)).isInstanceOf(IllegalArgumentException.class);
        memory.close();
        memory.close();
        assertThatThrownBy(() -> kernels.sumOfSquares(view, 1)).isInstanceOf(IllegalStateException.class);
        assertThatThrownBy(() -> kernels.allocate(-1)).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> kernels.allocate(1L << 60)).isInstanceOf(PanaceaException.class).hasMessageContaining("" + (1L << 60));
    }
}
