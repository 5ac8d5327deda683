package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** 4-bit weights of bitsandbytes, made again and decoded by every backend, bit for bit. */
class Q4GoldenTest {
    private static final int BLOCK = 64;

    record Tensor(DType type, byte[] bytes) {}

    record Case(String name, QuantType quant, int rows, int cols, Map<String, Tensor> tensors) {
        /** A tensor in memory that native kernels reach. */
        DeviceBuffer buffer(Arena arena, String tensor) {
            Tensor t = tensors.get(tensor);
            return onNativeMemory(arena, t.type(), t.bytes());
        }

        @Override
        public String toString() {
            return name;
        }
    }

    private static DeviceBuffer onNativeMemory(Arena arena, DType type, byte[] bytes) {
        MemorySegment segment = arena.allocate(bytes.length, 64);
        MemorySegment.copy(MemorySegment.ofArray(bytes), 0, segment, 0, bytes.length);
        return DeviceBuffer.ofHost(type, segment);
    }

    static Stream<Case> cases() throws IOException {
        List<Case> cases = new ArrayList<>();
        try (var in = Q4GoldenTest.class.getResourceAsStream("bitsandbytes-4bit.txt"); var lines = new BufferedReader(new InputStreamReader(in, StandardCharsets.US_ASCII))) {
            for (String line = lines.readLine(); line != null; line = lines.readLine()) {
                String[] words = line.split(" ");
                if (words[0].equals("case")) {
                    cases.add(new Case(words[1], QuantType.valueOf(words[2].toUpperCase(Locale.ROOT)), Integer.parseInt(words[3]), Integer.parseInt(words[4]),
                            new LinkedHashMap<>()));
                } else if (!line.isEmpty() && !line.startsWith("#")) {
                    cases.getLast().tensors().put(words[0], new Tensor(DType.valueOf(words[1]), Base64.getDecoder().decode(words[2])));
                }
            }
        }
        assertThat(cases).hasSizeGreaterThan(10);
        return cases.stream();
    }

    private static byte[] bytes(DeviceBuffer b) {
        return b.host().toArray(Elements.U8);
    }

    @ParameterizedTest
    @MethodSource("cases")
    void quantizes(Case c) {
        try (Arena arena = Arena.ofShared()) {
            for (BackendUnderTest backend : BackendUnderTest.onHostMemory()) {
                int n = c.rows() * c.cols();
                DeviceBuffer packed = DeviceBuffer.ofHost(DType.U8, arena.allocate((n + 1) / 2));
                DeviceBuffer absmax = DeviceBuffer.ofHost(DType.F32, arena.allocate(4L * Math.ceilDiv(n, BLOCK)));
                backend.variants().getFirst().quantize4(c.quant(), c.buffer(arena, "weight"), n, BLOCK, packed, absmax);
                assertThat(bytes(packed)).as(backend.name()).isEqualTo(c.tensors().get("packed").bytes());
                if (!c.tensors().containsKey("code")) {
                    assertThat(bytes(absmax)).as(backend.name()).isEqualTo(c.tensors().get("absmax").bytes());
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("cases")
    void dequantizes(Case c) {
        try (Arena arena = Arena.ofShared()) {
            Optional<Q4Weight.Nested> nested = c.tensors().containsKey("code")
                    ? Optional.of(new Q4Weight.Nested(c.buffer(arena, "code"), c.buffer(arena, "nested_absmax"), c.buffer(arena, "offset").host().get(Elements.F32, 0)))
                    : Optional.empty();
            DeviceBuffer levels = onNativeMemory(arena, DType.F32, MemorySegment.ofArray(c.quant().levels()).toArray(Elements.U8));
            Q4Weight weight = new Q4Weight(c.rows(), c.cols(), BLOCK, c.buffer(arena, "packed"), levels, c.buffer(arena, "absmax"), nested);
            Tensor expected = c.tensors().get("dequant");
            for (BackendUnderTest backend : BackendUnderTest.onHostMemory()) {
                DeviceBuffer y = DeviceBuffer.ofHost(expected.type(), arena.allocate(expected.bytes().length, 64));
                backend.variants().getFirst().dequantize(weight, y);
                assertThat(bytes(y)).as(backend.name()).isEqualTo(expected.bytes());
                if (expected.type() == DType.F32) {
                    DeviceBuffer rounded = DeviceBuffer.ofHost(DType.BF16, arena.allocate(expected.bytes().length / 2, 64));
                    backend.variants().getFirst().dequantize(weight, rounded);
                    assertThat(bytes(rounded)).as(backend.name()).isEqualTo(KernelCase.content(DType.BF16, KernelCase.values(DType.F32, expected.bytes())));
                }
            }
        }
    }
}
