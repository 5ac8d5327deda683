package dev.panacea.kernels;

/** Linear layers on a GPU: which kernels compute them at which size. */
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

    void linear(Weight w, DeviceBuffer x, int m, DeviceBuffer y, boolean accumulate) {
        throw new UnsupportedOperationException();
    }

    void linearInputGrad(Weight w, DeviceBuffer dy, int m, DeviceBuffer dx, boolean accumulate) {
        throw new UnsupportedOperationException();
    }

    void linearWeightGrad(DeviceBuffer dy, DeviceBuffer x, int m, int n, int k, DeviceBuffer dw) {
        throw new UnsupportedOperationException();
    }

    void loraLinear(Weight w, Lora adapter, DeviceBuffer x, int m, DeviceBuffer s, DeviceBuffer y, boolean accumulate) {
        throw new UnsupportedOperationException();
    }

    void loraLinearBackward(Weight w, Lora adapter, DeviceBuffer x, DeviceBuffer s, DeviceBuffer dy, int m, DeviceBuffer da, DeviceBuffer db, DeviceBuffer dx, boolean accumulate) {
        throw new UnsupportedOperationException();
    }
}
