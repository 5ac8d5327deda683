package dev.panacea.kernels;

import java.util.Optional;

/**
 * Linear layers on a GPU: which kernels compute them at which size. The activations that are multiplied decide the arithmetic: BF16 that of the tensor
 * cores, with the weight in BF16; F32 single precision, with the weight in F32. The result's type is only how it is stored.
 */
final class CudaLinear {
    private final CudaContext cuda;
    private final CudaWeights weights;
    private final CudaGemm gemm;
    private final CudaFewRows fewRows;
    private final CudaLora lora;

    CudaLinear(CudaContext cuda, CudaWeights weights) {
        this.cuda = cuda;
        this.weights = weights;
        gemm = new CudaGemm(cuda);
        fewRows = new CudaFewRows(cuda);
        lora = new CudaLora(cuda);
    }

    /** The library of NVIDIA's that products are left to, if any. */
    Optional<String> matrixLibrary() {
        return gemm.library();
    }

    void linear(Weight w, DeviceBuffer x, int m, DeviceBuffer y, boolean accumulate) {
        linear(w, x, m, y, accumulate, Optional.empty());
    }

    void linearInputGrad(Weight w, DeviceBuffer dy, int m, DeviceBuffer dx, boolean accumulate) {
        inputGrad(w, dy, m, dx, accumulate, Optional.empty());
    }

    void linearWeightGrad(DeviceBuffer dy, DeviceBuffer x, int m, int n, int k, DeviceBuffer dw) {
        gemm.tn(dy, x, n, k, m, dw);
    }

    void loraLinear(Weight w, Lora adapter, DeviceBuffer x, int m, DeviceBuffer s, DeviceBuffer y, boolean accumulate) {
        lora.down(x, adapter.a(), m, w.cols(), adapter.rank(), s);
        linear(w, x, m, y, accumulate, Optional.of(new CudaGemm.LowRank(s, adapter.b(), adapter.rank(), 1, adapter.rank(), adapter.scaling())));
    }

    /** dx comes last: everything that is read has been by then. */
    void loraLinearBackward(Weight w, Lora adapter, DeviceBuffer x, DeviceBuffer s, DeviceBuffer dy, int m, DeviceBuffer da, DeviceBuffer db, DeviceBuffer dx, boolean accumulate) {
        int n = w.rows();
        int k = w.cols();
        int rank = adapter.rank();
        long elements = (long) m * rank;
        DeviceBuffer t = DeviceBuffer.ofDevice(DType.F32, cuda.scratch().at("lora t", 4 * elements), elements);
        lora.up(dy, adapter.b(), m, n, rank, t);
        lora.gradA(t, x, m, k, rank, adapter.scaling(), da);
        lora.gradB(dy, s, m, n, rank, adapter.scaling(), db);
        inputGrad(w, dy, m, dx, accumulate, Optional.of(new CudaGemm.LowRank(t, adapter.a(), 1, k, rank, adapter.scaling())));
    }

    private void linear(Weight w, DeviceBuffer x, int m, DeviceBuffer y, boolean accumulate, Optional<CudaGemm.LowRank> lowRank) {
        if (fewRows.linear(w, x, m, y, accumulate, lowRank)) {
            return;
        }
        DeviceBuffer values = weights.dense(w, x.type());
        gemm.nt(x, values, m, w.rows(), w.cols(), y, accumulate, lowRank);
    }

    private void inputGrad(Weight w, DeviceBuffer dy, int m, DeviceBuffer dx, boolean accumulate, Optional<CudaGemm.LowRank> lowRank) {
        DeviceBuffer values = weights.dense(w, dy.type());
        gemm.nn(dy, values, m, w.cols(), w.rows(), dx, accumulate, lowRank);
    }
}
