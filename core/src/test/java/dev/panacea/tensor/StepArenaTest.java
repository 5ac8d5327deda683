package dev.panacea.tensor;

import static org.assertj.core.api.Assertions.assertThat;

import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.ReferenceKernels;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

class StepArenaTest {
    @Test
    void buffersDoNotOverlapWhenTheArenaGrows() {
        try (ReferenceKernels kernels = new ReferenceKernels(); StepArena arena = new StepArena(kernels)) {
            for (int round = 0; round < 3; round++) {
                List<DeviceBuffer> all = new ArrayList<>();
                for (int i = 0; i < 30; i++) {
                    DeviceBuffer b = arena.allocate(DType.U8, 1_000_003);
                    b.host().fill((byte) i);
                    all.add(b);
                }
                for (int i = 0; i < all.size(); i++) {
                    assertThat(all.get(i).host().get(java.lang.foreign.ValueLayout.JAVA_BYTE, 0)).isEqualTo((byte) i);
                    assertThat(all.get(i).host().get(java.lang.foreign.ValueLayout.JAVA_BYTE, 1_000_002)).isEqualTo((byte) i);
                }
                arena.reset();
            }
        }
    }

    @Test
    void aFreedBufferServesTheNextOfItsKindAndThePeakDoesNotGrow() {
        try (ReferenceKernels kernels = new ReferenceKernels(); StepArena arena = new StepArena(kernels)) {
            DeviceBuffer a = arena.allocate(DType.F32, 1000);
            long peak = arena.peakBytes();
            arena.free(a);
            assertThat(arena.allocate(DType.F32, 1000)).isSameAs(a);
            assertThat(arena.peakBytes()).isEqualTo(peak);
            assertThat(arena.allocate(DType.F32, 1000)).isNotSameAs(a);
        }
    }
}
