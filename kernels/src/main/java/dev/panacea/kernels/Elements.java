package dev.panacea.kernels;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;

/**
 * Reads and writes the elements of host buffers for the reference kernels: everything is double between the two, and is rounded once when
 * it is written (to BF16 through F32, as every kernel does).
 */
final class Elements {
    static final ValueLayout.OfFloat F32 = ValueLayout.JAVA_FLOAT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    static final ValueLayout.OfShort BF16 = ValueLayout.JAVA_SHORT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    static final ValueLayout.OfInt I32 = ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    static final ValueLayout.OfLong I64 = ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
    static final ValueLayout.OfByte U8 = ValueLayout.JAVA_BYTE;

    private Elements() {}

    /** Elements {@code from} to {@code from + count} of an F32 or BF16 buffer. */
    static double[] read(DeviceBuffer b, long from, int count) {
        double[] values = new double[count];
        MemorySegment segment = b.host();
        if (b.type() == DType.BF16) {
            short[] bits = new short[count];
            MemorySegment.copy(segment, BF16, from * 2, bits, 0, count);
            for (int i = 0; i < count; i++) {
                values[i] = Bf16.toFloat(bits[i]);
            }
        } else {
            float[] floats = readFloats(b, from, count);
            for (int i = 0; i < count; i++) {
                values[i] = floats[i];
            }
        }
        return values;
    }

    static double[] read(DeviceBuffer b, int count) {
        return read(b, 0, count);
    }

    static float[] readFloats(DeviceBuffer b, long from, int count) {
        float[] values = new float[count];
        MemorySegment.copy(b.host(), F32, from * 4, values, 0, count);
        return values;
    }

    static int[] readInts(DeviceBuffer b, int count) {
        int[] values = new int[count];
        MemorySegment.copy(b.host(), I32, 0, values, 0, count);
        return values;
    }

    /** Writes all values from element {@code from} on; with {@code accumulate}, adds them to what is there before the one rounding. */
    static void write(DeviceBuffer b, long from, double[] values, boolean accumulate) {
        int count = values.length;
        double[] old = accumulate ? read(b, from, count) : new double[0];
        if (b.type() == DType.BF16) {
            short[] bits = new short[count];
            for (int i = 0; i < count; i++) {
                bits[i] = Bf16.fromFloat((float) (accumulate ? old[i] + values[i] : values[i]));
            }
            MemorySegment.copy(bits, 0, b.host(), BF16, from * 2, count);
        } else {
            float[] floats = new float[count];
            for (int i = 0; i < count; i++) {
                floats[i] = (float) (accumulate ? old[i] + values[i] : values[i]);
            }
            MemorySegment.copy(floats, 0, b.host(), F32, from * 4, count);
        }
    }

    /** {@code value} rounded to a type: the explicit rounding points inside an operation. */
    static double round(double value, DType type) {
        return type == DType.BF16 ? Bf16.round((float) value) : (float) value;
    }
}
