package dev.panacea.quant;

import dev.panacea.kernels.DynamicMap;

/**
 * The second quantization of QLoRA: the absmax of the 4-bit blocks, less their mean, in 8 bits over bitsandbytes' signed dynamic map, in
 * blocks of 256. Map and codes are those of bitsandbytes' CPU library, to the bit: a value goes to the nearest level by way of 65,536 equal bins of
 * [-1, 1], so beside a midpoint its code may differ by one from what the CUDA library chooses.
 *
 * @param codes one per absmax
 * @param scale largest magnitude of each 256
 * @param offset mean of all absmax
 */
public record DoubleQuantization(byte[] codes, float[] scale, float offset) {
    private static final int BLOCK = 256;
    private static final int BINS = 65536;
    private static final float[] LEVELS = DynamicMap.SIGNED.levels();
    private static final byte[] CODE_OF_BIN = codeOfBin();

    /** The 256 values of {@link DynamicMap#SIGNED}. */
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
                float x = Math.clamp((absmax[i] - offset) * inverse, -1f, 1f);
                codes[i] = CODE_OF_BIN[(int) ((x + 1) * 0.5f * (BINS - 1) + 0.5f)];
            }
        }
        return new DoubleQuantization(codes, scale, offset);
    }

    private static byte[] codeOfBin() {
        byte[] codes = new byte[BINS];
        for (int bin = 0; bin < BINS; bin++) {
            codes[bin] = (byte) nearest(bin / (double) (BINS - 1) * 2 - 1);
        }
        return codes;
    }

    private static int nearest(double x) {
        int best = 0;
        for (int i = 1; i < LEVELS.length; i++) {
            if (Math.abs(LEVELS[i] - x) < Math.abs(LEVELS[best] - x)) {
                best = i;
            }
        }
        return best;
    }
}
