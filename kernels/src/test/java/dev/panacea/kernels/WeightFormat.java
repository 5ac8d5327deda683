package dev.panacea.kernels;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Optional;
import java.util.stream.IntStream;

/** The formats of a weight under test: adds the operands of a random one to a case, and makes the weight of a run's buffers. */
enum WeightFormat {
    F32, BF16, NF4, FP4, NF4_NESTED, FP4_NESTED,
    GGML_F32(GgmlType.F32), GGML_F16(GgmlType.F16), GGML_BF16(GgmlType.BF16), Q4_0(GgmlType.Q4_0), Q4_1(GgmlType.Q4_1), Q5_0(GgmlType.Q5_0),
    Q5_1(GgmlType.Q5_1), Q8_0(GgmlType.Q8_0), Q4_K(GgmlType.Q4_K), Q5_K(GgmlType.Q5_K), Q6_K(GgmlType.Q6_K);

    private static final float OFFSET = 0.75f;

    private final Optional<GgmlType> ggml;

    WeightFormat() {
        ggml = Optional.empty();
    }

    WeightFormat(GgmlType type) {
        ggml = Optional.of(type);
    }

    /** The type of a {@link BlockWeight}. */
    Optional<GgmlType> ggml() {
        return ggml;
    }

    boolean isQ4() {
        return ggml.isEmpty() && this != F32 && this != BF16;
    }

    private boolean isNested() {
        return this == NF4_NESTED || this == FP4_NESTED;
    }

    /** Rows of the order of {@code 1 / sqrt(fanIn)}, so that the products are of the order of one. */
    KernelCase add(KernelCase c, int rows, int cols, int blockSize) {
        if (ggml.isPresent()) {
            return c.bytes("w", GgmlContent.random(ggml.get(), c.random(), rows, cols));
        }
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

    /** {@code blockSize} is for codes of 4 bits, {@code pairDim} for {@link #ggml}. */
    Weight of(KernelCase.Buffers b, int rows, int cols, int blockSize, int pairDim) {
        if (ggml.isPresent()) {
            return new BlockWeight(ggml.get(), b.at("w"), rows, cols, pairDim);
        }
        if (!isQ4()) {
            return new DenseWeight(b.at("w"), rows, cols);
        }
        Optional<Q4Weight.Nested> nested = isNested() ? Optional.of(new Q4Weight.Nested(b.at("nestedLevels"), b.at("nestedScale"), OFFSET)) : Optional.empty();
        return new Q4Weight(rows, cols, blockSize, b.at("packed"), b.at("levels"), b.at("absmax"), nested);
    }
}
