package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.panacea.bindings.NativeLibrary;
import dev.panacea.bindings.NativeMemory;
import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** Three steps against the formulas of bitsandbytes, as {@code make_adamw8bit.py} writes them out. */
class AdamW8bitGoldenTest {
    private static final int N = 600;

    private final Map<String, float[]> floats = new HashMap<>();
    private final Map<String, int[]> codes = new HashMap<>();

    AdamW8bitGoldenTest() throws IOException {
        try (InputStream in = AdamW8bitGoldenTest.class.getResourceAsStream("adamw8bit.txt")) {
            for (String line : new String(in.readAllBytes(), StandardCharsets.US_ASCII).lines().toList()) {
                String[] words = line.split(" ");
                int[] numbers = Arrays.stream(words).skip(1).mapToInt(w -> Integer.parseUnsignedInt(w, 16)).toArray();
                codes.put(words[0], numbers);
                float[] values = new float[numbers.length];
                for (int i = 0; i < values.length; i++) {
                    values[i] = Float.intBitsToFloat(numbers[i]);
                }
                floats.put(words[0], values);
            }
        }
    }

    @Test
    void theMapsAreThoseOfBitsandbytes() {
        assertThat(DynamicMap.SIGNED.levels()).isEqualTo(floats.get("signed"));
        assertThat(DynamicMap.UNSIGNED.levels()).isEqualTo(floats.get("unsigned"));
    }

    @Test
    void threeStepsGiveTheParametersAndCodesOfBitsandbytes() {
        NativeLibrary.load();
        for (BackendUnderTest backend : BackendUnderTest.onHostMemory()) {
            for (Kernels kernels : backend.variants()) {
                try (Arena arena = Arena.ofShared()) {
                    DeviceBuffer p = buffer(arena, DType.F32, N, floats.get("before"));
                    Moments8bit moments = new Moments8bit(buffer(arena, DType.U8, N), buffer(arena, DType.U8, N), buffer(arena, DType.F32, 3), buffer(arena, DType.F32, 3),
                            buffer(arena, DType.F32, 256, DynamicMap.SIGNED.levels()), buffer(arena, DType.F32, 256, DynamicMap.UNSIGNED.levels()));
                    for (int t = 1; t <= 3; t++) {
                        kernels.adamW8bit(p, buffer(arena, DType.F32, N, floats.get("gradient" + t)), moments, N, new AdamWStep(1, 1e-2f, 0.9f, 0.999f, 1e-8f, 0.1f, t));
                    }
                    float[] after = floats.get("after");
                    for (int i = 0; i < N; i++) {
                        assertThat(Elements.readFloats(p, i, 1)[0]).as(backend + ": parameter " + i).isCloseTo(after[i], within(1e-5f * Math.max(1, Math.abs(after[i]))));
                    }
                    assertThat(Elements.readFloats(moments.mAbsmax(), 0, 3)).containsExactly(floats.get("m_absmax"), within(1e-6f));
                    assertThat(Elements.readFloats(moments.vAbsmax(), 0, 3)).containsExactly(floats.get("v_absmax"), within(1e-6f));
                    assertCodes(backend + ": m", moments.mCodes(), codes.get("m"));
                    assertCodes(backend + ": v", moments.vCodes(), codes.get("v"));
                }
            }
        }
    }

    @Test
    void levelsThatAreNoMapAreRefused() {
        NativeLibrary.load();
        float[] falling = DynamicMap.SIGNED.levels();
        falling[100] = 0.5f;
        float[] crowded = DynamicMap.UNSIGNED.levels();
        for (int i = 0; i < 256; i++) {
            crowded[i] = 0.5f + i * 1e-6f;
        }
        try (Arena arena = Arena.ofShared(); Kernels kernels = CpuKernels.open(CpuTier.PORTABLE, 1)) {
            DeviceBuffer p = buffer(arena, DType.F32, 1);
            DeviceBuffer good = buffer(arena, DType.F32, 256, DynamicMap.SIGNED.levels());
            DeviceBuffer code = buffer(arena, DType.U8, 1);
            for (float[] levels : List.of(falling, crowded)) {
                Moments8bit moments = new Moments8bit(code, code, buffer(arena, DType.F32, 1), buffer(arena, DType.F32, 1), good, buffer(arena, DType.F32, 256, levels));
                assertThatThrownBy(() -> kernels.adamW8bit(p, p, moments, 1, new AdamWStep(1, 1e-2f, 0.9f, 0.999f, 1e-8f, 0, 1))).isInstanceOf(IllegalArgumentException.class)
                        .hasMessageContaining("v_levels do not ascend");
            }
        }
    }

    /** Single precision leaves it open which way a moment beside a middle goes: one code in a hundred may be its neighbour. */
    private static void assertCodes(String name, DeviceBuffer actual, int[] expected) {
        int different = 0;
        for (int i = 0; i < expected.length; i++) {
            int code = actual.host().get(Elements.U8, i) & 0xFF;
            assertThat(code).as(name + " " + i).isCloseTo(expected[i], within(1));
            different += code == expected[i] ? 0 : 1;
        }
        assertThat(different).as(name + ": codes that differ").isLessThanOrEqualTo(expected.length / 100);
    }

    private static DeviceBuffer buffer(Arena arena, DType type, int count, float... content) {
        MemorySegment memory = NativeMemory.allocateGuarded((long) count * type.bytes(), arena).orElseThrow();
        MemorySegment.copy(content, 0, memory, Elements.F32, 0, content.length);
        return DeviceBuffer.ofHost(type, memory);
    }
}
