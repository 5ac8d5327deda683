package dev.panacea.io;

import static org.assertj.core.api.Assertions.assertThat;

import dev.panacea.kernels.PanaceaException;
import dev.panacea.text.Tokenizers;
import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Files with millions of entries: each is an error that names the file, in a Java with little memory. */
@Timeout(value = 120, unit = TimeUnit.SECONDS)
class HugeFilesTest {
    @TempDir
    Path folder;

    /** Opens what a path names, in the way that its name says. Prints the error of ours; any other ends with a trace. */
    public static void main(String[] args) {
        Path path = Path.of(args[0]);
        try {
            switch (args[1]) {
                case "checkpoint" -> Checkpoints.open(path).close();
                case "tokenizer" -> Tokenizers.open(path).close();
                case "adapter" -> PeftAdapter.read(path);
                default -> JsonFiles.parse(Files.readString(path), path.toString());
            }
            System.out.println("read");
        } catch (PanaceaException e) {
            System.out.println("refused: " + e.getMessage());
        } catch (IOException e) {
            throw new IllegalStateException(e);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"{},", "[],", "0,", "\"\",", "[[[[[[[[]]]]]]]],"})
    void configWithMillionsOfValues(String value) throws IOException {
        Path model = model();
        write(model.resolve("config.json"), "{\"x\": [", value, 15_000_000 / value.length(), "0]}");
        refused(model, "checkpoint", "config.json", "more than such a file can hold");
    }

    @Test
    void configWithMillionsOfKeys() throws IOException {
        Path model = model();
        keys(model.resolve("config.json"), 1_200_000);
        refused(model, "checkpoint", "config.json", "more than such a file can hold");
    }

    @Test
    void indexWithMillionsOfTensors() throws IOException {
        Path model = model();
        Files.delete(model.resolve("model.safetensors"));
        keys(model.resolve("model.safetensors.index.json"), 1_200_000);
        refused(model, "checkpoint", "model.safetensors.index.json", "more than such a file can hold");
    }

    @Test
    void adapterConfigWithMillionsOfValues() throws IOException {
        Path adapter = Files.createDirectories(folder.resolve("adapter"));
        write(adapter.resolve("adapter_config.json"), "{\"target_modules\": [", "\"q\",", 3_500_000, "\"q\"]}");
        Files.write(adapter.resolve("adapter_model.safetensors"), new byte[0]);
        refused(adapter, "adapter", "adapter_config.json", "more than such a file can hold");
    }

    @Test
    void tokenizerWithMillionsOfValues() throws IOException {
        Path model = model();
        write(model.resolve("tokenizer.json"), "{\"model\": {\"type\": \"BPE\", \"merges\": [", "[],", 25_000_000, "0]}}");
        refused(model, "tokenizer", "tokenizer.json", "exceeds the maximum");
    }

    @ParameterizedTest
    @ValueSource(strings = {"\"a%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},", "\"a%d\":{},"})
    void safetensorsWithMillionsOfTensors(String entry) throws IOException {
        Path model = model();
        header(model.resolve("model.safetensors"), "{", entry, 31_000_000);
        refused(model, "checkpoint", "model.safetensors", "");
    }

    @Test
    void safetensorsWithMillionsOfNotes() throws IOException {
        Path model = model();
        header(model.resolve("model.safetensors"), "{\"__metadata__\":{", "\"a%d\":\"\",", 31_000_000);
        refused(model, "checkpoint", "model.safetensors", "");
    }

    @Test
    void ggufWithGigabytesOfNames() throws IOException {
        Path file = folder.resolve("keys.gguf");
        byte[] name = new byte[60_000];
        try (OutputStream out = new BufferedOutputStream(Files.newOutputStream(file), 1 << 20)) {
            out.write(new GgufBuilder.Bytes().u32(0x46554747).u32(3).u64(0).u64(4000).toArray());
            for (int i = 0; i < 4000; i++) {
                byte[] number = Integer.toString(i).getBytes(StandardCharsets.UTF_8);
                java.util.Arrays.fill(name, (byte) 'k');
                System.arraycopy(number, 0, name, 0, number.length);
                out.write(new GgufBuilder.Bytes().u64(name.length).raw(name).u32(0).u8(1).toArray());
            }
        }
        refused(file, "checkpoint", "keys.gguf", "names of its tensors have more than");
    }

    @Test
    void ggufWithMillionsOfTokens() throws IOException {
        Path file = folder.resolve("tokens.gguf");
        int count = 12_000_000;
        try (OutputStream out = new BufferedOutputStream(Files.newOutputStream(file), 1 << 20)) {
            out.write(new GgufBuilder.Bytes().u32(0x46554747).u32(3).u64(0).u64(1).string("tokenizer.ggml.tokens").u32(9).u32(8).u64(count).toArray());
            byte[] empty = new byte[8];
            for (int i = 0; i < count; i++) {
                out.write(empty);
            }
        }
        refused(file, "checkpoint", "tokens.gguf", "tokenizer.ggml.tokens has 12000000 texts");
    }

    /** What a hub answers is parsed as a text. */
    @Test
    void listingWithMillionsOfFiles() throws IOException {
        Path listing = folder.resolve("listing");
        write(listing, "{\"siblings\": [", "{\"rfilename\": \"a\"},", 800_000, "0]}");
        refused(listing, "text", "listing", "more than such a file can hold");
    }

    private Path model() throws IOException {
        Path model = new TinyLlama(8).writeFolder(folder.resolve("model"));
        Files.writeString(model.resolve("tokenizer.json"), "{}");
        return model;
    }

    private static void write(Path file, String start, String entry, int times, String end) throws IOException {
        byte[] many = entry.repeat(1000).getBytes(StandardCharsets.UTF_8);
        try (OutputStream out = Files.newOutputStream(file)) {
            out.write(start.getBytes(StandardCharsets.UTF_8));
            for (int i = 0; i < times / 1000; i++) {
                out.write(many);
            }
            out.write(end.getBytes(StandardCharsets.UTF_8));
        }
    }

    private static void keys(Path file, int count) throws IOException {
        try (OutputStream out = new BufferedOutputStream(Files.newOutputStream(file))) {
            out.write("{\"weight_map\": {".getBytes(StandardCharsets.UTF_8));
            for (int i = 0; i < count; i++) {
                out.write(("\"" + i + "\":0,").getBytes(StandardCharsets.UTF_8));
            }
            out.write("\"x\":0}}".getBytes(StandardCharsets.UTF_8));
        }
    }

    private static void header(Path file, String start, String entry, int bytes) throws IOException {
        StringBuilder header = new StringBuilder(bytes + 100).append(start);
        for (int i = 0; header.length() < bytes - entry.length() - 10; i++) {
            header.append(entry.replace("%d", Integer.toString(i)));
        }
        byte[] text = header.toString().getBytes(StandardCharsets.UTF_8);
        Files.write(file, new GgufBuilder.Bytes().u64(text.length).raw(text).toArray());
    }

    private static void refused(Path path, String how, String file, String reason) throws IOException {
        Path log = path.resolveSibling("log");
        Process child = new ProcessBuilder(List.of(Path.of(System.getProperty("java.home"), "bin", "java").toString(), "-Xmx128m", "-cp", System.getProperty("java.class.path"),
                "--enable-native-access=ALL-UNNAMED", HugeFilesTest.class.getName(), path.toString(), how)).redirectErrorStream(true).redirectOutput(log.toFile()).start();
        try {
            assertThat(child.waitFor(90, TimeUnit.SECONDS)).as("ends").isTrue();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(e);
        } finally {
            child.destroyForcibly();
        }
        assertThat(log).content().contains("refused: ").contains(file).contains(reason).doesNotContain("OutOfMemory");
    }
}
