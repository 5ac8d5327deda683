package dev.panacea.kernels;

/** AdamW and sums of squares on a GPU: adamw.cu, sums.cu. */
final class CudaOptimizer {
    private final CudaContext cuda;

    CudaOptimizer(CudaContext cuda) {
        this.cuda = cuda;
    }

    void adamW(DeviceBuffer p, DeviceBuffer g, DeviceBuffer m, DeviceBuffer v, long n, AdamWStep step) {
        throw new UnsupportedOperationException();
    }

    void adamW8bit(DeviceBuffer p, DeviceBuffer g, Moments8bit moments, long n, AdamWStep step) {
        throw new UnsupportedOperationException();
    }

    double sumOfSquares(DeviceBuffer x, long n) {
        throw new UnsupportedOperationException();
    }
}
