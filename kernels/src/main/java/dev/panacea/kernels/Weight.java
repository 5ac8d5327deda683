package dev.panacea.kernels;

/** The matrix of a linear layer, {@code W[rows, cols] = [out, in]}, row-major, in one of the formats that the kernels read. */
public sealed interface Weight permits DenseWeight, Q4Weight, BlockWeight {
    /** Output features, N. */
    int rows();

    /** Input features, K. */
    int cols();

    /** Bytes that the weight occupies, scales included. */
    long byteSize();
}
