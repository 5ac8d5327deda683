package dev.panacea.kernels;

import java.util.Optional;

/** Products of few rows with weights that are decoded on the way: gemv.cu (to 8 rows), gemm_few_rows.cu (4-bit codes, to 64 rows). */
final class CudaFewRows {
    private final CudaContext cuda;

    CudaFewRows(CudaContext cuda) {
        this.cuda = cuda;
    }

    /** y[m, N] = x[m, K] W^T (+ low rank) (+ y), where that is faster than a dense copy of the weight; false, with nothing done, where it is not. */
    boolean linear(Weight w, DeviceBuffer x, int m, DeviceBuffer y, boolean accumulate, Optional<CudaGemm.LowRank> lowRank) {
        throw new UnsupportedOperationException();
    }
}
