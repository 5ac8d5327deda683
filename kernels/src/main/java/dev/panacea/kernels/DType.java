package dev.panacea.kernels;

/** Type of the elements of a {@link DeviceBuffer}. Little-endian everywhere. */
public enum DType {
    /** IEEE 754 single precision. */
    F32(4),
    /** bfloat16: the upper half of an F32, rounded to nearest even. */
    BF16(2),
    /** 32-bit signed integers: token ids, positions, row numbers. */
    I32(4),
    /** Bytes: packed 4-bit codes, quantized scales. */
    U8(1);

    private final int bytes;

    DType(int bytes) {
        this.bytes = bytes;
    }

    /** Bytes of one element. */
    public int bytes() {
        return bytes;
    }
}
