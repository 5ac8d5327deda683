package dev.panacea.kernels;

import java.lang.foreign.MemorySegment;

/**
 * The definition of 8-bit AdamW, block by block, in single precision with every operation rounded by itself: since a code jumps where a moment
 * crosses the middle of two levels, other backends are to agree in every bit.
 */
final class ReferenceAdamW8bit {
    private final Moments8bit moments;
    private final AdamWStep step;
    private final float[] mLevels;
    private final float[] vLevels;
    private final float stepSize;
    private final float eps;
    private final float keep;
    private final float rest1;
    private final float rest2;

    ReferenceAdamW8bit(Moments8bit moments, AdamWStep step) {
        this.moments = moments;
        this.step = step;
        this.mLevels = Elements.readFloats(moments.mLevels(), 0, 256);
        this.vLevels = Elements.readFloats(moments.vLevels(), 0, 256);
        double correction1 = 1 - power(step.beta1(), step.step());
        double correction2 = Math.sqrt(1 - power(step.beta2(), step.step()));
        // lr (m/c1) / (sqrt(v)/c2 + eps) = (lr c2/c1) m / (sqrt(v) + c2 eps)
        this.stepSize = (float) ((double) step.learningRate() * correction2 / correction1);
        this.eps = (float) (correction2 * step.eps());
        this.keep = (float) (1 - (double) step.learningRate() * step.weightDecay());
        this.rest1 = (float) (1.0 - step.beta1());
        this.rest2 = (float) (1.0 - step.beta2());
    }

    /** By squaring: Math.pow may differ in the last bit from one machine to the next, and the factors of an update must not. */
    static double power(double base, long exponent) {
        double result = 1;
        double factor = base;
        for (long e = exponent; e > 0; e >>= 1) {
            if ((e & 1) == 1) {
                result *= factor;
            }
            factor *= factor;
        }
        return result;
    }

    void update(DeviceBuffer p, DeviceBuffer g, long n) {
        for (long from = 0; from < n; from += Moments8bit.BLOCK) {
            int count = (int) Math.min(Moments8bit.BLOCK, n - from);
            float[] parameter = Elements.readFloats(p, from, count);
            float[] gradient = Elements.readFloats(g, from, count);
            float[] m = decode(moments.mCodes(), moments.mAbsmax(), mLevels, from, count);
            float[] v = decode(moments.vCodes(), moments.vAbsmax(), vLevels, from, count);
            for (int i = 0; i < count; i++) {
                float h = gradient[i] * step.gradScale();
                if (!Float.isFinite(h * h)) {
                    m[i] = 0;
                    v[i] = 0;
                    continue;
                }
                m[i] = step.beta1() * m[i] + rest1 * h;
                v[i] = step.beta2() * v[i] + rest2 * (h * h);
                parameter[i] = (parameter[i] - stepSize * (m[i] / ((float) Math.sqrt(v[i]) + eps))) * keep;
            }
            MemorySegment.copy(parameter, 0, p.host(), Elements.F32, from * 4, count);
            encode(m, moments.mCodes(), moments.mAbsmax(), mLevels, from);
            encode(v, moments.vCodes(), moments.vAbsmax(), vLevels, from);
        }
    }

    private static float[] decode(DeviceBuffer codes, DeviceBuffer absmax, float[] levels, long from, int count) {
        float scale = Elements.readFloats(absmax, from / Moments8bit.BLOCK, 1)[0];
        float[] values = new float[count];
        for (int i = 0; i < count; i++) {
            values[i] = levels[codes.host().get(Elements.U8, from + i) & 0xFF] * scale;
        }
        return values;
    }

    private static void encode(float[] values, DeviceBuffer codes, DeviceBuffer absmax, float[] levels, long from) {
        float largest = 0;
        for (float value : values) {
            largest = Math.max(largest, Math.abs(value));
        }
        absmax.host().set(Elements.F32, from / Moments8bit.BLOCK * 4, largest);
        float inverse = largest >= Float.MIN_NORMAL ? 1 / largest : 0;
        for (int i = 0; i < values.length; i++) {
            codes.host().set(Elements.U8, from + i, (byte) code(levels, values[i] * inverse));
        }
    }

    /** The nearest level, of two equally near the even one, that has the sign of {@code x}. */
    private static int code(float[] levels, float x) {
        int code = 0;
        while (code < 255 && isBeyondMiddle(levels, code, x)) {
            code++;
        }
        boolean negative = Float.floatToRawIntBits(x) < 0;
        if (negative && levels[code] >= 0 && code > 0) {
            return code - 1;
        }
        return !negative && levels[code] < 0 && code < 255 ? code + 1 : code;
    }

    private static boolean isBeyondMiddle(float[] levels, int code, float x) {
        float middle = (levels[code] + levels[code + 1]) * 0.5f;
        return code % 2 == 0 ? x > middle : x >= middle;
    }
}
