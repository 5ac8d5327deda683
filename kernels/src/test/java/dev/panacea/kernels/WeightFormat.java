package dev.panacea.kernels;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Optional;
import java.util.stream.IntStream;

/** The formats of a weight under test: adds the operands of a random one to a case, and makes the weight of a run's buffers. */
enum WeightFormat {
    F32, BF16, NF4, FP4, NF4_NESTED, FP4_NESTED;

    private static final float OFFSET = 0.75f;

    boolean isQ4() {
        return this != F32 && this != BF16;
    }

    private boolean isNested() {
        return this == NF4_NESTED || this == FP4_NESTED;
    }

    /** Rows of the order of {@code 1 / sqrt(fanIn)}, so that the products are of the order of one. */
    KernelCase add(KernelCase c, int rows, int cols, int blockSize) {
        double[] values = KernelCase.random(c.random(), (long) rows * cols, 1 / Math.sqrt(cols));
        if (!isQ4()) {
            return c.in("w", DType.valueOf(name()), values);
        }
        QuantType type = name().startsWith("NF4") ? QuantType.NF4 : QuantType.FP4;
        int n = values.length;
        int blocks = Math.ceilDiv(n, blockSize);
        byte[] packed = new byte[Math.ceilDiv(n, 2)];
        byte[] absmax = new byte[4 * blocks];
        new ReferenceKernels().quantize4(type, DeviceBuffer.ofHost(DType.F32, MemorySegment.ofArray(KernelCase.content(DType.F32, values))), n, blockSize,
                DeviceBuffer.ofHost(DType.U8, MemorySegment.ofArray(packed)), DeviceBuffer.ofHost(DType.F32, MemorySegment.ofArray(absmax)));
        c.bytes("packed", packed).in("levels", DType.F32, IntStream.range(0, 16).mapToDouble(i -> type.levels()[i]).toArray());
        if (!isNested()) {
            return c.in("absmax", DType.F32, KernelCase.values(DType.F32, absmax));
        }
        // Any map of 256 levels will do for arithmetic; those of bitsandbytes are in the golden cases.
        byte[] codes = new byte[blocks];
        c.random().nextBytes(codes);
        double[] scales = new double[Math.ceilDiv(blocks, Q4Weight.NESTED_BLOCK)];
        Arrays.setAll(scales, i -> 0.1 + 0.4 * c.random().nextDouble());
        return c.bytes("absmax", codes).in("nestedLevels", DType.F32, IntStream.range(0, 256).mapToDouble(i -> (i - 127) / 128.0).toArray()).in("nestedScale", DType.F32, scales);
    }

    Weight of(KernelCase.Buffers b, int rows, int cols, int blockSize) {
        if (!isQ4()) {
            return new DenseWeight(b.at("w"), rows, cols);
        }
        Optional<Q4Weight.Nested> nested = isNested() ? Optional.of(new Q4Weight.Nested(b.at("nestedLevels"), b.at("nestedScale"), OFFSET)) : Optional.empty();
        return new Q4Weight(rows, cols, blockSize, b.at("packed"), b.at("levels"), b.at("absmax"), nested);
    }
}
