package dev.panacea.kernels;

import dev.panacea.bindings.Setting;
import dev.panacea.bindings.generated.PanaceaCpu;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;

/** The instruction sets that the CPU kernels are compiled for, each containing the ones before it. */
public enum CpuTier {
    /** Plain C++, for any 64-bit CPU. */
    PORTABLE("portable"),
    /** AVX2 and FMA: Intel since 2013, AMD since 2017. */
    AVX2("AVX2"),
    /** AVX-512 F, BW, VL, DQ, CD: Intel servers since 2017, AMD since Zen 4. */
    AVX512("AVX-512"),
    /** AVX-512 with products of bfloat16: AMD since Zen 4; Intel has it too, but executes it slower than single precision. */
    AVX512BF16("AVX-512-BF16");

    private static final Setting CAP = new Setting("panacea.cpu.tier", "PANACEA_CPU_TIER");

    private final String label;

    CpuTier(String label) {
        this.label = label;
    }

    /**
     * The fastest tier for this CPU, not above the one that {@code -Dpanacea.cpu.tier} or {@code PANACEA_CPU_TIER} names: the highest that
     * it executes well, which need not be the highest that it has.
     *
     * @throws PanaceaException if the setting names no tier, or there is no native library
     */
    public static CpuTier best() {
        CpuLibrary.load();
        CpuTier best = of(PanaceaCpu.pan_best_tier());
        return CAP.read().map(CpuTier::parse).filter(cap -> cap.compareTo(best) < 0).orElse(best);
    }

    /**
     * The tiers that this CPU and operating system can run, slowest first.
     *
     * @throws PanaceaException if there is no native library
     */
    public static List<CpuTier> supported() {
        CpuLibrary.load();
        return Arrays.stream(values()).filter(t -> PanaceaCpu.pan_tier_supported(t.code()) == 1).toList();
    }

    /** The name in settings: {@code portable}, {@code avx2}, {@code avx512} or {@code avx512bf16}. */
    public String id() {
        return name().toLowerCase(Locale.ROOT);
    }

    /** The name in messages. */
    @Override
    public String toString() {
        return label;
    }

    /** Not a field: the generated class needs native code to be allowed, which is asked for when the library is loaded. */
    int code() {
        return switch (this) {
            case PORTABLE -> PanaceaCpu.PAN_TIER_PORTABLE();
            case AVX2 -> PanaceaCpu.PAN_TIER_AVX2();
            case AVX512 -> PanaceaCpu.PAN_TIER_AVX512();
            case AVX512BF16 -> PanaceaCpu.PAN_TIER_AVX512BF16();
        };
    }

    private static CpuTier of(int code) {
        return Arrays.stream(values()).filter(t -> t.code() == code).findFirst()
                .orElseThrow(() -> new IllegalStateException("the native library names a tier " + code + " that this jar does not know"));
    }

    private static CpuTier parse(Setting.Value setting) {
        return Arrays.stream(values()).filter(t -> t.id().equalsIgnoreCase(setting.text())).findFirst().orElseThrow(() -> new PanaceaException(
                setting.origin() + " is '" + setting.text() + "'; it must be one of " + Arrays.stream(values()).map(CpuTier::id).collect(Collectors.joining(", "))));
    }
}
