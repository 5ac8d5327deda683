package dev.panacea.kernels;

import java.util.Optional;

/** Products of dense matrices on a GPU: gemm_bf16.cu (tensor cores), gemm_f32.cu. */
final class CudaGemm {
    private final CudaContext cuda;

    CudaGemm(CudaContext cuda) {
        this.cuda = cuda;
    }

    /**
     * A low-rank term of a product: {@code C[i, j] += scaling * sum over r of s[i, r] * factor[j * factorRow + r * factorCol]}.
     *
     * @param s F32 [m, rank]
     * @param factor F32: LoRA's B[n, rank] with strides (rank, 1), or A[rank, n] with strides (1, n)
     */
    record LowRank(DeviceBuffer s, DeviceBuffer factor, long factorRow, long factorCol, int rank, float scaling) {}

    /** c[m, n] = a[m, k] b[n, k]^T (+ low rank) (+ c), rounded once. a, b: both BF16 (tensor cores) or both F32 (in single precision); c: F32 or BF16. */
    void nt(DeviceBuffer a, DeviceBuffer b, int m, int n, int k, DeviceBuffer c, boolean accumulate, Optional<LowRank> lowRank) {
        throw new UnsupportedOperationException();
    }

    /** c[m, n] = a[m, k] b[k, n] (+ low rank) (+ c); types as in {@link #nt}. */
    void nn(DeviceBuffer a, DeviceBuffer b, int m, int n, int k, DeviceBuffer c, boolean accumulate, Optional<LowRank> lowRank) {
        throw new UnsupportedOperationException();
    }

    /** c[m, n] += a[k, m]^T b[k, n]; c F32, a and b as in {@link #nt}. In an order that depends on the shape alone. */
    void tn(DeviceBuffer a, DeviceBuffer b, int m, int n, int k, DeviceBuffer c) {
        throw new UnsupportedOperationException();
    }
}
