package dev.panacea.kernels;

/** Products of dense matrices in double precision, one loop for each mode. */
final class ReferenceProducts {
    private ReferenceProducts() {}

    /** a[m, k] b[n, k]^T. */
    static double[] nt(DeviceBuffer a, DeviceBuffer b, int m, int n, int k) {
        return product(a, k, 1, b, 1, k, m, n, k);
    }

    /** a[m, k] b[k, n]. */
    static double[] nn(DeviceBuffer a, DeviceBuffer b, int m, int n, int k) {
        return product(a, k, 1, b, n, 1, m, n, k);
    }

    /** a[k, m]^T b[k, n]. */
    static double[] tn(DeviceBuffer a, DeviceBuffer b, int m, int n, int k) {
        return product(a, 1, m, b, n, 1, m, n, k);
    }

    /** The sum over l of a[i aRow + l aStep] b[l bStep + j bCol]. */
    private static double[] product(DeviceBuffer a, int aRow, int aStep, DeviceBuffer b, int bStep, int bCol, int m, int n, int k) {
        double[] x = Elements.read(a, m * k);
        double[] y = Elements.read(b, n * k);
        double[] sums = new double[m * n];
        for (int i = 0; i < m; i++) {
            for (int l = 0; l < k; l++) {
                double v = x[i * aRow + l * aStep];
                for (int j = 0; j < n; j++) {
                    sums[i * n + j] += v * y[l * bStep + j * bCol];
                }
            }
        }
        return sums;
    }

    /** sums += factor * terms. */
    static void add(double[] sums, double factor, double[] terms) {
        for (int i = 0; i < sums.length; i++) {
            sums[i] += factor * terms[i];
        }
    }
}
