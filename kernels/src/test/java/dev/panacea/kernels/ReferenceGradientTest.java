package dev.panacea.kernels;

import static dev.panacea.kernels.HostBuffers.f32;
import static dev.panacea.kernels.HostBuffers.i32;
import static dev.panacea.kernels.HostBuffers.values;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import java.util.Arrays;
import java.util.Random;
import java.util.function.ToDoubleFunction;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Every gradient of the reference kernels against finite differences of their forward pass: for the loss sum(g * y) with random g, element
 * by element, by the five-point formula (error of the order h^4).
 */
class ReferenceGradientTest {
    private static final double H = 1.0 / 64;

    private final Random random = new Random(11);
    private final ReferenceKernels kernels = new ReferenceKernels();

    /** Multiples of 2^-10, to which multiples of H can be added exactly in single precision. */
    private double[] random(int count) {
        return random.doubles(count).map(ignored -> Math.round(random.nextGaussian() * 1024) / 1024.0).toArray();
    }

    private static double dot(double[] a, double[] b) {
        return IntStream.range(0, a.length).mapToDouble(i -> a[i] * b[i]).sum();
    }

    private static void assertGradient(String name, double[] gradient, double[] x, ToDoubleFunction<double[]> loss) {
        double[] expected = new double[x.length];
        for (int i = 0; i < x.length; i++) {
            double[] at = x.clone();
            double[] losses = new double[5];
            for (int step = -2; step <= 2; step++) {
                at[i] = x[i] + step * H;
                losses[step + 2] = loss.applyAsDouble(at);
            }
            expected[i] = (losses[0] - 8 * losses[1] + 8 * losses[3] - losses[4]) / (12 * H);
        }
        double largest = Arrays.stream(expected).map(Math::abs).max().orElse(0);
        for (int i = 0; i < x.length; i++) {
            assertThat(gradient[i]).as("%s[%d]", name, i).isCloseTo(expected[i], within(2e-4 * (1 + largest)));
        }
    }

    @Test
    void linearLayers() {
        int m = 3;
        int n = 5;
        int k = 7;
        double[] x = random(m * k);
        double[] w = random(n * k);
        double[] g = random(m * n);
        DeviceBuffer dx = f32(m * k);
        DeviceBuffer dw = f32(n * k);
        kernels.linearInputGrad(new DenseWeight(f32(w), n, k), f32(g), m, dx, false);
        kernels.linearWeightGrad(f32(g), f32(x), m, n, k, dw);
        assertGradient("dx", values(dx), x, at -> dot(g, linear(w, at, m, n, k)));
        assertGradient("dw", values(dw), w, at -> dot(g, linear(at, x, m, n, k)));
    }

    private double[] linear(double[] w, double[] x, int m, int n, int k) {
        DeviceBuffer y = f32(m * n);
        kernels.linear(new DenseWeight(f32(w), n, k), f32(x), m, y, false);
        return values(y);
    }

    @Test
    void lora() {
        int m = 4;
        int n = 5;
        int k = 6;
        int r = 3;
        double[] x = random(m * k);
        double[] w = random(n * k);
        double[] a = random(r * k);
        double[] b = random(n * r);
        double[] g = random(m * n);
        DeviceBuffer s = f32(m * r);
        DeviceBuffer da = f32(r * k);
        DeviceBuffer db = f32(n * r);
        DeviceBuffer dx = f32(m * k);
        loraLinear(w, a, b, x, m, n, k, r, s);
        kernels.loraLinearBackward(new DenseWeight(f32(w), n, k), new Lora(f32(a), f32(b), r, 0.5f), f32(x), s, f32(g), m, da, db, dx, false);
        assertGradient("da", values(da), a, at -> dot(g, loraLinear(w, at, b, x, m, n, k, r, f32(m * r))));
        assertGradient("db", values(db), b, at -> dot(g, loraLinear(w, a, at, x, m, n, k, r, f32(m * r))));
        assertGradient("dx", values(dx), x, at -> dot(g, loraLinear(w, a, b, at, m, n, k, r, f32(m * r))));
    }

    private double[] loraLinear(double[] w, double[] a, double[] b, double[] x, int m, int n, int k, int r, DeviceBuffer s) {
        DeviceBuffer y = f32(m * n);
        kernels.loraLinear(new DenseWeight(f32(w), n, k), new Lora(f32(a), f32(b), r, 0.5f), f32(x), m, s, y, false);
        return values(y);
    }

    @Test
    void rmsNorm() {
        int m = 3;
        int n = 9;
        double[] x = random(m * n);
        double[] weight = random(n);
        double[] g = random(m * n);
        DeviceBuffer inv = f32(m);
        DeviceBuffer dx = f32(m * n);
        DeviceBuffer dweight = f32(n);
        rmsNorm(x, weight, m, n, inv);
        kernels.rmsNormBackward(f32(x), f32(weight), inv, f32(g), m, n, dx, false);
        kernels.rmsNormWeightGrad(f32(x), inv, f32(g), m, n, dweight);
        assertGradient("dx", values(dx), x, at -> dot(g, rmsNorm(at, weight, m, n, f32(m))));
        assertGradient("dweight", values(dweight), weight, at -> dot(g, rmsNorm(x, at, m, n, f32(m))));
    }

    private double[] rmsNorm(double[] x, double[] weight, int m, int n, DeviceBuffer inv) {
        DeviceBuffer y = f32(m * n);
        kernels.rmsNorm(f32(x), f32(weight), 1e-5f, m, n, y, inv);
        return values(y);
    }

    @Test
    void rope() {
        int m = 3;
        int heads = 2;
        int headDim = 6;
        double[] x = random(m * heads * headDim);
        double[] g = random(m * heads * headDim);
        assertGradient("dx", rope(g, m, heads, headDim, true), x, at -> dot(g, rope(at, m, heads, headDim, false)));
    }

    private double[] rope(double[] x, int m, int heads, int headDim, boolean inverse) {
        double[] angles = new Random(3).doubles(9 * headDim / 2, 0, 6).toArray();
        DeviceBuffer y = f32(x);
        kernels.rope(y, i32(7, 0, 2), f32(Arrays.stream(angles).map(Math::cos).toArray()), f32(Arrays.stream(angles).map(Math::sin).toArray()), m, heads, headDim, inverse);
        return values(y);
    }

    /** Groups of 1, 3 and 4 heads; one sequence, more keys than queries, and several of which one is empty. */
    @ParameterizedTest
    @CsvSource({"2, 2, '0 5 0 5'", "3, 1, '0 4 0 7'", "4, 1, '0 3 2 3 3 0 1 0 3 2 5 4'", "6, 2, '4 3 0 3 0 4 3 6'"})
    void attention(int heads, int kvHeads, String table) {
        int d = 4;
        int[] sequences = Arrays.stream(table.split(" ")).mapToInt(Integer::parseInt).toArray();
        AttentionShape shape = new AttentionShape(heads, kvHeads, d, 0.5f);
        int queries = 7;
        int keys = 9;
        double[] q = random(queries * heads * d);
        double[] k = random(keys * kvHeads * d);
        double[] v = random(keys * kvHeads * d);
        double[] g = random(q.length);
        DeviceBuffer out = f32(q.length);
        DeviceBuffer lse = f32(queries * heads);
        kernels.attention(f32(q), f32(k), f32(v), i32(sequences), sequences.length / 4, shape, out, lse);
        DeviceBuffer dq = f32(q.length);
        DeviceBuffer dk = f32(k.length);
        DeviceBuffer dv = f32(v.length);
        kernels.attentionBackward(f32(q), f32(k), f32(v), out, lse, f32(g), i32(sequences), sequences.length / 4, shape, dq, dk, dv);
        assertGradient("dq", values(dq), q, at -> dot(g, attention(at, k, v, sequences, shape)));
        assertGradient("dk", values(dk), k, at -> dot(g, attention(q, at, v, sequences, shape)));
        assertGradient("dv", values(dv), v, at -> dot(g, attention(q, k, at, sequences, shape)));
    }

    private double[] attention(double[] q, double[] k, double[] v, int[] sequences, AttentionShape shape) {
        DeviceBuffer out = f32(q.length);
        kernels.attention(f32(q), f32(k), f32(v), i32(sequences), sequences.length / 4, shape, out, f32(q.length / shape.headDim()));
        return values(out);
    }

    @Test
    void swiGlu() {
        int n = 20;
        double[] gate = random(n);
        double[] up = random(n);
        double[] g = random(n);
        DeviceBuffer dgate = f32(n);
        DeviceBuffer dup = f32(n);
        kernels.swiGluBackward(f32(gate), f32(up), f32(g), n, dgate, dup);
        assertGradient("dgate", values(dgate), gate, at -> dot(g, swiGlu(at, up)));
        assertGradient("dup", values(dup), up, at -> dot(g, swiGlu(gate, at)));
    }

    private double[] swiGlu(double[] gate, double[] up) {
        DeviceBuffer y = f32(gate.length);
        kernels.swiGlu(f32(gate), f32(up), gate.length, y);
        return values(y);
    }

    @Test
    void crossEntropy() {
        int rows = 3;
        int vocab = 7;
        double[] logits = random(rows * vocab);
        DeviceBuffer targets = i32(6, 0, 3);
        DeviceBuffer gradient = f32(rows * vocab);
        kernels.crossEntropyWithGrad(f32(logits), targets, rows, vocab, 0.25f, f32(rows), gradient);
        assertGradient("dlogits", values(gradient), logits, at -> {
            DeviceBuffer losses = f32(rows);
            kernels.crossEntropy(f32(at), targets, rows, vocab, losses);
            return 0.25 * Arrays.stream(values(losses)).sum();
        });
    }
}
