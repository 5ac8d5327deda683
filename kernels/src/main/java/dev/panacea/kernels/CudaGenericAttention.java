package dev.panacea.kernels;

/** Attention for every type and dimension of heads, in single precision without tensor cores: attention_generic.cu. The one for F32, and for heads that {@link CudaAttention} has no kernels for. */
final class CudaGenericAttention {
    private final CudaContext cuda;

    CudaGenericAttention(CudaContext cuda) {
        this.cuda = cuda;
    }

    void forward(DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer sequences, int count, AttentionShape shape, DeviceBuffer out, DeviceBuffer lse) {
        throw new UnsupportedOperationException();
    }

    void backward(DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer out, DeviceBuffer lse, DeviceBuffer dout, DeviceBuffer sequences, int count, AttentionShape shape, DeviceBuffer dq, DeviceBuffer dk, DeviceBuffer dv) {
        throw new UnsupportedOperationException();
    }
}
