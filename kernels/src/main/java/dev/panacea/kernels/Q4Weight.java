package dev.panacea.kernels;

import java.util.Optional;

/**
 * A weight in 4-bit codes, byte for byte as bitsandbytes stores it: the flattened matrix is cut into blocks of {@code blockSize} elements
 * (running across row ends), each with the largest magnitude as its scale; element 2j is in the high nibble of byte j, 2j + 1 in the low
 * one. A value is {@code levels[code] * absmax[block]} in single precision, rounded once to the type asked for.
 *
 * @param packed U8, {@code (rows * cols + 1) / 2} bytes
 * @param levels F32, the 16 values of the codes ({@link QuantType#levels()})
 * @param absmax F32, one per block; or U8 codes when {@code nested} is present
 * @param nested the second quantization, of the absmax themselves
 */
public record Q4Weight(int rows, int cols, int blockSize, DeviceBuffer packed, DeviceBuffer levels, DeviceBuffer absmax, Optional<Nested> nested) implements Weight {

    /** Scales per value of the second quantization. */
    public static final int NESTED_BLOCK = 256;

    /**
     * Double quantization: {@code absmax[i] = levels[code[i]] * scale[i / 256] + offset}.
     *
     * @param levels F32, 256 values
     * @param scale F32, one per 256 blocks
     */
    public record Nested(DeviceBuffer levels, DeviceBuffer scale, float offset) {}

    public Q4Weight {
        checkBlockSize(blockSize);
        long elements = (long) rows * cols;
        long blocks = (elements + blockSize - 1) / blockSize;
        Checks.typed("packed", packed, DType.U8, (elements + 1) / 2);
        Checks.typed("levels", levels, DType.F32, 16);
        Checks.typed("absmax", absmax, nested.isPresent() ? DType.U8 : DType.F32, blocks);
        nested.ifPresent(n -> {
            Checks.typed("nested levels", n.levels(), DType.F32, 256);
            Checks.typed("nested scale", n.scale(), DType.F32, (blocks + NESTED_BLOCK - 1) / NESTED_BLOCK);
        });
    }

    static void checkBlockSize(int blockSize) {
        if (blockSize < 32 || blockSize > 4096 || Integer.bitCount(blockSize) != 1) {
            throw new IllegalArgumentException("block size " + blockSize + ": it must be a power of two from 32 to 4096");
        }
    }

    @Override
    public long byteSize() {
        return packed.byteSize() + absmax.byteSize() + nested.map(n -> n.scale().byteSize()).orElse(0L);
    }
}
