package dev.panacea.kernels;

import java.util.Arrays;

/**
 * The 8-bit maps of bitsandbytes ({@code create_dynamic_map}): finer towards 1 and, decade by decade, coarser towards 0. For i = 0 … 6, 10^(i-6)
 * times the midpoints of equal parts of [0.1, 1]; and 0 and 1.
 */
public enum DynamicMap {
    /** 2^i parts in decade i, with both signs: from -0.99297 to 1. */
    SIGNED(true),
    /** 2^(i+1) parts in decade i: from 0 to 1. */
    UNSIGNED(false);

    private final float[] levels;

    DynamicMap(boolean signed) {
        levels = make(signed);
    }

    /** The 256 values in single precision, ascending, to the bit as bitsandbytes has them. */
    public float[] levels() {
        return levels.clone();
    }

    private static float[] make(boolean signed) {
        float[] map = new float[256];
        int n = 0;
        for (int i = 0; i < 7; i++) {
            int parts = signed ? 1 << i : 2 << i;
            float scale = (float) Math.pow(10, i - 6);
            float[] ends = equalParts(parts);
            for (int j = 0; j < parts; j++) {
                float value = scale * ((ends[j] + ends[j + 1]) / 2);
                map[n++] = value;
                if (signed) {
                    map[n++] = -value;
                }
            }
        }
        map[n++] = 0;
        map[n] = 1;
        Arrays.sort(map);
        return map;
    }

    /** torch.linspace(0.1, 1, parts + 1) in single precision, which counts the upper half from the end. */
    private static float[] equalParts(int parts) {
        float step = (1 - 0.1f) / parts;
        float[] ends = new float[parts + 1];
        for (int i = 0; i <= parts; i++) {
            ends[i] = i < (parts + 1) / 2 ? Math.fma(step, i, 0.1f) : Math.fma(-step, parts - i, 1);
        }
        return ends;
    }
}
