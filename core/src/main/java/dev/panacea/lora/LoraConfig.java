package dev.panacea.lora;

import java.util.List;

/**
 * Settings of a LoRA adapter, by PEFT's names.
 *
 * @param r rank
 * @param loraAlpha the update is scaled by {@code loraAlpha / r}, or {@code loraAlpha / sqrt(r)} with {@code useRslora}
 * @param targetModules names of the linear layers, such as {@code q_proj}; see {@link #ALL_LINEAR}
 */
public record LoraConfig(int r, double loraAlpha, List<String> targetModules, boolean useRslora) {
    /** Every linear layer of a Llama but the output embedding: PEFT's {@code "all-linear"}. */
    public static final List<String> ALL_LINEAR = List.of("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj");

    /** @throws IllegalArgumentException naming the setting that is out of its range */
    public LoraConfig {
        targetModules = targetModules.stream().distinct().toList();
        if (r <= 0) {
            throw new IllegalArgumentException("r is " + r + "; it must be positive");
        }
        if (!(loraAlpha > 0) || !Double.isFinite(loraAlpha)) {
            throw new IllegalArgumentException("loraAlpha is " + loraAlpha + "; it must be positive");
        }
        if (targetModules.isEmpty()) {
            throw new IllegalArgumentException("no target modules; for instance " + ALL_LINEAR);
        }
        for (String m : targetModules) {
            if (!ALL_LINEAR.contains(m)) {
                throw new IllegalArgumentException("target module " + m + " is not one of " + ALL_LINEAR);
            }
        }
    }

    /** The factor of the low-rank update. */
    public double scaling() {
        return useRslora ? loraAlpha / Math.sqrt(r) : loraAlpha / r;
    }
}
