package dev.panacea.tensor;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.ReferenceKernels;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.Test;

class StepArenaTest {
    /** The same calls, whatever the arena: buffers of many sizes that come and go in no order. Each is filled with its number where it has memory. */
    private static void comeAndGo(StepArena arena) {
        SplittableRandom random = new SplittableRandom(7);
        List<DeviceBuffer> live = new ArrayList<>();
        List<Byte> marks = new ArrayList<>();
        for (int i = 0; i < 3000; i++) {
            if (!live.isEmpty() && random.nextInt(100) < (live.size() > 40 ? 70 : 45)) {
                int victim = random.nextInt(live.size());
                DeviceBuffer b = live.remove(victim);
                byte mark = marks.remove(victim);
                b.hostSegment().ifPresent(s -> {
                    for (long at = 0; at < s.byteSize(); at++) {
                        assertThat(s.get(ValueLayout.JAVA_BYTE, at)).isEqualTo(mark);
                    }
                });
                arena.free(b);
            } else {
                DeviceBuffer b = arena.allocate(random.nextBoolean() ? DType.F32 : DType.U8, random.nextInt(0, 300));
                byte mark = (byte) i;
                b.hostSegment().ifPresent(s -> s.fill(mark));
                live.add(b);
                marks.add(mark);
            }
        }
    }

    @Test
    void whatWasCountedIsEnoughToTheByteAndBuffersDoNotOverlap() {
        StepArena counting = StepArena.counting();
        comeAndGo(counting);
        try (ReferenceKernels kernels = new ReferenceKernels(); StepArena arena = new StepArena(kernels)) {
            arena.reserve(counting.peakBytes());
            for (int round = 0; round < 2; round++) {
                comeAndGo(arena);
                assertThat(arena.peakBytes()).isEqualTo(counting.peakBytes());
                arena.reset();
            }
            assertThat(arena.reservedBytes()).isEqualTo(counting.peakBytes());
        }
        try (ReferenceKernels kernels = new ReferenceKernels(); StepArena tooSmall = new StepArena(kernels)) {
            tooSmall.reserve(counting.peakBytes() - 64);
            assertThatThrownBy(() -> comeAndGo(tooSmall)).isInstanceOf(IllegalStateException.class).hasMessageContaining("more than the " + (counting.peakBytes() - 64));
        }
    }

    @Test
    void aHoleServesBuffersOfAnyTypeAndNeighboursBecomeOne() {
        StepArena arena = StepArena.counting();
        DeviceBuffer a = arena.allocate(DType.F32, 1000);
        DeviceBuffer b = arena.allocate(DType.F32, 1000);
        DeviceBuffer last = arena.allocate(DType.U8, 1);
        long peak = arena.peakBytes();
        arena.free(a);
        arena.free(b);
        DeviceBuffer both = arena.allocate(DType.U8, 8000);
        assertThat(both.address()).isEqualTo(a.address());
        arena.free(both);
        // The smallest hole that is large enough.
        DeviceBuffer small = arena.allocate(DType.U8, 64);
        arena.free(last);
        assertThat(arena.allocate(DType.F32, 2000).address()).isEqualTo(64);
        arena.free(small);
        assertThat(arena.peakBytes()).isEqualTo(peak);
    }

    @Test
    void misuseIsTold() {
        StepArena arena = StepArena.counting();
        DeviceBuffer a = arena.allocate(DType.F32, 10);
        assertThatThrownBy(() -> arena.reserve(1)).isInstanceOf(IllegalStateException.class).hasMessageContaining("1 buffers are in use");
        arena.free(a);
        assertThatThrownBy(() -> arena.free(a)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("not in use");
    }
}
