package dev.panacea.kernels;

/** Conversions between bfloat16 (the upper half of a single-precision number) and float. */
public final class Bf16 {
    private Bf16() {}

    public static float toFloat(short bits) {
        return Float.intBitsToFloat(bits << 16);
    }

    /** Rounds to nearest, ties to even; a NaN stays a (quiet) NaN. */
    public static short fromFloat(float value) {
        int bits = Float.floatToRawIntBits(value);
        if (Float.isNaN(value)) {
            return (short) (bits >>> 16 | 0x40);
        }
        return (short) (bits + 0x7FFF + (bits >>> 16 & 1) >>> 16);
    }

    /** The bfloat16 value nearest to {@code value}. */
    public static float round(float value) {
        return toFloat(fromFloat(value));
    }
}
