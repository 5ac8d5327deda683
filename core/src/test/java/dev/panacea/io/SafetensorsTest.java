package dev.panacea.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.panacea.kernels.PanaceaException;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SafetensorsTest {
    @TempDir
    Path folder;

    @Test
    void writesAndReadsBack() throws IOException {
        Path path = folder.resolve("new/folder/a.safetensors");
        float[] big = new float[600_000];
        for (int i = 0; i < big.length; i++) {
            big[i] = i * 0.5f - 1000;
        }
        new SafetensorsWriter().metadata("made by", "\"us\" ∂").add("z", new long[] {2, 3}, new float[] {1, 2, 3, 4, 5, -0f}).add("big", new long[] {600, 1000}, big)
                .add("bytes", SafetensorsFile.Type.U8, new long[] {3}, MemorySegment.ofArray(new byte[] {1, 2, 3}))
                .add("none", new long[] {0, 4}, new float[0]).add("one", new long[0], new float[] {7}).write(path);
        try (SafetensorsFile file = SafetensorsFile.open(path)) {
            assertThat(file.metadata()).containsEntry("format", "pt").containsEntry("made by", "\"us\" ∂");
            assertThat(file.names()).containsExactly("big", "none", "one", "z", "bytes");
            assertThat(file.read("big")).isEqualTo(big);
            assertThat(file.read("z")).containsExactly(1, 2, 3, 4, 5, -0f);
            assertThat(file.read("one")).containsExactly(7);
            assertThat(file.read("none")).isEmpty();
            assertThat(file.tensor("none").dimensions()).containsExactly(0, 4);
            assertThat(file.tensor("bytes").type()).isEqualTo(SafetensorsFile.Type.U8);
            assertThat(file.tensor("bytes").data().toArray(MappedFile.U8)).containsExactly(1, 2, 3);
            assertThatThrownBy(() -> file.read("bytes")).isInstanceOf(PanaceaException.class).hasMessageContaining("U8");
            assertThatThrownBy(() -> file.tensor("absent")).isInstanceOf(PanaceaException.class).hasMessageContaining("a.safetensors");
        }
        assertThat(ByteBuffer.wrap(Files.readAllBytes(path)).order(ByteOrder.LITTLE_ENDIAN).getLong() % 8).isZero();
        try (Stream<Path> files = Files.list(path.getParent())) {
            assertThat(files).containsExactly(path);
        }
    }

    @Test
    void readsHalfPrecisionAndDoubles() {
        ByteBuffer halves = ByteBuffer.allocate(6).order(ByteOrder.LITTLE_ENDIAN).putShort(Float.floatToFloat16(1.5f)).putShort(Float.floatToFloat16(-65504)).putShort((short) 1);
        ByteBuffer brains = ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putShort((short) 0x3fc0).putShort((short) 0xc000);
        ByteBuffer doubles = ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putDouble(0.1);
        Path path = folder.resolve("h.safetensors");
        new SafetensorsWriter().add("f16", SafetensorsFile.Type.F16, new long[] {3}, MemorySegment.ofArray(halves.array()))
                .add("bf16", SafetensorsFile.Type.BF16, new long[] {2}, MemorySegment.ofArray(brains.array()))
                .add("f64", SafetensorsFile.Type.F64, new long[] {1}, MemorySegment.ofArray(doubles.array())).write(path);
        try (SafetensorsFile file = SafetensorsFile.open(path)) {
            assertThat(file.read("f16")).containsExactly(1.5f, -65504, 0x1p-24f);
            assertThat(file.read("bf16")).containsExactly(1.5f, -2);
            assertThat(file.read("f64")).containsExactly(0.1f);
        }
    }

    @Test
    void writesTheVeryBytesOfTheFormatsOwnLibrary() throws IOException {
        List<Path> files = Golden.files("lora-gqa/adapter_final/adapter_model.safetensors", "lora-gqa/model.safetensors", "qlora-nf4/bnb-4bit/model.safetensors");
        for (Path original : files) {
            Path copy = folder.resolve("copy.safetensors");
            try (SafetensorsFile file = SafetensorsFile.open(original)) {
                SafetensorsWriter writer = new SafetensorsWriter();
                file.names().stream().map(file::tensor).forEach(t -> writer.add(t.name(), t.type(), t.dimensions(), t.data()));
                writer.write(copy);
            }
            assertThat(Files.mismatch(original, copy)).as(original.toString()).isEqualTo(-1);
        }
    }

    @Test
    void leavesNothingBehindWhenItFails() throws IOException {
        Path path = folder.resolve("old.txt");
        Files.writeString(path, "old");
        assertThatThrownBy(() -> AtomicFiles.write(path, channel -> {
            channel.write(ByteBuffer.wrap("half".getBytes(StandardCharsets.UTF_8)));
            throw new IOException("No space left on device");
        })).isInstanceOf(PanaceaException.class).hasMessageContaining("old.txt").hasMessageContaining("the disk is full; free some space");
        assertThat(path).hasContent("old");
        try (Stream<Path> files = Files.list(folder)) {
            assertThat(files).containsExactly(path);
        }
        assertThatThrownBy(() -> AtomicFiles.writeString(path.resolve("inside"), "x")).isInstanceOf(PanaceaException.class).hasMessageContaining("inside");
        assertThatThrownBy(() -> AtomicFiles.writeString(folder, "x")).isInstanceOf(PanaceaException.class).hasMessageContaining("it is a folder");
        assertThatThrownBy(() -> AtomicFiles.writeString(Path.of("/proc/panacea/x"), "x")).isInstanceOf(PanaceaException.class).hasMessageContaining("/proc");
    }

    @Test
    void refusesWrongSizesAndTakenNames() {
        SafetensorsWriter writer = new SafetensorsWriter().add("a", new long[] {1}, new float[1]);
        assertThatThrownBy(() -> writer.add("b", new long[] {2}, new float[1])).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> writer.add("a", new long[] {1}, new float[1])).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> writer.add("__metadata__", new long[] {1}, new float[1])).isInstanceOf(IllegalArgumentException.class);
    }
}
