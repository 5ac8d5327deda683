package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import dev.panacea.bindings.NativeLibrary;
import dev.panacea.bindings.generated.PanaceaCpu;
import dev.panacea.bindings.generated.pan_weight;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.Optional;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** Weights in ggml's formats: what is refused, the order of rows, and that {@link KernelsTest} covers every format. */
class BlockWeightTest {
    private static DeviceBuffer bytes(int count) {
        return DeviceBuffer.ofHost(DType.U8, KernelCase.heap(count));
    }

    @Test
    void everySupportedTypeIsAmongTheFormatsUnderTest() {
        assertThat(Arrays.stream(WeightFormat.values()).map(WeightFormat::ggml).flatMap(Optional::stream))
                .containsExactlyInAnyOrderElementsOf(Arrays.stream(GgmlType.values()).filter(BlockWeight::supports).toList());
    }

    @Test
    void shapesThatDoNotFitAreRefused() {
        assertThatIllegalArgumentException().isThrownBy(() -> new BlockWeight(GgmlType.Q2_K, bytes(84), 1, 256, 0)).withMessageContaining("Q2_K");
        assertThatIllegalArgumentException().isThrownBy(() -> new BlockWeight(GgmlType.Q4_0, bytes(18), 1, 33, 0))
                .withMessageContaining("33 elements").withMessageContaining("32");
        assertThatIllegalArgumentException().isThrownBy(() -> new BlockWeight(GgmlType.Q4_0, bytes(35), 2, 32, 0))
                .withMessageContaining("35").withMessageContaining("36");
        for (int pairDim : new int[] {-2, 3, 4, 12}) {
            assertThatIllegalArgumentException().isThrownBy(() -> new BlockWeight(GgmlType.Q4_0, bytes(6 * 18), 6, 32, pairDim))
                    .withMessageContaining("pairDim " + pairDim);
        }
    }

    /** Two heads of 6: stored are the pairs (0, 3), (1, 4), (2, 5) of each. */
    @Test
    void rowsOfAPairAreStoredNextToEachOther() {
        BlockWeight w = new BlockWeight(GgmlType.F32, bytes(12 * 4), 12, 1, 6);
        assertThat(IntStream.range(0, 12).map(w::storedRow)).containsExactly(0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11);
    }

    /** d = 0.5 and m = -2; codes 0 to 15, then 15 to 0: (q - 8) d, and q d + m. */
    @Test
    void blocksByHandOnEveryBackend() {
        byte[] q40 = new byte[18];
        byte[] q41 = new byte[20];
        float[] expected40 = new float[32];
        float[] expected41 = new float[32];
        MemorySegment.ofArray(q40).set(Elements.BF16, 0, (short) 0x3800);
        MemorySegment.ofArray(q41).set(Elements.BF16, 0, (short) 0x3800);
        MemorySegment.ofArray(q41).set(Elements.BF16, 2, (short) 0xC000);
        for (int i = 0; i < 16; i++) {
            q40[2 + i] = (byte) (i | 15 - i << 4);
            q41[4 + i] = q40[2 + i];
            expected40[i] = (i - 8) * 0.5f;
            expected40[16 + i] = (7 - i) * 0.5f;
            expected41[i] = i * 0.5f - 2;
            expected41[16 + i] = (15 - i) * 0.5f - 2;
        }
        for (BackendUnderTest backend : BackendUnderTest.onHostMemory()) {
            Kernels k = backend.variants().getFirst();
            assertThat(dequantized(k, GgmlType.Q4_0, q40)).as(backend.name()).containsExactly(expected40);
            assertThat(dequantized(k, GgmlType.Q4_1, q41)).as(backend.name()).containsExactly(expected41);
        }
    }

    private static float[] dequantized(Kernels k, GgmlType type, byte[] block) {
        try (DeviceMemory data = k.allocate(block.length); DeviceMemory y = k.allocate(32 * 4)) {
            k.upload(MemorySegment.ofArray(block), data.view(DType.U8));
            k.dequantize(new BlockWeight(type, data.view(DType.U8), 1, 32, 0), y.view(DType.F32));
            float[] values = new float[32];
            k.download(y.view(DType.F32), MemorySegment.ofArray(values));
            return values;
        }
    }

    // ---- the library's own checks, which other callers than these classes depend on ------------------------------------

    @Test
    void theLibraryRefusesWeightsThatDoNotFit() {
        assertThat(refusal(4, 2, 32, 0)).contains("format is 4");
        assertThat(refusal(15, 2, 32, 0)).contains("format is 15");
        assertThat(refusal(24, 2, 32, 0)).contains("format is 24");
        assertThat(refusal(-1, 2, 32, 0)).contains("format is -1");
        assertThat(refusal(PanaceaCpu.PAN_Q8_0(), 2, 48, 0)).contains("48 cols").contains("multiple of 32");
        assertThat(refusal(PanaceaCpu.PAN_Q6_K(), 2, 288, 0)).contains("288 cols").contains("multiple of 256");
        for (int pairDim : new int[] {-2, 3, 4, Integer.MIN_VALUE}) {
            assertThat(refusal(PanaceaCpu.PAN_F32(), 6, 32, pairDim)).contains("pair_dim is " + pairDim).contains("there are 6");
        }
        assertThat(refusal(PanaceaCpu.PAN_Q4(), 6, 32, 6)).contains("pair_dim must be 0");
    }

    private static String refusal(int format, long rows, long cols, int pairDim) {
        NativeLibrary.load();
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment w = pan_weight.allocate(arena).fill((byte) 0);
            MemorySegment memory = arena.allocate(rows * cols * 4);
            pan_weight.format(w, format);
            pan_weight.rows(w, rows);
            pan_weight.cols(w, cols);
            pan_weight.pair_dim(w, pairDim);
            pan_weight.data(w, memory);
            MemorySegment out = arena.allocate(ValueLayout.ADDRESS);
            assertThat(PanaceaCpu.pan_open(PanaceaCpu.PAN_TIER_PORTABLE(), 1, out)).isZero();
            MemorySegment context = out.get(ValueLayout.ADDRESS, 0);
            try {
                assertThat(PanaceaCpu.pan_dequantize(context, w, memory, PanaceaCpu.PAN_F32())).isEqualTo(PanaceaCpu.PAN_ERROR_ARGUMENT());
                return PanaceaCpu.pan_last_error().getString(0);
            } finally {
                PanaceaCpu.pan_close(context);
            }
        }
    }
}
