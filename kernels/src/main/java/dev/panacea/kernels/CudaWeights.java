package dev.panacea.kernels;

/** 4-bit codes, ggml blocks and rows of weights on a GPU: quant4.cu, dequantize.cu, gather.cu. */
final class CudaWeights {
    private final CudaContext cuda;

    CudaWeights(CudaContext cuda) {
        this.cuda = cuda;
    }

    void quantize4(QuantType type, DeviceBuffer x, long n, int blockSize, DeviceBuffer packed, DeviceBuffer absmax) {
        throw new UnsupportedOperationException();
    }

    void dequantize(Weight w, DeviceBuffer y) {
        throw new UnsupportedOperationException();
    }

    void gatherRows(Weight w, DeviceBuffer index, int m, DeviceBuffer y) {
        throw new UnsupportedOperationException();
    }

    /** The values of a weight, rounded once to a type: its own memory where they stand so already, else scratch memory that the next call of this method takes over. */
    DeviceBuffer dense(Weight w, DType type) {
        throw new UnsupportedOperationException();
    }
}
