package dev.panacea.kernels;

/** The two 4-bit code tables of bitsandbytes. */
public enum QuantType {
    /** NormalFloat: levels at quantiles of a normal distribution (QLoRA, Dettmers et al. 2023). */
    NF4(new float[] {
        -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f, -0.18477343022823334f,
        -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
        0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f}),
    /** A 4-bit float: sign, and a magnitude of twelfths; both zeros are positive. */
    FP4(new float[] {
        0f, 0.0625f / 12f, 8f / 12f, 12f / 12f, 4f / 12f, 6f / 12f, 2f / 12f, 3f / 12f,
        0f, -0.0625f / 12f, -8f / 12f, -12f / 12f, -4f / 12f, -6f / 12f, -2f / 12f, -3f / 12f});

    private final float[] levels;

    QuantType(float[] levels) {
        this.levels = levels;
    }

    /** The 16 values by code. */
    public float[] levels() {
        return levels.clone();
    }

    /** The name in file formats: {@code nf4} or {@code fp4}. */
    public String id() {
        return name().toLowerCase(java.util.Locale.ROOT);
    }
}
