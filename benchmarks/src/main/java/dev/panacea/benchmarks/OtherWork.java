package dev.panacea.benchmarks;

import dev.panacea.autograd.LinearCrossEntropy;
import dev.panacea.kernels.AdamWStep;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.DynamicMap;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.Moments8bit;
import dev.panacea.kernels.QuantType;
import dev.panacea.kernels.Weight;

/** What reads and writes each element once, in DRAM, and the loss. Bytes count every operand that is read and every one that is written. */
final class OtherWork {
    private OtherWork() {}

    /** f32 parameters, gradients and two moments: four numbers read and three written per parameter. */
    static Workload adamW(Kernels k, long n) {
        return Workload.inDram(k, 0, 28.0 * n, o -> {
            DeviceBuffer p = o.normal(DType.F32, n, 0.04f);
            DeviceBuffer g = o.normal(DType.F32, n, 0.01f);
            DeviceBuffer m = o.normal(DType.F32, n, 0.01f);
            DeviceBuffer v = o.squares(n);
            return new Workload.Set(() -> k.adamW(p, g, m, v, n, new AdamWStep(1, 1e-6f, 0.9f, 0.999f, 1e-8f, 0.01f, 1000)), p);
        });
    }

    /** The same with moments in 8 bits: parameter, gradient and two codes read, parameter and codes written; two absmax per 256 likewise. */
    static Workload adamW8bit(Kernels k, long n) {
        long blocks = Math.ceilDiv(n, (long) Moments8bit.BLOCK);
        return Workload.inDram(k, 0, 16.0 * n + 16.0 * blocks, o -> {
            DeviceBuffer p = o.normal(DType.F32, n, 0.04f);
            DeviceBuffer g = o.normal(DType.F32, n, 0.01f);
            Moments8bit moments = new Moments8bit(o.random(n), o.random(n), o.squares(blocks), o.squares(blocks), o.floats(DynamicMap.SIGNED.levels()),
                    o.floats(DynamicMap.UNSIGNED.levels()));
            return new Workload.Set(() -> k.adamW8bit(p, g, moments, n, new AdamWStep(1, 1e-6f, 0.9f, 0.999f, 1e-8f, 0.01f, 1000)), p);
        });
    }

    /** M rows of N in BF16. */
    static Workload rmsNorm(Kernels k, int m, int n) {
        return Workload.inDram(k, 0, 4.0 * m * n, o -> {
            DeviceBuffer x = o.normal(DType.BF16, (long) m * n, 1);
            DeviceBuffer w = o.normal(DType.F32, n, 1);
            DeviceBuffer y = o.output(DType.BF16, (long) m * n);
            DeviceBuffer inv = o.output(DType.F32, m);
            return new Workload.Set(() -> k.rmsNorm(x, w, 1e-5f, m, n, y, inv), y);
        });
    }

    static Workload rmsNormBackward(Kernels k, int m, int n) {
        return Workload.inDram(k, 0, 6.0 * m * n, o -> {
            DeviceBuffer x = o.normal(DType.BF16, (long) m * n, 1);
            DeviceBuffer w = o.normal(DType.F32, n, 1);
            DeviceBuffer dy = o.normal(DType.BF16, (long) m * n, 1);
            DeviceBuffer dx = o.output(DType.BF16, (long) m * n);
            DeviceBuffer inv = o.output(DType.F32, m);
            k.rmsNorm(x, w, 1e-5f, m, n, dx, inv);
            return new Workload.Set(() -> k.rmsNormBackward(x, w, inv, dy, m, n, dx, false), dx);
        });
    }

    /** In place on M rows, heads of 64; N is heads times 64. */
    static Workload rope(Kernels k, int m, int n) {
        int d = 64;
        return Workload.inDram(k, 0, 4.0 * m * n, o -> {
            DeviceBuffer x = o.normal(DType.BF16, (long) m * n, 1);
            int[] positions = new int[m];
            float[] cos = new float[m * d / 2];
            float[] sin = new float[m * d / 2];
            for (int row = 0; row < m; row++) {
                positions[row] = row;
                for (int j = 0; j < d / 2; j++) {
                    double angle = row * Math.pow(10000, -2.0 * j / d);
                    cos[row * d / 2 + j] = (float) Math.cos(angle);
                    sin[row * d / 2 + j] = (float) Math.sin(angle);
                }
            }
            DeviceBuffer at = o.ints(positions);
            DeviceBuffer c = o.floats(cos);
            DeviceBuffer s = o.floats(sin);
            return new Workload.Set(() -> k.rope(x, at, c, s, m, n / d, d, false), x);
        });
    }

    static Workload swiGlu(Kernels k, int m, int n) {
        long all = (long) m * n;
        return Workload.inDram(k, 0, 6.0 * all, o -> {
            DeviceBuffer gate = o.normal(DType.BF16, all, 1);
            DeviceBuffer up = o.normal(DType.BF16, all, 1);
            DeviceBuffer y = o.output(DType.BF16, all);
            return new Workload.Set(() -> k.swiGlu(gate, up, all, y), y);
        });
    }

    static Workload swiGluBackward(Kernels k, int m, int n) {
        long all = (long) m * n;
        return Workload.inDram(k, 0, 10.0 * all, o -> {
            DeviceBuffer gate = o.normal(DType.BF16, all, 1);
            DeviceBuffer up = o.normal(DType.BF16, all, 1);
            DeviceBuffer dy = o.normal(DType.BF16, all, 1);
            DeviceBuffer dgate = o.output(DType.BF16, all);
            DeviceBuffer dup = o.output(DType.BF16, all);
            return new Workload.Set(() -> k.swiGluBackward(gate, up, dy, all, dgate, dup), dgate);
        });
    }

    /** N K values in BF16 to NF4 in blocks of 64. */
    static Workload quantize(Kernels k, int n, int cols) {
        long all = (long) n * cols;
        return Workload.inDram(k, 0, 2.5 * all + all / 16.0, o -> {
            DeviceBuffer x = o.normal(DType.BF16, all, 0.04f);
            DeviceBuffer packed = o.output(DType.U8, Math.ceilDiv(all, 2L));
            DeviceBuffer absmax = o.output(DType.F32, Math.ceilDiv(all, 64L));
            return new Workload.Set(() -> k.quantize4(QuantType.NF4, x, all, 64, packed, absmax), packed);
        });
    }

    /** A weight's values to BF16. */
    static Workload dequantize(Kernels k, WeightFormat format, int n, int cols) {
        return Workload.inDram(k, 0, format.bytes(n, cols) + 2.0 * n * cols, o -> {
            Weight w = o.weight(format, n, cols);
            DeviceBuffer y = o.output(DType.BF16, (long) n * cols);
            return new Workload.Set(() -> k.dequantize(w, y), y);
        });
    }

    /** The head in BF16, the loss and the gradient of the hidden states, in training's own chunks of rows. */
    static Workload headLoss(Kernels k, int m, int vocab, int hidden) {
        int chunk = Math.min(m, LinearCrossEntropy.rowsAtATime(vocab));
        return Workload.of(k, 2 * LinearWork.flops(m, vocab, hidden), 0, o -> {
            Weight head = o.weight(WeightFormat.BF16, vocab, hidden);
            DeviceBuffer x = o.normal(DType.BF16, (long) m * hidden, 1);
            DeviceBuffer dx = o.output(DType.BF16, (long) m * hidden);
            DeviceBuffer targets = o.indices(m, vocab);
            DeviceBuffer losses = o.output(DType.F32, m);
            DeviceBuffer logits = o.output(DType.F32, (long) chunk * vocab);
            DeviceBuffer gradient = o.output(DType.BF16, (long) chunk * vocab);
            return new Workload.Set(() -> {
                for (int from = 0; from < m; from += chunk) {
                    int rows = Math.min(chunk, m - from);
                    long first = (long) from * hidden;
                    k.linear(head, x.slice(first, (long) rows * hidden), rows, logits, false);
                    k.crossEntropyWithGrad(logits, targets.slice(from, rows), rows, vocab, 1f / m, losses.slice(from, rows), gradient);
                    k.linearInputGrad(head, gradient, rows, dx.slice(first, (long) rows * hidden), false);
                }
            }, dx);
        });
    }
}
