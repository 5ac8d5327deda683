package dev.panacea.kernels;

import dev.panacea.bindings.generated.PanaceaCpu;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;

/** From buffers to the arguments of native calls, and the checks of what native code would have to trust. */
final class CpuBuffers {
    private CpuBuffers() {}

    /** The memory of an argument that is read. */
    static MemorySegment in(String name, DeviceBuffer b) {
        MemorySegment segment = b.hostSegment().orElseThrow(() -> new IllegalArgumentException(name + " is in the memory of a device; the CPU kernels cannot reach it"));
        if (!segment.isNative()) {
            throw new IllegalArgumentException(name + " is on the Java heap, where native kernels cannot reach it; allocate it with Kernels.allocate");
        }
        return segment;
    }

    /** The memory of an argument that is written: a mapped file may be read-only. */
    static MemorySegment out(String name, DeviceBuffer b) {
        MemorySegment segment = in(name, b);
        if (segment.isReadOnly()) {
            throw new IllegalArgumentException(name + " is read-only memory and would be written");
        }
        return segment;
    }

    static int type(DeviceBuffer activation) {
        return activation.type() == DType.F32 ? PanaceaCpu.PAN_F32() : PanaceaCpu.PAN_BF16();
    }

    /** The product of dimensions, none of which may be negative. */
    static long elements(long... dimensions) {
        long n = 1;
        for (long d : dimensions) {
            if (d < 0) {
                throw new IllegalArgumentException("a dimension is " + d + ", it must not be negative");
            }
            if (d != 0 && n > Long.MAX_VALUE / d) {
                throw new IllegalArgumentException("dimensions " + Arrays.toString(dimensions) + " are more elements than there can be");
            }
            n *= d;
        }
        return n;
    }

    /** Rows that the sequences of an attention reach, from 0. */
    record Rows(long queries, long keys) {}

    /** Checks the table of sequences, which the kernels follow without looking, and returns how far it reaches. */
    static Rows rows(DeviceBuffer sequences, int count) {
        Checks.typed("sequences", sequences, DType.I32, elements(count, 4));
        MemorySegment table = in("sequences", sequences);
        long queries = 0;
        long keys = 0;
        for (long i = 0; i < count; i++) {
            int query = table.getAtIndex(ValueLayout.JAVA_INT_UNALIGNED, 4 * i);
            int queryRows = table.getAtIndex(ValueLayout.JAVA_INT_UNALIGNED, 4 * i + 1);
            int key = table.getAtIndex(ValueLayout.JAVA_INT_UNALIGNED, 4 * i + 2);
            int keyRows = table.getAtIndex(ValueLayout.JAVA_INT_UNALIGNED, 4 * i + 3);
            if (query < 0 || queryRows < 0 || key < 0 || keyRows < queryRows) {
                throw new IllegalArgumentException("sequence " + i + " has queries from row " + query + " (" + queryRows + ") and keys from row " + key + " (" + keyRows
                        + "): none may be negative, and there must be at least as many keys as queries");
            }
            queries = Math.max(queries, (long) query + queryRows);
            keys = Math.max(keys, (long) key + keyRows);
        }
        return new Rows(queries, keys);
    }
}
