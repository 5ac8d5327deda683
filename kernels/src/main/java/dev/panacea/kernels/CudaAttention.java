package dev.panacea.kernels;

/** Flash attention on a GPU: attention.cu, attention_backward.cu, attention_few.cu. */
final class CudaAttention {
    private final CudaContext cuda;

    CudaAttention(CudaContext cuda) {
        this.cuda = cuda;
    }

    void forward(DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer sequences, int count, AttentionShape shape, DeviceBuffer out, DeviceBuffer lse) {
        throw new UnsupportedOperationException();
    }

    void backward(DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer out, DeviceBuffer lse, DeviceBuffer dout, DeviceBuffer sequences, int count, AttentionShape shape, DeviceBuffer dq, DeviceBuffer dk, DeviceBuffer dv) {
        throw new UnsupportedOperationException();
    }
}
