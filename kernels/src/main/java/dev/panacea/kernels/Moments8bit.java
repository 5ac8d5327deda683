package dev.panacea.kernels;

/**
 * Both moments of n parameters in 8 bits, as bitsandbytes' blockwise optimizers keep them: m[i] = mLevels[mCodes[i]] * mAbsmax[i / 256], and v
 * likewise. All zero is a fresh state.
 *
 * @param mCodes U8 [n]
 * @param vCodes U8 [n]
 * @param mAbsmax F32 [ceil(n/256)]
 * @param vAbsmax F32 [ceil(n/256)]
 * @param mLevels F32 [256], ascending: the signed dynamic map
 * @param vLevels F32 [256], ascending: the unsigned dynamic map
 */
public record Moments8bit(DeviceBuffer mCodes, DeviceBuffer vCodes, DeviceBuffer mAbsmax, DeviceBuffer vAbsmax, DeviceBuffer mLevels, DeviceBuffer vLevels) {
    /** Values that share one absmax. */
    public static final int BLOCK = 256;
}
