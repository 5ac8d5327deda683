package dev.panacea.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.panacea.kernels.GgmlBlocks;
import dev.panacea.kernels.GgmlType;
import dev.panacea.kernels.PanaceaException;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class GgufFileTest {
    @TempDir
    Path folder;

    @Test
    void metadataOfEveryType() {
        Path path = new GgufBuilder().key("u8", 0, b -> b.u8(200)).key("i8", 1, b -> b.u8(-3)).key("u16", 2, b -> b.u8(0xff).u8(0xff)).key("i16", 3, b -> b.u8(0xfe).u8(0xff))
                .key("u32", 4, b -> b.u32(-1)).key("i32", 5, b -> b.u32(-7)).f32("f32", 0.5f).key("yes", 7, b -> b.u8(1)).key("no", 7, b -> b.u8(0)).string("text", "Grüße")
                .key("u64", 10, b -> b.u64(1L << 40)).key("huge", 10, b -> b.u64(-1)).key("i64", 11, b -> b.u64(-9)).key("f64", 12, b -> b.u64(Double.doubleToLongBits(0.1)))
                .strings("texts", List.of("a", "", "ĠĊ")).key("ints", 9, b -> b.u32(5).u64(3).u32(1).u32(-2).u32(3)).key("bytes", 9, b -> b.u32(0).u64(2).u8(255).u8(1))
                .key("floats", 9, b -> b.u32(6).u64(2).f32(1.5f, -2)).key("empty", 9, b -> b.u32(8).u64(0)).write(folder.resolve("a.gguf"));
        try (GgufFile file = GgufFile.open(path)) {
            GgufMetadata m = file.metadata();
            assertThat(m.keys()).hasSize(19).startsWith("u8", "i8");
            assertThat(m.integer("u8")).hasValue(200);
            assertThat(m.integer("i8")).hasValue(-3);
            assertThat(m.integer("u16")).hasValue(65535);
            assertThat(m.integer("i16")).hasValue(-2);
            assertThat(m.integer("u32")).hasValue(4294967295L);
            assertThat(m.integer("i32")).hasValue(-7);
            assertThat(m.integer("u64")).hasValue(1L << 40);
            assertThat(m.integer("i64")).hasValue(-9);
            assertThat(m.number("f32")).hasValue(0.5);
            assertThat(m.number("f64")).hasValue(0.1);
            assertThat(m.bool("yes")).contains(true);
            assertThat(m.bool("no")).contains(false);
            assertThat(m.string("text")).contains("Grüße");
            assertThat(m.strings("texts")).containsExactly("a", "", "ĠĊ");
            assertThat(m.length("texts")).isEqualTo(3);
            assertThat(m.strings("empty")).isEmpty();
            assertThat(m.ints("ints")).containsExactly(1, -2, 3);
            assertThat(m.ints("bytes")).containsExactly(255, 1);
            assertThat(m.floats("floats")).containsExactly(1.5f, -2);
            assertThat(m.string("absent")).isEmpty();
            assertThat(m.integer("absent")).isEmpty();
            assertThat(m.strings("absent")).isEmpty();
            assertThat(m.ints("absent")).isEmpty();
            assertThat(m.floats("absent")).isEmpty();
            assertThatThrownBy(() -> m.integer("huge")).isInstanceOf(PanaceaException.class).hasMessageContaining("18446744073709551615");
            assertThatThrownBy(() -> m.string("u32")).isInstanceOf(PanaceaException.class).hasMessageContaining("a.gguf").hasMessageContaining("U32");
            assertThatThrownBy(() -> m.strings("ints")).isInstanceOf(PanaceaException.class).hasMessageContaining("array of strings");
            assertThatThrownBy(() -> m.integer("ints")).isInstanceOf(PanaceaException.class);
            assertThatThrownBy(() -> m.floats("texts")).isInstanceOf(PanaceaException.class);
        }
    }

    @Test
    void versionTwoAndAnotherAlignment() {
        GgufBuilder builder = new GgufBuilder().align(64).tensor("x", new long[] {3}, new float[] {1, 2, 3}).tensor("y", new long[] {2, 2}, new float[] {4, 5, 6, 7});
        try (GgufFile file = GgufFile.open(GgufBuilder.write(folder.resolve("b.gguf"), builder.bytes(2)))) {
            assertThat(file.names()).containsExactly("x", "y");
            assertThat(file.tensor("y").dimensions()).containsExactly(2, 2);
            float[] y = new float[4];
            GgmlBlocks.decode(GgmlType.F32, file.tensor("y").data(), 0, 4, y, 0);
            assertThat(y).containsExactly(4, 5, 6, 7);
        }
    }
}
