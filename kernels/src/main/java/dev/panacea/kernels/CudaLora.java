package dev.panacea.kernels;

/** The low-rank products of LoRA on a GPU: lora.cu. The terms of rank r inside the large products are {@link CudaGemm.LowRank}. */
final class CudaLora {
    private final CudaContext cuda;

    CudaLora(CudaContext cuda) {
        this.cuda = cuda;
    }

    /** s[m, rank] = x[m, k] a[rank, k]^T; x F32 or BF16, the others F32. */
    void down(DeviceBuffer x, DeviceBuffer a, int m, int k, int rank, DeviceBuffer s) {
        throw new UnsupportedOperationException();
    }

    /** t[m, rank] = dy[m, n] b[n, rank]; dy F32 or BF16, the others F32. */
    void up(DeviceBuffer dy, DeviceBuffer b, int m, int n, int rank, DeviceBuffer t) {
        throw new UnsupportedOperationException();
    }

    /** da[rank, k] += scaling * t[m, rank]^T x[m, k], in an order that depends on the shape alone. */
    void gradA(DeviceBuffer t, DeviceBuffer x, int m, int k, int rank, float scaling, DeviceBuffer da) {
        throw new UnsupportedOperationException();
    }

    /** db[n, rank] += scaling * dy[m, n]^T s[m, rank], in an order that depends on the shape alone. */
    void gradB(DeviceBuffer dy, DeviceBuffer s, int m, int n, int rank, float scaling, DeviceBuffer db) {
        throw new UnsupportedOperationException();
    }
}
