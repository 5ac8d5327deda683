package dev.panacea.kernels;

/** Cross-entropy on a GPU: loss.cu. */
final class CudaLoss {
    private final CudaContext cuda;

    CudaLoss(CudaContext cuda) {
        this.cuda = cuda;
    }

    void crossEntropy(DeviceBuffer logits, DeviceBuffer targets, int rows, int vocab, DeviceBuffer losses) {
        throw new UnsupportedOperationException();
    }

    void crossEntropyWithGrad(DeviceBuffer logits, DeviceBuffer targets, int rows, int vocab, float gradScale, DeviceBuffer losses, DeviceBuffer gradient) {
        throw new UnsupportedOperationException();
    }
}
