package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The probes do what they count; how fast is nobody's business here. */
class CpuProbeTest {
    static List<CpuTier> tiers() {
        return CpuTier.supported();
    }

    @ParameterizedTest
    @MethodSource("tiers")
    void countsTheOperationsOfAllThreads(CpuTier tier) {
        try (CpuKernels one = CpuKernels.open(tier, 1); CpuKernels two = CpuKernels.open(tier, 2)) {
            double flops = one.probeArithmetic(DType.F32, 1);
            // A task's loops are rounded up: at most one loop of 24 registers of 16 elements more in each of four tasks.
            assertThat(flops).isBetween(1e6, 1e6 + 4 * 24 * 16 * 2);
            assertThat(two.probeArithmetic(DType.F32, 1)).isEqualTo(2 * flops);
            assertThat(one.probeArithmetic(DType.F32, 7)).isBetween(7e6, 7e6 + 4 * 24 * 16 * 2);
        }
    }

    @ParameterizedTest
    @MethodSource("tiers")
    void dotProductsAreThereOnTheTierThatHasThem(CpuTier tier) {
        try (CpuKernels k = CpuKernels.open(tier, 2)) {
            if (tier == CpuTier.AVX512BF16) {
                assertThat(k.probeArithmetic(DType.BF16, 3)).isBetween(6e6, 6e6 + 8 * 24 * 16 * 8);
            } else {
                assertThatThrownBy(() -> k.probeArithmetic(DType.BF16, 3)).isInstanceOf(UnsupportedBackendException.class).hasMessageContaining("no bf16 dot product");
            }
        }
    }

    @ParameterizedTest
    @MethodSource("tiers")
    void readsEveryByteWhateverTheThreads(CpuTier tier) {
        // 37 lines: not a multiple of the streams, nor of the tasks.
        try (CpuKernels k = CpuKernels.open(tier, 2); CpuKernels other = CpuKernels.open(CpuTier.PORTABLE, 3); DeviceMemory memory = k.allocate(37 * 64)) {
            DeviceBuffer b = memory.view(DType.U8);
            byte[] random = new byte[37 * 64];
            new Random(5).nextBytes(random);
            k.upload(MemorySegment.ofArray(random), b);
            double sum = k.probeRead(b);
            assertThat(other.probeRead(b)).isEqualTo(sum);
            for (int i = 0; i < random.length; i++) {
                byte before = b.host().get(ValueLayout.JAVA_BYTE, i);
                b.host().set(ValueLayout.JAVA_BYTE, i, (byte) (before ^ 1));
                assertThat(k.probeRead(b)).as("byte " + i).isNotEqualTo(sum);
                b.host().set(ValueLayout.JAVA_BYTE, i, before);
            }
        }
    }

    @Test
    void ratesArePositiveAndBadArgumentsAreRefused() {
        try (CpuKernels k = CpuKernels.open(CpuTier.best(), 0); CpuProbe probe = new CpuProbe(k, 1 << 20)) {
            assertThat(probe.gflops(DType.F32)).isPositive();
            for (int i = 0; i < 5; i++) {
                assertThat(probe.readGBs(300_000)).isPositive();
            }
            assertThatThrownBy(() -> probe.readGBs((1 << 20) + 1)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("64 to 1048576");
            assertThatThrownBy(() -> probe.readGBs(63)).isInstanceOf(IllegalArgumentException.class);
            assertThatThrownBy(() -> probe.gflops(DType.U8)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("U8");
            assertThatThrownBy(() -> new CpuProbe(k, 63)).isInstanceOf(IllegalArgumentException.class);
        }
    }
}
