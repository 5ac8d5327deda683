package dev.panacea.benchmarks;

import dev.panacea.kernels.BlockWeight;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.DenseWeight;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.DeviceMemory;
import dev.panacea.kernels.GgmlType;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.Q4Weight;
import dev.panacea.kernels.QuantType;
import dev.panacea.kernels.Weight;
import dev.panacea.quant.DoubleQuantization;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.SplittableRandom;

/** Makes the operands of a workload and owns their memory. Values are random: zeros or denormals would not take the time that real ones take. */
final class Operands implements AutoCloseable {
    private static final ValueLayout.OfShort HALF = ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    /** Random values are made once per this many elements, an odd number, and repeated: no code looks further back. */
    private static final int POOL = (1 << 18) + 1;

    private final Kernels kernels;
    private final List<DeviceMemory> owned = new ArrayList<>();
    private final SplittableRandom random = new SplittableRandom(42);
    private final float[] normal = new float[POOL];
    private final byte[] bytes = new byte[POOL];

    Operands(Kernels kernels) {
        this.kernels = kernels;
        Random gaussian = new Random(42);
        for (int i = 0; i < POOL; i++) {
            normal[i] = (float) gaussian.nextGaussian();
        }
        gaussian.nextBytes(bytes);
    }

    Kernels kernels() {
        return kernels;
    }

    /** A buffer whose content does not matter. */
    DeviceBuffer output(DType type, long n) {
        DeviceMemory memory = kernels.allocate(Math.max(64, n * type.bytes()));
        owned.add(memory);
        return memory.view(type, 0, n);
    }

    /** Normally distributed values. */
    DeviceBuffer normal(DType type, long n, float deviation) {
        DeviceBuffer b = output(type, n);
        int different = (int) Math.min(n, POOL);
        float[] scaled = new float[different];
        for (int i = 0; i < different; i++) {
            scaled[i] = normal[i] * deviation;
        }
        if (type == DType.F32) {
            fill(b, MemorySegment.ofArray(scaled));
        } else {
            short[] halves = new short[different];
            for (int i = 0; i < different; i++) {
                halves[i] = (short) (Float.floatToIntBits(scaled[i]) + 0x8000 >>> 16);
            }
            fill(b, MemorySegment.ofArray(halves));
        }
        return b;
    }

    /** As {@link #normal}, but none negative: second moments. */
    DeviceBuffer squares(long n) {
        DeviceBuffer b = output(DType.F32, n);
        float[] squares = new float[POOL];
        for (int i = 0; i < POOL; i++) {
            squares[i] = normal[i] * normal[i] + 1e-6f;
        }
        fill(b, MemorySegment.ofArray(squares));
        return b;
    }

    DeviceBuffer ints(int... values) {
        DeviceBuffer b = output(DType.I32, values.length);
        kernels.upload(MemorySegment.ofArray(values), b);
        return b;
    }

    DeviceBuffer floats(float... values) {
        DeviceBuffer b = output(DType.F32, values.length);
        kernels.upload(MemorySegment.ofArray(values), b);
        return b;
    }

    /** {@code n} numbers from 0 to {@code limit - 1}. */
    DeviceBuffer indices(int n, int limit) {
        return ints(random.ints(n, 0, limit).toArray());
    }

    /** W[n, k] with values of a deviation of a few hundredths, as a model's. */
    Weight weight(WeightFormat format, int n, int k) {
        return switch (format) {
            case F32 -> new DenseWeight(normal(DType.F32, (long) n * k, 0.04f), n, k);
            case BF16 -> new DenseWeight(normal(DType.BF16, (long) n * k, 0.04f), n, k);
            case NF4 -> nf4(n, k);
            default -> blocks(format.ggml(), n, k);
        };
    }

    private Weight nf4(int n, int k) {
        long elements = (long) n * k;
        long scales = Math.ceilDiv(elements, 64L);
        DeviceBuffer packed = random(Math.ceilDiv(elements, 2L));
        DeviceBuffer codes = random(scales);
        DeviceBuffer nestedScales = output(DType.F32, Math.ceilDiv(scales, (long) Q4Weight.NESTED_BLOCK));
        fill(nestedScales, MemorySegment.ofArray(new float[] {0.02f, 0.021f, 0.019f}));
        Q4Weight.Nested nested = new Q4Weight.Nested(floats(DoubleQuantization.levels()), nestedScales, 0.05f);
        return new Q4Weight(n, k, 64, packed, floats(QuantType.NF4.levels()), codes, Optional.of(nested));
    }

    /** Random codes; the half-precision scales of each block are set to small numbers, as random bits could be infinite. */
    private Weight blocks(GgmlType type, int n, int k) {
        long row = type.byteSize(k);
        DeviceBuffer data = random(row * n);
        int block = type.blockBytes();
        int[] scales = switch (type) {
            case Q4_0, Q5_0, Q8_0 -> new int[] {0};
            case Q4_1, Q5_1, Q4_K, Q5_K -> new int[] {0, 2};
            case Q6_K -> new int[] {block - 2};
            default -> throw new IllegalArgumentException("no benchmark of " + type);
        };
        byte[] content = new byte[Math.toIntExact(data.byteSize())];
        kernels.download(data, MemorySegment.ofArray(content));
        MemorySegment s = MemorySegment.ofArray(content);
        for (long at = 0; at < s.byteSize(); at += block) {
            for (int offset : scales) {
                s.set(HALF, at + offset, Float.floatToFloat16(0.001f * (1 + random.nextInt(8))));
            }
        }
        kernels.upload(s, data);
        return new BlockWeight(type, data, n, k, 0);
    }

    /** Random bytes. */
    DeviceBuffer random(long n) {
        DeviceBuffer b = output(DType.U8, n);
        fill(b, MemorySegment.ofArray(bytes));
        return b;
    }

    private void fill(DeviceBuffer b, MemorySegment values) {
        long piece = values.byteSize() / b.type().bytes();
        for (long at = 0; at < b.length(); at += piece) {
            kernels.upload(values, b.slice(at, Math.min(piece, b.length() - at)));
        }
    }

    @Override
    public void close() {
        owned.forEach(DeviceMemory::close);
        owned.clear();
    }
}
