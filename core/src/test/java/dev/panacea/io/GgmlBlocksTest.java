package dev.panacea.io;

import static org.assertj.core.api.Assertions.assertThat;

import dev.panacea.kernels.GgmlBlocks;
import dev.panacea.kernels.GgmlType;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.util.Arrays;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** blocks.gguf was made by the Python package gguf (make_blocks.py beside it) and holds what that decodes each type to. */
class GgmlBlocksTest {
    static Path blocks() {
        try {
            return Path.of(GgmlBlocksTest.class.getResource("blocks.gguf").toURI());
        } catch (URISyntaxException e) {
            throw new AssertionError(e);
        }
    }

    @ParameterizedTest
    @EnumSource(value = GgmlType.class, mode = EnumSource.Mode.EXCLUDE, names = "F32")
    void everyBitIsAsInThePythonPackage(GgmlType type) {
        try (GgufFile file = GgufFile.open(blocks())) {
            GgufFile.Tensor tensor = file.tensor(type.name());
            float[] expected = new float[512];
            GgmlBlocks.decode(GgmlType.F32, file.tensor(type + ".expected").data(), 0, 512, expected, 0);
            assertThat(tensor.type()).isEqualTo(type);
            assertThat(tensor.elements()).isEqualTo(512);

            float[] all = new float[512];
            GgmlBlocks.decode(type, tensor.data(), 0, 512, all, 0);
            assertThat(bits(all)).isEqualTo(bits(expected));

            for (int[] range : new int[][] {{0, 1}, {1, 1}, {31, 2}, {17, 300}, {255, 257}, {256, 256}, {511, 1}, {100, 0}, {3, 20}}) {
                float[] part = new float[range[1] + 5];
                GgmlBlocks.decode(type, tensor.data(), range[0], range[1], part, 5);
                assertThat(bits(Arrays.copyOfRange(part, 5, part.length))).as("%s from %d", type, range[0])
                        .isEqualTo(bits(Arrays.copyOfRange(expected, range[0], range[0] + range[1])));
                assertThat(part).startsWith(0, 0, 0, 0, 0);
            }
        }
    }

    private static int[] bits(float[] values) {
        int[] bits = new int[values.length];
        for (int i = 0; i < bits.length; i++) {
            bits[i] = Float.floatToRawIntBits(values[i]);
        }
        return bits;
    }
}
