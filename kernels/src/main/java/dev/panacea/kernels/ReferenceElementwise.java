package dev.panacea.kernels;

/** Normalisation, positions and the MLP's non-linearity of {@link ReferenceKernels}. */
final class ReferenceElementwise {
    private static final int CHUNK = 1 << 16;

    private ReferenceElementwise() {}

    interface Chunk {
        void run(long from, int count);
    }

    /** Covers [0, n) in ascending pieces that fit into arrays. */
    static void chunks(long n, Chunk body) {
        for (long from = 0; from < n; from += CHUNK) {
            body.run(from, (int) Math.min(CHUNK, n - from));
        }
    }

    static void rmsNorm(DeviceBuffer x, DeviceBuffer weight, float eps, int m, int n, DeviceBuffer y, DeviceBuffer inv) {
        double[] w = Elements.read(weight, n);
        for (int row = 0; row < m; row++) {
            double[] values = Elements.read(x, (long) row * n, n);
            double squares = 0;
            for (double value : values) {
                squares += value * value;
            }
            float inverse = (float) (1 / Math.sqrt(squares / n + eps));
            for (int j = 0; j < n; j++) {
                values[j] = Elements.round(values[j] * inverse, x.type()) * w[j];
            }
            Elements.write(inv, row, new double[] {inverse}, false);
            Elements.write(y, (long) row * n, values, false);
        }
    }

    static void rmsNormBackward(DeviceBuffer x, DeviceBuffer weight, DeviceBuffer inv, DeviceBuffer dy, int m, int n, DeviceBuffer dx, boolean accumulate) {
        double[] w = Elements.read(weight, n);
        double[] inverse = Elements.read(inv, m);
        for (int row = 0; row < m; row++) {
            double[] normalised = Elements.read(x, (long) row * n, n);
            double[] grad = Elements.read(dy, (long) row * n, n);
            double mean = 0;
            for (int j = 0; j < n; j++) {
                normalised[j] *= inverse[row];
                grad[j] *= w[j];
                mean += grad[j] * normalised[j] / n;
            }
            for (int j = 0; j < n; j++) {
                grad[j] = inverse[row] * (grad[j] - normalised[j] * mean);
            }
            Elements.write(dx, (long) row * n, grad, accumulate);
        }
    }

    static void rmsNormWeightGrad(DeviceBuffer x, DeviceBuffer inv, DeviceBuffer dy, int m, int n, DeviceBuffer dweight) {
        double[] inverse = Elements.read(inv, m);
        double[] sums = new double[n];
        for (int row = 0; row < m; row++) {
            double[] values = Elements.read(x, (long) row * n, n);
            double[] grad = Elements.read(dy, (long) row * n, n);
            for (int j = 0; j < n; j++) {
                sums[j] += grad[j] * values[j] * inverse[row];
            }
        }
        Elements.write(dweight, 0, sums, true);
    }

    static void rope(DeviceBuffer x, int[] positions, DeviceBuffer cos, DeviceBuffer sin, int heads, int headDim, boolean inverse) {
        int half = headDim / 2;
        for (int row = 0; row < positions.length; row++) {
            double[] c = Elements.read(cos, (long) positions[row] * half, half);
            double[] s = Elements.read(sin, (long) positions[row] * half, half);
            double[] values = Elements.read(x, (long) row * heads * headDim, heads * headDim);
            for (int head = 0; head < heads; head++) {
                for (int j = 0; j < half; j++) {
                    int first = head * headDim + j;
                    double a = values[first];
                    double b = values[first + half];
                    double sine = inverse ? -s[j] : s[j];
                    values[first] = a * c[j] - b * sine;
                    values[first + half] = b * c[j] + a * sine;
                }
            }
            Elements.write(x, (long) row * heads * headDim, values, false);
        }
    }

    static void swiGlu(DeviceBuffer gate, DeviceBuffer up, long n, DeviceBuffer y) {
        chunks(n, (from, count) -> {
            double[] g = Elements.read(gate, from, count);
            double[] u = Elements.read(up, from, count);
            for (int i = 0; i < count; i++) {
                u[i] *= Elements.round(g[i] * sigmoid(g[i]), gate.type());
            }
            Elements.write(y, from, u, false);
        });
    }

    static void swiGluBackward(DeviceBuffer gate, DeviceBuffer up, DeviceBuffer dy, long n, DeviceBuffer dgate, DeviceBuffer dup) {
        chunks(n, (from, count) -> {
            double[] g = Elements.read(gate, from, count);
            double[] u = Elements.read(up, from, count);
            double[] d = Elements.read(dy, from, count);
            for (int i = 0; i < count; i++) {
                double sigma = sigmoid(g[i]);
                double gateGrad = d[i] * u[i] * sigma * (1 + g[i] * (1 - sigma));
                u[i] = d[i] * g[i] * sigma;
                g[i] = gateGrad;
            }
            Elements.write(dgate, from, g, false);
            Elements.write(dup, from, u, false);
        });
    }

    private static double sigmoid(double x) {
        return 1 / (1 + Math.exp(-x));
    }
}
