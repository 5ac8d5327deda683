package dev.panacea.quant;

import java.util.Arrays;

/**
 * The second quantization of QLoRA: the absmax of the 4-bit blocks, less their mean, in 8 bits over bitsandbytes' signed dynamic map, in
 * blocks of 256.
 *
 * @param codes one per absmax
 * @param scale largest magnitude of each 256
 * @param offset mean of all absmax
 */
public record DoubleQuantization(byte[] codes, float[] scale, float offset) {
    private static final int BLOCK = 256;
    private static final float[] LEVELS = dynamicMap();

    /** The 256 values of the map, ascending: for i = 0 … 6, ±10^(i-6) times the midpoints of 2^i equal parts of [0.1, 1]; and 0 and 1. */
    public static float[] levels() {
        return LEVELS.clone();
    }

    /** Quantizes the absmax of one weight. */
    public static DoubleQuantization of(float[] absmax) {
        double sum = 0;
        for (float a : absmax) {
            sum += a;
        }
        float offset = absmax.length == 0 ? 0 : (float) (sum / absmax.length);
        byte[] codes = new byte[absmax.length];
        float[] scale = new float[(absmax.length + BLOCK - 1) / BLOCK];
        for (int b = 0; b < scale.length; b++) {
            int from = b * BLOCK;
            int to = Math.min(absmax.length, from + BLOCK);
            float max = 0;
            for (int i = from; i < to; i++) {
                max = Math.max(max, Math.abs(absmax[i] - offset));
            }
            scale[b] = max;
            float inverse = max == 0 ? 0 : 1 / max;
            for (int i = from; i < to; i++) {
                codes[i] = (byte) nearest((absmax[i] - offset) * inverse);
            }
        }
        return new DoubleQuantization(codes, scale, offset);
    }

    private static int nearest(float x) {
        int at = Arrays.binarySearch(LEVELS, x);
        if (at >= 0) {
            return at;
        }
        int above = -at - 1;
        if (above == 0) {
            return 0;
        }
        if (above == LEVELS.length) {
            return LEVELS.length - 1;
        }
        return x - LEVELS[above - 1] <= LEVELS[above] - x ? above - 1 : above;
    }

    private static float[] dynamicMap() {
        float[] map = new float[256];
        int n = 0;
        for (int i = 0; i < 7; i++) {
            int parts = 1 << i;
            double scale = Math.pow(10, i - 6);
            for (int j = 0; j < parts; j++) {
                double midpoint = 0.1 + 0.9 * (j + 0.5) / parts;
                map[n++] = (float) (scale * midpoint);
                map[n++] = (float) (-scale * midpoint);
            }
        }
        map[n++] = 0;
        map[n] = 1;
        Arrays.sort(map);
        return map;
    }
}
