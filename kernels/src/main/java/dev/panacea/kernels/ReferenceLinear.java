package dev.panacea.kernels;

import java.util.stream.IntStream;

/** The linear layers of {@link ReferenceKernels}: three matrix products in double precision, and the operations made of them. */
final class ReferenceLinear {
    /** Output features per task of {@link #product}; columns per task of {@link #inputGrad}; tokens whose results are held at a time. */
    private static final int ROWS = 4;
    private static final int COLUMNS = 32;
    private static final int TOKENS = 256;

    private ReferenceLinear() {}

    /** A matrix in any format, as a flattened run of numbers. */
    private interface Matrix {
        double[] read(long from, int count);

        static Matrix of(Weight w) {
            return switch (w) {
                case DenseWeight dense -> of(dense.data());
                case Q4Weight q4 -> (from, count) -> Q4Codec.read(q4, from, count);
                case BlockWeight blocks -> (from, count) -> readBlocks(blocks, from, count);
            };
        }

        static Matrix of(DeviceBuffer b) {
            return (from, count) -> Elements.read(b, from, count);
        }
    }

    /** Elements {@code from} to {@code from + count} of the flattened matrix, in the matrix's own order of rows. */
    private static double[] readBlocks(BlockWeight w, long from, int count) {
        float[] values = new float[count];
        for (int done = 0; done < count; ) {
            int row = (int) ((from + done) / w.cols());
            int col = (int) ((from + done) % w.cols());
            int n = Math.min(count - done, w.cols() - col);
            GgmlBlocks.decode(w.type(), w.data().host(), (long) w.storedRow(row) * w.cols() + col, n, values, done);
            done += n;
        }
        double[] doubles = new double[count];
        for (int i = 0; i < count; i++) {
            doubles[i] = values[i];
        }
        return doubles;
    }

    static void linear(Weight w, DeviceBuffer x, int m, DeviceBuffer y, boolean accumulate) {
        int n = w.rows();
        int k = w.cols();
        for (int t = 0; t < m; t += TOKENS) {
            int count = Math.min(TOKENS, m - t);
            double[] product = product(Elements.read(x, (long) t * k, count * k), Matrix.of(w), count, n, k);
            Elements.write(y, (long) t * n, product, accumulate);
        }
    }

    static void linearInputGrad(Weight w, DeviceBuffer dy, int m, DeviceBuffer dx, boolean accumulate) {
        int n = w.rows();
        int k = w.cols();
        for (int t = 0; t < m; t += TOKENS) {
            int count = Math.min(TOKENS, m - t);
            double[] grad = inputGrad(Elements.read(dy, (long) t * n, count * n), Matrix.of(w), count, n, k);
            Elements.write(dx, (long) t * k, grad, accumulate);
        }
    }

    static void linearWeightGrad(DeviceBuffer dy, DeviceBuffer x, int m, int n, int k, DeviceBuffer dw) {
        addWeightGrad(1, Elements.read(dy, m * n), Elements.read(x, m * k), m, n, k, dw);
    }

    static void loraLinear(Weight w, Lora lora, DeviceBuffer x, int m, DeviceBuffer s, DeviceBuffer y, boolean accumulate) {
        int n = w.rows();
        int k = w.cols();
        int r = lora.rank();
        for (int t = 0; t < m; t += TOKENS) {
            int count = Math.min(TOKENS, m - t);
            double[] input = Elements.read(x, (long) t * k, count * k);
            Elements.write(s, (long) t * r, product(input, Matrix.of(lora.a()), count, r, k), false);
            double[] base = product(input, Matrix.of(w), count, n, k);
            addScaled(base, lora.scaling(), product(Elements.read(s, (long) t * r, count * r), Matrix.of(lora.b()), count, n, r));
            Elements.write(y, (long) t * n, base, accumulate);
        }
    }

    static void loraLinearBackward(Weight w, Lora lora, DeviceBuffer x, DeviceBuffer s, DeviceBuffer dy, int m, DeviceBuffer da, DeviceBuffer db, DeviceBuffer dx,
            boolean accumulate) {
        int n = w.rows();
        int k = w.cols();
        int r = lora.rank();
        double[] grad = Elements.read(dy, m * n);
        double[] t = inputGrad(grad, Matrix.of(lora.b()), m, n, r);
        addWeightGrad(lora.scaling(), t, Elements.read(x, m * k), m, r, k, da);
        addWeightGrad(lora.scaling(), grad, Elements.read(s, m * r), m, n, r, db);
        double[] inputGrad = inputGrad(grad, Matrix.of(w), m, n, k);
        addScaled(inputGrad, lora.scaling(), inputGrad(t, Matrix.of(lora.a()), m, r, k));
        Elements.write(dx, 0, inputGrad, accumulate);
    }

    static void dequantize(Weight w, DeviceBuffer y) {
        for (int row = 0; row < w.rows(); row++) {
            long from = (long) row * w.cols();
            Elements.write(y, from, Matrix.of(w).read(from, w.cols()), false);
        }
    }

    static void gatherRows(Weight w, int[] index, DeviceBuffer y) {
        for (int i = 0; i < index.length; i++) {
            Elements.write(y, (long) i * w.cols(), Matrix.of(w).read((long) index[i] * w.cols(), w.cols()), false);
        }
    }

    /** x[m,k] W[n,k]^T. Four rows of W at a time: four independent sums, each in ascending order of k. */
    private static double[] product(double[] x, Matrix w, int m, int n, int k) {
        double[] y = new double[m * n];
        IntStream.range(0, (n + ROWS - 1) / ROWS).parallel().forEach(task -> {
            int first = task * ROWS;
            int rows = Math.min(ROWS, n - first);
            double[] weights = w.read((long) first * k, rows * k);
            double[] sums = new double[ROWS];
            for (int i = 0; i < m; i++) {
                if (rows == ROWS) {
                    fourDots(x, i * k, weights, k, sums);
                } else {
                    dots(x, i * k, weights, rows, k, sums);
                }
                System.arraycopy(sums, 0, y, i * n + first, rows);
            }
        });
        return y;
    }

    private static void dots(double[] x, int at, double[] w, int rows, int k, double[] sums) {
        for (int row = 0; row < rows; row++) {
            double sum = 0;
            for (int j = 0; j < k; j++) {
                sum += x[at + j] * w[row * k + j];
            }
            sums[row] = sum;
        }
    }

    private static void fourDots(double[] x, int at, double[] w, int k, double[] sums) {
        double a = 0;
        double b = 0;
        double c = 0;
        double d = 0;
        for (int j = 0; j < k; j++) {
            double v = x[at + j];
            a += v * w[j];
            b += v * w[k + j];
            c += v * w[2 * k + j];
            d += v * w[3 * k + j];
        }
        sums[0] = a;
        sums[1] = b;
        sums[2] = c;
        sums[3] = d;
    }

    /** dy[m,n] W[n,k]: every task has some columns of W and adds its rows in ascending order. */
    private static double[] inputGrad(double[] dy, Matrix w, int m, int n, int k) {
        double[] dx = new double[m * k];
        IntStream.range(0, (k + COLUMNS - 1) / COLUMNS).parallel().forEach(task -> {
            int first = task * COLUMNS;
            int columns = Math.min(COLUMNS, k - first);
            double[] sums = new double[m * columns];
            for (int row = 0; row < n; row++) {
                double[] weights = w.read((long) row * k + first, columns);
                for (int i = 0; i < m; i++) {
                    addScaled(sums, i * columns, dy[i * n + row], weights, 0, columns);
                }
            }
            for (int i = 0; i < m; i++) {
                System.arraycopy(sums, i * columns, dx, i * k + first, columns);
            }
        });
        return dx;
    }

    /** dw[n,k] += factor * dy[m,n]^T x[m,k], one rounding per element. */
    private static void addWeightGrad(double factor, double[] dy, double[] x, int m, int n, int k, DeviceBuffer dw) {
        IntStream.range(0, n).parallel().forEach(row -> {
            double[] sums = new double[k];
            for (int i = 0; i < m; i++) {
                addScaled(sums, 0, factor * dy[i * n + row], x, i * k, k);
            }
            Elements.write(dw, (long) row * k, sums, true);
        });
    }

    private static void addScaled(double[] sums, double factor, double[] terms) {
        addScaled(sums, 0, factor, terms, 0, sums.length);
    }

    private static void addScaled(double[] sums, int at, double factor, double[] terms, int from, int count) {
        for (int j = 0; j < count; j++) {
            sums[at + j] += factor * terms[from + j];
        }
    }
}
