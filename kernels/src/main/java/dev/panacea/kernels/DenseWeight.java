package dev.panacea.kernels;

/**
 * A weight stored as it is.
 *
 * @param data F32 or BF16, {@code rows * cols} elements
 */
public record DenseWeight(DeviceBuffer data, int rows, int cols) implements Weight {
    public DenseWeight {
        if (data.type() != DType.F32 && data.type() != DType.BF16) {
            throw new IllegalArgumentException("a dense weight is F32 or BF16, not " + data.type());
        }
        Checks.length("weight data", data, (long) rows * cols);
    }

    @Override
    public long byteSize() {
        return data.byteSize();
    }
}
