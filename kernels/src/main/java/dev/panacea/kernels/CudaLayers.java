package dev.panacea.kernels;

/** Copies, normalisation, positions, SwiGLU and rows on a GPU: copy.cu, norm.cu, rope.cu, swiglu.cu, rows.cu. */
final class CudaLayers {
    private final CudaContext cuda;

    CudaLayers(CudaContext cuda) {
        this.cuda = cuda;
    }

    /** Blocks of this many threads for the elementwise kernels, each thread with 16 bytes of the wider type. */
    private static final int THREADS = 256;

    void copy(DeviceBuffer x, DeviceBuffer y, long n, boolean accumulate) {
        String kernel = "pan_copy_" + CudaContext.suffix(x) + "_" + CudaContext.suffix(y);
        cuda.launch(kernel).grid(Math.ceilDiv(n, 4L * THREADS)).threads(THREADS).arg(x).arg(y).arg(n).arg(accumulate).run();
    }

    void rmsNorm(DeviceBuffer x, DeviceBuffer weight, float eps, int m, int n, DeviceBuffer y, DeviceBuffer inv) {
        throw new UnsupportedOperationException();
    }

    void rmsNormBackward(DeviceBuffer x, DeviceBuffer weight, DeviceBuffer inv, DeviceBuffer dy, int m, int n, DeviceBuffer dx, boolean accumulate) {
        throw new UnsupportedOperationException();
    }

    void rmsNormWeightGrad(DeviceBuffer x, DeviceBuffer inv, DeviceBuffer dy, int m, int n, DeviceBuffer dweight) {
        throw new UnsupportedOperationException();
    }

    void rope(DeviceBuffer x, DeviceBuffer positions, DeviceBuffer cos, DeviceBuffer sin, long tableRows, int m, int heads, int headDim, boolean inverse) {
        throw new UnsupportedOperationException();
    }

    void swiGlu(DeviceBuffer gate, DeviceBuffer up, long n, DeviceBuffer y) {
        throw new UnsupportedOperationException();
    }

    void swiGluBackward(DeviceBuffer gate, DeviceBuffer up, DeviceBuffer dy, long n, DeviceBuffer dgate, DeviceBuffer dup) {
        throw new UnsupportedOperationException();
    }

    void scatterRows(DeviceBuffer x, DeviceBuffer index, int m, int cols, DeviceBuffer y, long yRows, boolean accumulate) {
        throw new UnsupportedOperationException();
    }
}
