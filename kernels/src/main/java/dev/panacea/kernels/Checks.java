package dev.panacea.kernels;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Comparator;

/** Argument checks shared by the backends: every buffer's type and length is compared with the shapes before memory is touched. */
final class Checks {
    private Checks() {}

    static void length(String name, DeviceBuffer b, long expected) {
        b.requireOpen(name);
        if (b.length() < expected) {
            throw new IllegalArgumentException(name + " has " + b.length() + " elements, " + expected + " are needed");
        }
    }

    static void typed(String name, DeviceBuffer b, DType type, long expected) {
        if (b.type() != type) {
            throw new IllegalArgumentException(name + " is " + b.type() + ", " + type + " is needed");
        }
        length(name, b, expected);
    }

    /** Activations: F32 or BF16. */
    static void activation(String name, DeviceBuffer b, long expected) {
        if (b.type() != DType.F32 && b.type() != DType.BF16) {
            throw new IllegalArgumentException(name + " is " + b.type() + ", F32 or BF16 is needed");
        }
        length(name, b, expected);
    }

    /** Activations that have to be of the type of another buffer of the same call. */
    static void sameType(String name, DeviceBuffer b, DType type, long expected) {
        activation(name, b, expected);
        typed(name, b, type, expected);
    }

    static void positive(String name, long value) {
        if (value <= 0) {
            throw new IllegalArgumentException(name + " is " + value + ", it must be positive");
        }
    }

    static void notNegative(String name, long value) {
        if (value < 0) {
            throw new IllegalArgumentException(name + " is " + value + ", it must not be negative");
        }
    }

    /** The number of elements of a shape, none of whose dimensions may be negative. */
    static long elements(long... shape) {
        long elements = 1;
        for (long dimension : shape) {
            notNegative("a dimension", dimension);
            if (dimension != 0 && elements > Long.MAX_VALUE / dimension) {
                throw new IllegalArgumentException("the shape " + Arrays.toString(shape) + " has more elements than there can be");
            }
            elements *= dimension;
        }
        return elements;
    }

    static void headDim(int headDim) {
        if (headDim <= 0 || headDim % 2 != 0) {
            throw new IllegalArgumentException("headDim is " + headDim + ", it must be positive and even");
        }
    }

    /** The factors of a layer W[rows, cols]. */
    static void lora(Weight w, Lora lora) {
        typed("lora A", lora.a(), DType.F32, elements(lora.rank(), w.cols()));
        typed("lora B", lora.b(), DType.F32, elements(w.rows(), lora.rank()));
    }

    /** The first {@code count} numbers of a host buffer, each of which must be within [0, limit). */
    static int[] indices(String name, DeviceBuffer b, int count, long limit) {
        typed(name, b, DType.I32, elements(count));
        int[] values = Elements.readInts(b, count);
        for (int i = 0; i < count; i++) {
            if (values[i] < 0 || values[i] >= limit) {
                throw new IllegalArgumentException(name + "[" + i + "] is " + values[i] + ", it must be within 0 and " + (limit - 1));
            }
        }
        return values;
    }

    /**
     * The table of an attention's sequences, four numbers each, in a host buffer.
     *
     * @param queryRows rows of q, out and lse that there are
     * @param keyRows rows of k and v that there are
     */
    static int[] sequences(DeviceBuffer b, int count, long queryRows, long keyRows) {
        typed("sequences", b, DType.I32, elements(count, 4));
        int[] table = Elements.readInts(b, Math.multiplyExact(count, 4));
        for (int i = 0; i < count; i++) {
            int[] s = Arrays.copyOfRange(table, 4 * i, 4 * i + 4);
            if (s[0] < 0 || s[1] < 0 || s[2] < 0 || s[3] < s[1]) {
                throw new IllegalArgumentException("sequence " + i + " is " + Arrays.toString(s)
                        + " (first query, queries, first key, keys): none may be negative, and there must be at least as many keys as queries");
            }
            if ((long) s[0] + s[1] > queryRows || (long) s[2] + s[3] > keyRows) {
                throw new IllegalArgumentException("sequence " + i + " is " + Arrays.toString(s) + " (first query, queries, first key, keys), but there are only "
                        + queryRows + " query and " + keyRows + " key rows");
            }
        }
        return table;
    }

    /** Rows that are written must belong to one sequence only. {@code column} is 0 for the query rows and 2 for the key rows. */
    static void disjoint(int[] sequences, int column) {
        int[][] ranges = new int[sequences.length / 4][];
        Arrays.setAll(ranges, i -> new int[] {sequences[4 * i + column], sequences[4 * i + column + 1]});
        int[][] sorted = Arrays.stream(ranges).filter(r -> r[1] > 0).sorted(Comparator.comparingInt(r -> r[0])).toArray(int[][]::new);
        for (int i = 1; i < sorted.length; i++) {
            if (sorted[i][0] < sorted[i - 1][0] + sorted[i - 1][1]) {
                throw new IllegalArgumentException((column == 0 ? "query" : "key") + " row " + sorted[i][0] + " belongs to two sequences");
            }
        }
    }

    /** The buffers of an attention; returns its table of sequences. */
    static int[] attention(DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer out, DeviceBuffer lse, DeviceBuffer sequences, int count, AttentionShape shape) {
        activation("q", q, 0);
        sameType("k", k, q.type(), 0);
        sameType("v", v, q.type(), 0);
        sameType("out", out, q.type(), 0);
        typed("lse", lse, DType.F32, 0);
        long queryWidth = elements(shape.heads(), shape.headDim());
        long keyWidth = elements(shape.kvHeads(), shape.headDim());
        long queryRows = Math.min(Math.min(q.length(), out.length()) / queryWidth, lse.length() / shape.heads());
        int[] table = sequences(sequences, count, queryRows, Math.min(k.length(), v.length()) / keyWidth);
        disjoint(table, 0);
        return table;
    }

    /** The further buffers of the gradient of an attention with this table of sequences. */
    static void attentionGradient(int[] table, AttentionShape shape, DType type, DeviceBuffer dout, DeviceBuffer dq, DeviceBuffer dk, DeviceBuffer dv) {
        disjoint(table, 2);
        long queryRows = 0;
        long keyRows = 0;
        for (int i = 0; i < table.length; i += 4) {
            queryRows = Math.max(queryRows, (long) table[i] + table[i + 1]);
            keyRows = Math.max(keyRows, (long) table[i + 2] + table[i + 3]);
        }
        sameType("dout", dout, type, elements(queryRows, shape.heads(), shape.headDim()));
        sameType("dq", dq, type, elements(queryRows, shape.heads(), shape.headDim()));
        sameType("dk", dk, type, elements(keyRows, shape.kvHeads(), shape.headDim()));
        sameType("dv", dv, type, elements(keyRows, shape.kvHeads(), shape.headDim()));
    }

    /** Host memory at the other end of an upload or download. */
    static void hostBytes(MemorySegment host, DeviceBuffer b) {
        b.requireOpen("the buffer");
        if (host.byteSize() < b.byteSize()) {
            throw new IllegalArgumentException("the host memory has " + host.byteSize() + " bytes, " + b.byteSize() + " are needed");
        }
    }

    /** The operands of an 8-bit AdamW. */
    static void adamW8bit(DeviceBuffer p, DeviceBuffer g, Moments8bit moments, long n, AdamWStep step) {
        positive("step", step.step());
        typed("p", p, DType.F32, elements(n));
        typed("g", g, DType.F32, n);
        typed("mCodes", moments.mCodes(), DType.U8, n);
        typed("vCodes", moments.vCodes(), DType.U8, n);
        long blocks = (n + Moments8bit.BLOCK - 1) / Moments8bit.BLOCK;
        typed("mAbsmax", moments.mAbsmax(), DType.F32, blocks);
        typed("vAbsmax", moments.vAbsmax(), DType.F32, blocks);
        typed("mLevels", moments.mLevels(), DType.F32, 256);
        typed("vLevels", moments.vLevels(), DType.F32, 256);
    }
}
