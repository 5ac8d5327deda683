package dev.panacea.kernels;

import java.lang.foreign.MemorySegment;

/**
 * Values of ggml's block formats, in the operations and roundings of its {@code dequantize_row_*} (ggml-quants.c). {@code d} is a block's
 * scale and {@code m} its minimum, in half precision; in the K formats a block of 256 has sub-blocks with small integer scales of their own.
 */
public final class GgmlBlocks {
    private static final int CHUNK_BYTES = 1 << 16;
    private static final float[] IQ4_NL_LEVELS = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

    private GgmlBlocks() {}

    /** Values {@code offset} to {@code offset + count} of a tensor of any type whose bytes are {@code data}, to {@code destination[at...]}. */
    public static void decode(GgmlType type, MemorySegment data, long offset, int count, float[] destination, int at) {
        int elements = type.blockElements();
        long block = offset / elements;
        int skip = (int) (offset % elements);
        int done = 0;
        if (count > 0 && (skip > 0 || count < elements)) {
            done = part(type, data, block++, skip, count, destination, at);
        }
        int whole = (count - done) / elements;
        byte[] raw = new byte[Math.min(whole, CHUNK_BYTES / type.blockBytes()) * type.blockBytes()];
        while (whole > 0) {
            int n = Math.min(whole, raw.length / type.blockBytes());
            MemorySegment.copy(data, Elements.U8, block * type.blockBytes(), raw, 0, n * type.blockBytes());
            for (int i = 0; i < n; i++) {
                decodeBlock(type, raw, i * type.blockBytes(), destination, at + done + i * elements);
            }
            block += n;
            whole -= n;
            done += n * elements;
        }
        if (done < count) {
            part(type, data, block, 0, count - done, destination, at + done);
        }
    }

    /** A part of one block: what lies between {@code skip} and its end, at most {@code count}. */
    private static int part(GgmlType type, MemorySegment data, long block, int skip, int count, float[] destination, int at) {
        byte[] raw = new byte[type.blockBytes()];
        float[] values = new float[type.blockElements()];
        MemorySegment.copy(data, Elements.U8, block * raw.length, raw, 0, raw.length);
        decodeBlock(type, raw, 0, values, 0);
        int n = Math.min(count, values.length - skip);
        System.arraycopy(values, skip, destination, at, n);
        return n;
    }

    private static void decodeBlock(GgmlType type, byte[] in, int p, float[] out, int o) {
        switch (type) {
            case Q4_0 -> q40(in, p, out, o);
            case Q4_1 -> q41(in, p, out, o);
            case Q5_0 -> q50(in, p, out, o);
            case Q5_1 -> q51(in, p, out, o);
            case Q8_0 -> q80(in, p, out, o);
            case Q2_K -> q2k(in, p, out, o);
            case Q3_K -> q3k(in, p, out, o);
            case Q4_K -> q4k(in, p, out, o);
            case Q5_K -> q5k(in, p, out, o);
            case Q6_K -> q6k(in, p, out, o);
            case IQ4_NL -> iq4nl(in, p, out, o);
            case F32 -> out[o] = Float.intBitsToFloat(int32(in, p));
            case F16 -> out[o] = half(in, p);
            case BF16 -> out[o] = Float.intBitsToFloat(in[p] << 16 & 0xff0000 | in[p + 1] << 24);
        }
    }

    private static void q40(byte[] in, int p, float[] out, int o) {
        float d = half(in, p);
        for (int j = 0; j < 16; j++) {
            int q = in[p + 2 + j];
            out[o + j] = ((q & 15) - 8) * d;
            out[o + 16 + j] = ((q >> 4 & 15) - 8) * d;
        }
    }

    private static void q41(byte[] in, int p, float[] out, int o) {
        float d = half(in, p);
        float m = half(in, p + 2);
        for (int j = 0; j < 16; j++) {
            int q = in[p + 4 + j];
            out[o + j] = (q & 15) * d + m;
            out[o + 16 + j] = (q >> 4 & 15) * d + m;
        }
    }

    /** The fifth bits of the 32 elements stand in one integer. */
    private static void q50(byte[] in, int p, float[] out, int o) {
        float d = half(in, p);
        int high = int32(in, p + 2);
        for (int j = 0; j < 16; j++) {
            int q = in[p + 6 + j];
            out[o + j] = ((q & 15 | (high >>> j & 1) << 4) - 16) * d;
            out[o + 16 + j] = ((q >> 4 & 15 | (high >>> j + 16 & 1) << 4) - 16) * d;
        }
    }

    private static void q51(byte[] in, int p, float[] out, int o) {
        float d = half(in, p);
        float m = half(in, p + 2);
        int high = int32(in, p + 4);
        for (int j = 0; j < 16; j++) {
            int q = in[p + 8 + j];
            out[o + j] = (q & 15 | (high >>> j & 1) << 4) * d + m;
            out[o + 16 + j] = (q >> 4 & 15 | (high >>> j + 16 & 1) << 4) * d + m;
        }
    }

    private static void q80(byte[] in, int p, float[] out, int o) {
        float d = half(in, p);
        for (int j = 0; j < 32; j++) {
            out[o + j] = in[p + 2 + j] * d;
        }
    }

    private static void iq4nl(byte[] in, int p, float[] out, int o) {
        float d = half(in, p);
        for (int j = 0; j < 16; j++) {
            int q = in[p + 2 + j];
            out[o + j] = d * IQ4_NL_LEVELS[q & 15];
            out[o + 16 + j] = d * IQ4_NL_LEVELS[q >> 4 & 15];
        }
    }

    /** scales[16]: 4 bits scale, 4 bits minimum, per 16 elements; qs[64]; d; dmin. */
    private static void q2k(byte[] in, int p, float[] out, int o) {
        float d = half(in, p + 80);
        float dmin = half(in, p + 82);
        for (int sub = 0; sub < 16; sub++) {
            int scale = in[p + sub];
            float dl = d * (scale & 15);
            float ml = dmin * (scale >> 4 & 15);
            int q = p + 16 + (sub / 8) * 32 + (sub % 2) * 16;
            int shift = sub % 8 / 2 * 2;
            for (int l = 0; l < 16; l++) {
                out[o + sub * 16 + l] = dl * (in[q + l] >> shift & 3) - ml;
            }
        }
    }

    /** hmask[32]: third bits; qs[64]; scales[12]: sixteen of 6 bits, less 32; d. */
    private static void q3k(byte[] in, int p, float[] out, int o) {
        float d = half(in, p + 108);
        int scales = p + 96;
        for (int sub = 0; sub < 16; sub++) {
            int low = in[scales + sub % 8] >> sub / 8 * 4 & 15;
            int high = in[scales + 8 + sub % 4] >> sub / 4 * 2 & 3;
            float dl = d * ((low | high << 4) - 32);
            int half = sub % 2 * 16;
            int q = p + 32 + sub / 8 * 32 + half;
            int shift = sub % 8 / 2 * 2;
            int bit = sub / 2;
            for (int l = 0; l < 16; l++) {
                int third = in[p + half + l] >> bit & 1;
                out[o + sub * 16 + l] = dl * ((in[q + l] >> shift & 3) - (1 - third) * 4);
            }
        }
    }

    /** d; dmin; scales[12]: eight scales and eight minima of 6 bits; qs[128]. */
    private static void q4k(byte[] in, int p, float[] out, int o) {
        float d = half(in, p);
        float dmin = half(in, p + 2);
        for (int sub = 0; sub < 8; sub++) {
            float dl = d * scaleK4(in, p + 4, sub);
            float ml = dmin * minimumK4(in, p + 4, sub);
            int q = p + 16 + sub / 2 * 32;
            int shift = sub % 2 * 4;
            for (int l = 0; l < 32; l++) {
                out[o + sub * 32 + l] = dl * (in[q + l] >> shift & 15) - ml;
            }
        }
    }

    /** As {@link #q4k}, with the fifth bits in qh[32] before qs. */
    private static void q5k(byte[] in, int p, float[] out, int o) {
        float d = half(in, p);
        float dmin = half(in, p + 2);
        for (int sub = 0; sub < 8; sub++) {
            float dl = d * scaleK4(in, p + 4, sub);
            float ml = dmin * minimumK4(in, p + 4, sub);
            int q = p + 48 + sub / 2 * 32;
            int shift = sub % 2 * 4;
            for (int l = 0; l < 32; l++) {
                int high = in[p + 16 + l] >> sub & 1;
                out[o + sub * 32 + l] = dl * ((in[q + l] >> shift & 15) + high * 16) - ml;
            }
        }
    }

    /** ql[128]; qh[64]; scales[16], signed bytes; d. */
    private static void q6k(byte[] in, int p, float[] out, int o) {
        float d = half(in, p + 208);
        for (int sub = 0; sub < 16; sub++) {
            float dl = d * in[p + 192 + sub];
            int half = sub / 8;
            int quarter = sub % 8 / 2;
            int column = sub % 2 * 16;
            int low = p + half * 64 + quarter % 2 * 32 + column;
            int high = p + 128 + half * 32 + column;
            int lowShift = quarter / 2 * 4;
            int highShift = quarter * 2;
            for (int l = 0; l < 16; l++) {
                int q = in[low + l] >> lowShift & 15 | (in[high + l] >> highShift & 3) << 4;
                out[o + sub * 16 + l] = dl * (q - 32);
            }
        }
    }

    private static int scaleK4(byte[] in, int p, int sub) {
        return sub < 4 ? in[p + sub] & 63 : in[p + sub + 4] & 15 | (in[p + sub - 4] >> 6 & 3) << 4;
    }

    private static int minimumK4(byte[] in, int p, int sub) {
        return sub < 4 ? in[p + sub + 4] & 63 : in[p + sub + 4] >> 4 & 15 | (in[p + sub] >> 6 & 3) << 4;
    }

    private static float half(byte[] in, int p) {
        return Float.float16ToFloat((short) (in[p] & 0xff | in[p + 1] << 8));
    }

    private static int int32(byte[] in, int p) {
        return in[p] & 0xff | (in[p + 1] & 0xff) << 8 | (in[p + 2] & 0xff) << 16 | in[p + 3] << 24;
    }
}
