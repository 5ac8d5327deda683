package dev.panacea.kernels;

import java.util.Arrays;

/**
 * Operations as a framework runs them in BF16: the weights are cast to BF16, and every step of a composite operation rounds its result. The
 * error of this against exact arithmetic is the measure for the error of a kernel.
 */
final class NaiveBf16 {
    private static final ReferenceKernels K = new ReferenceKernels();

    private NaiveBf16() {}

    static DeviceBuffer temporary(DType type, long count) {
        return DeviceBuffer.ofHost(type, KernelCase.heap(count * type.bytes()));
    }

    static DeviceBuffer bf16(DeviceBuffer x) {
        DeviceBuffer y = temporary(DType.BF16, x.length());
        K.copy(x, y, x.length(), false);
        return y;
    }

    private static DenseWeight bf16(Weight w) {
        DeviceBuffer values = temporary(DType.BF16, (long) w.rows() * w.cols());
        K.dequantize(w, values);
        return new DenseWeight(values, w.rows(), w.cols());
    }

    private static DeviceBuffer scaled(DeviceBuffer x, double factor) {
        return scaled(x, factor, DType.BF16);
    }

    static DeviceBuffer scaled(DeviceBuffer x, double factor, DType type) {
        double[] values = Elements.read(x, (int) x.length());
        for (int i = 0; i < values.length; i++) {
            values[i] *= factor;
        }
        DeviceBuffer y = temporary(type, x.length());
        Elements.write(y, 0, values, false);
        return y;
    }

    static void linear(Weight w, DeviceBuffer x, int m, DeviceBuffer y, boolean accumulate) {
        DeviceBuffer product = temporary(y.type(), y.length());
        K.linear(bf16(w), x, m, product, false);
        K.copy(product, y, y.length(), accumulate);
    }

    static void linearInputGrad(Weight w, DeviceBuffer dy, int m, DeviceBuffer dx, boolean accumulate) {
        DeviceBuffer product = temporary(dx.type(), dx.length());
        K.linearInputGrad(bf16(w), dy, m, product, false);
        K.copy(product, dx, dx.length(), accumulate);
    }

    static void loraLinear(Weight w, Lora lora, DeviceBuffer x, int m, DeviceBuffer s, DeviceBuffer y, boolean accumulate) {
        DeviceBuffer down = temporary(DType.BF16, s.length());
        K.linear(new DenseWeight(bf16(lora.a()), lora.rank(), w.cols()), x, m, down, false);
        K.copy(down, s, s.length(), false);
        linear(w, x, m, y, accumulate);
        DeviceBuffer up = temporary(DType.BF16, y.length());
        K.linear(new DenseWeight(bf16(lora.b()), w.rows(), lora.rank()), down, m, up, false);
        K.copy(scaled(up, lora.scaling()), y, y.length(), true);
    }

    static void loraLinearBackward(Weight w, Lora lora, DeviceBuffer x, DeviceBuffer s, DeviceBuffer dy, int m, DeviceBuffer da, DeviceBuffer db, DeviceBuffer dx,
            boolean accumulate) {
        DeviceBuffer t = temporary(DType.BF16, s.length());
        K.linearInputGrad(new DenseWeight(bf16(lora.b()), w.rows(), lora.rank()), dy, m, t, false);
        t = scaled(t, lora.scaling());
        K.linearWeightGrad(t, x, m, lora.rank(), w.cols(), da);
        K.linearWeightGrad(dy, scaled(s, lora.scaling()), m, w.rows(), lora.rank(), db);
        linearInputGrad(w, dy, m, dx, accumulate);
        DeviceBuffer up = temporary(DType.BF16, dx.length());
        K.linearInputGrad(new DenseWeight(bf16(lora.a()), lora.rank(), w.cols()), t, m, up, false);
        K.copy(up, dx, dx.length(), true);
    }

    /** A row that is named again is rounded again. */
    static void scatterRows(DeviceBuffer x, int[] rows, int cols, DeviceBuffer y, boolean accumulate) {
        for (int i = 0; i < rows.length; i++) {
            K.copy(x.slice((long) i * cols, cols), y.slice((long) rows[i] * cols, cols), cols, accumulate);
        }
    }

    /** silu(gate) and dy * up are rounded in between. */
    static void swiGluBackward(DeviceBuffer gate, DeviceBuffer up, DeviceBuffer dy, DeviceBuffer dgate, DeviceBuffer dup) {
        double[] g = Elements.read(gate, (int) gate.length());
        double[] u = Elements.read(up, g.length);
        double[] d = Elements.read(dy, g.length);
        for (int i = 0; i < g.length; i++) {
            double sigma = 1 / (1 + Math.exp(-g[i]));
            double silu = round(g[i] * sigma);
            g[i] = round(d[i] * u[i]) * sigma * (1 + g[i] * (1 - sigma));
            u[i] = d[i] * silu;
        }
        Elements.write(dgate, 0, g, false);
        Elements.write(dup, 0, u, false);
    }

    /** Scores, probabilities and results rounded; lse from the rounded scores. */
    static void attention(KernelCase.Buffers b, int[] sequences, AttentionShape shape) {
        new Attention(b, sequences, shape).run(false);
    }

    static void attentionBackward(KernelCase.Buffers b, int[] sequences, AttentionShape shape) {
        new Attention(b, sequences, shape).run(true);
    }

    private record Attention(KernelCase.Buffers b, int[] sequences, AttentionShape shape) {
        void run(boolean backward) {
            for (int i = 0; i < sequences.length; i += 4) {
                for (int kvHead = 0; kvHead < shape.kvHeads(); kvHead++) {
                    double[] dk = new double[sequences[i + 3] * shape.headDim()];
                    double[] dv = new double[dk.length];
                    int group = shape.heads() / shape.kvHeads();
                    for (int head = kvHead * group; head < (kvHead + 1) * group; head++) {
                        runHead(i, head, kvHead, backward, dk, dv);
                    }
                    if (backward) {
                        put("dk", sequences[i + 2], sequences[i + 3], kvHead, shape.kvHeads(), dk);
                        put("dv", sequences[i + 2], sequences[i + 3], kvHead, shape.kvHeads(), dv);
                    }
                }
            }
        }

        private void runHead(int sequence, int head, int kvHead, boolean backward, double[] dk, double[] dv) {
            int firstQuery = sequences[sequence];
            int queries = sequences[sequence + 1];
            int keys = sequences[sequence + 3];
            int d = shape.headDim();
            double[] q = get("q", firstQuery, queries, head, shape.heads());
            double[] k = get("k", sequences[sequence + 2], keys, kvHead, shape.kvHeads());
            double[] v = get("v", sequences[sequence + 2], keys, kvHead, shape.kvHeads());
            double[] p = product(q, k, queries, keys, d, true);
            double[] logSums = new double[queries];
            for (int i = 0; i < queries; i++) {
                double sum = 0;
                for (int j = 0; j < keys; j++) {
                    p[i * keys + j] = j <= keys - queries + i ? round(p[i * keys + j] * shape.scale()) : Double.NEGATIVE_INFINITY;
                    sum += Math.exp(p[i * keys + j]);
                }
                logSums[i] = Math.log(sum);
                for (int j = 0; j < keys; j++) {
                    p[i * keys + j] = round(Math.exp(p[i * keys + j]) / sum);
                }
            }
            double[] out = product(p, v, queries, d, keys, false);
            if (!backward) {
                put("out", firstQuery, queries, head, shape.heads(), out);
                for (int i = 0; i < queries; i++) {
                    Elements.write(b.at("lse"), (long) (firstQuery + i) * shape.heads() + head, new double[] {logSums[i]}, false);
                }
                return;
            }
            double[] dout = get("dout", firstQuery, queries, head, shape.heads());
            addTo(dv, product(transposed(p, queries, keys), dout, keys, d, queries, false));
            double[] ds = product(dout, v, queries, keys, d, true);
            for (int i = 0; i < queries; i++) {
                double rowSum = 0;
                for (int j = 0; j < keys; j++) {
                    rowSum += ds[i * keys + j] * p[i * keys + j];
                }
                for (int j = 0; j < keys; j++) {
                    ds[i * keys + j] = round(shape.scale() * round(p[i * keys + j] * (ds[i * keys + j] - rowSum)));
                }
            }
            put("dq", firstQuery, queries, head, shape.heads(), product(ds, k, queries, d, keys, false));
            addTo(dk, product(transposed(ds, queries, keys), q, keys, d, queries, false));
        }

        private double[] get(String name, int firstRow, int rows, int head, int heads) {
            double[] values = new double[rows * shape.headDim()];
            for (int i = 0; i < rows; i++) {
                double[] row = Elements.read(b.at(name), ((long) (firstRow + i) * heads + head) * shape.headDim(), shape.headDim());
                System.arraycopy(row, 0, values, i * shape.headDim(), row.length);
            }
            return values;
        }

        private void put(String name, int firstRow, int rows, int head, int heads, double[] values) {
            for (int i = 0; i < rows; i++) {
                double[] row = Arrays.copyOfRange(values, i * shape.headDim(), (i + 1) * shape.headDim());
                Elements.write(b.at(name), ((long) (firstRow + i) * heads + head) * shape.headDim(), row, false);
            }
        }
    }

    /** a[m,k] b[k,n], or a b^T of b[n,k], rounded. */
    private static double[] product(double[] a, double[] b, int m, int n, int k, boolean transposed) {
        double[] c = new double[m * n];
        for (int i = 0; i < m; i++) {
            for (int j = 0; j < n; j++) {
                double sum = 0;
                for (int l = 0; l < k; l++) {
                    sum += a[i * k + l] * (transposed ? b[j * k + l] : b[l * n + j]);
                }
                c[i * n + j] = round(sum);
            }
        }
        return c;
    }

    private static double[] transposed(double[] a, int rows, int cols) {
        double[] t = new double[a.length];
        for (int i = 0; i < a.length; i++) {
            t[i % cols * rows + i / cols] = a[i];
        }
        return t;
    }

    private static void addTo(double[] sums, double[] terms) {
        for (int i = 0; i < sums.length; i++) {
            sums[i] = round(sums[i] + terms[i]);
        }
    }

    private static double round(double value) {
        return Elements.round(value, DType.BF16);
    }
}
