package dev.panacea.examples;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.fail;

import com.fasterxml.jackson.core.json.JsonWriteFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/**
 * The whole program on damaged files and senseless command lines: it works, or says in one line what is wrong; nothing from a file steers the terminal.
 * {@code -Dpanacea.fuzz.rounds=N} looks longer, {@code -Dpanacea.fuzz.seed=N} elsewhere.
 */
@Timeout(value = 30, unit = TimeUnit.MINUTES)
class FuzzTest {
    private static final int ROUNDS = Integer.getInteger("panacea.fuzz.rounds", 60);
    private static final long SEED = Long.getLong("panacea.fuzz.seed", 20261130);
    private static final String ROW = "{\"messages\": [{\"role\": \"user\", \"content\": \"Hello %d\"}, {\"role\": \"assistant\", \"content\": \"Yes \\u001b[2J%d.\"}]}\n";
    private static final String[] VALUES = {"null", "true", "0", "-1", "1", "2", "257", "258", "2147483647", "-2147483648", "4294967296", "1e308", "-0.5", "1e999", "\"\"", "\"x\"",
        "\"\\u001b[2J\\u0007\"", "\"\\ud800\"", "\"../../etc/passwd\"", "\"<|im_end|>\"", "\"{% for x in range(3) %}{{ x }}\"", "[]", "{}", "[null]", "[[[]]]", "{\"a\": {\"b\": []}}",
        "[257, 256]", "[-1]", "{\"content\": \"<|im_end|>\"}", "\"ByteLevel\"", "\"llama\"", "\"bitsandbytes\"", "1024", "\"0\""};
    private static final String PUNCTUATION = "0123456789-\",:{}[]x\u001b";

    @TempDir
    Path temp;
    private final JsonMapper json = JsonMapper.builder().enable(JsonWriteFeature.ESCAPE_NON_ASCII).build();
    private final Random random = new Random(SEED);
    private Path model;
    private Path data;

    @BeforeEach
    void setUp() throws IOException {
        model = TinyModel.write(temp.resolve("whole"));
        Files.writeString(model.resolve("generation_config.json"), "{\"bos_token_id\": 256, \"eos_token_id\": [257, 256], \"temperature\": 0.6}");
        Files.writeString(model.resolve("special_tokens_map.json"), "{\"bos_token\": \"<|im_start|>\", \"eos_token\": {\"content\": \"<|im_end|>\"}}");
        StringBuilder rows = new StringBuilder();
        for (int i = 0; i < 6; i++) {
            rows.append(ROW.formatted(i, i));
        }
        data = Files.writeString(temp.resolve("data.jsonl"), rows);
    }

    @Test
    void damagedModels() throws IOException {
        List<String> names = List.of("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json", "special_tokens_map.json", "model.safetensors");
        assertThat(Run.of(train(model, data, 0)).err()).isEmpty();
        int worked = 0;
        for (int i = 0; i < 3 * ROUNDS; i++) {
            Path folder = copy(model, temp.resolve("model" + i));
            String name = names.get(random.nextInt(names.size()));
            damage(folder.resolve(name));
            worked += run(name + " of " + folder, train(folder, data, i)).exitCode() == 0 ? 1 : 0;
            delete(folder);
        }
        assertThat(worked).isBetween(ROUNDS / 4, 3 * ROUNDS - ROUNDS / 4);
    }

    @Test
    void damagedGgufFiles() throws IOException {
        Path whole = TinyGguf.write(temp.resolve("whole.gguf"));
        for (int i = 0; i < ROUNDS; i++) {
            Path file = temp.resolve("model" + i + ".gguf");
            Files.write(file, bytes(Files.readAllBytes(whole), 8000));
            run(file.toString(), train(file, data, i));
            Files.delete(file);
        }
    }

    @Test
    void damagedAdapters() throws IOException {
        Path output = temp.resolve("trained");
        assertThat(Run.of(train(model, data, output)).err()).isEmpty();
        for (int i = 0; i < ROUNDS; i++) {
            Path folder = copy(output, temp.resolve("out" + i));
            String name = List.of("adapter/adapter_config.json", "adapter/adapter_model.safetensors", "metrics.json").get(random.nextInt(3));
            damage(folder.resolve(name));
            run(name + " in " + folder, "--chat", "hello", "--output", folder.toString(), "--answer-tokens", "3");
            delete(folder);
        }
    }

    @Test
    void damagedData() throws IOException {
        byte[] whole = Files.readAllBytes(data);
        for (int i = 0; i < ROUNDS; i++) {
            Path file = temp.resolve("data" + i + List.of(".jsonl", ".json", ".csv", ".txt").get(random.nextInt(4)));
            Files.write(file, bytes(whole, whole.length));
            run(file.toString(), train(model, file, i));
        }
    }

    @Test
    void senselessCommandLines() {
        List<String> options = List.of("--model", "--quantization", "--device", "--data", "--eval-data", "--max-seq-length", "--rank", "--alpha", "--target-modules", "--epochs", "--max-steps",
                "--learning-rate", "--batch-size", "--gradient-accumulation-steps", "--optim", "--gradient-checkpointing", "--seed", "--output", "--eval-on-start", "--answers",
                "--answer-tokens", "--chat", "--verbose");
        List<String> values = List.of("", " ", "0", "-1", "1", "3", "1e9", "NaN", "Infinity", "2147483648", "x", "\u001b[2J", "a\0b", "/dev/null", temp.toString(), "q_proj,,", "all-linear",
                "keep", "nf4", "none", "cpu", "cuda:99", "true", "auto", "@file", "--", "-h", model.toString(), data.toString(), "\n", "é", "../..", "~", "on", "off");
        for (int i = 0; i < 3 * ROUNDS; i++) {
            List<String> arguments = new ArrayList<>();
            for (int n = random.nextInt(1, 6); n > 0; n--) {
                arguments.add(options.get(random.nextInt(options.size())));
                if (random.nextInt(8) > 0) {
                    arguments.add(values.get(random.nextInt(values.size())));
                }
            }
            // Whatever was drawn, no run may be long, load from the network or write outside the test's folder.
            for (String[] given : new String[][] {{"--model", temp.resolve("absent").toString()}, {"--output", temp.resolve("cl").toString()}}) {
                int at = arguments.indexOf(given[0]);
                if (at < 0) {
                    arguments.addAll(List.of(given));
                } else if (at + 1 < arguments.size() && given[0].equals("--output")) {
                    arguments.set(at + 1, given[1]);
                }
            }
            run(arguments.toString(), arguments.toArray(String[]::new));
        }
    }

    // ---- running -----------------------------------------------------------------------------------------------------

    private String[] train(Path model, Path data, int round) {
        return train(model, data, temp.resolve("o" + round % 2));
    }

    private static String[] train(Path model, Path data, Path output) {
        return new String[] {"--model", model.toString(), "--data", data.toString(), "--max-steps", "1", "--answers", "1", "--answer-tokens", "3", "--eval-on-start", "false",
            "--max-seq-length", "200", "--rank", "2", "--output", output.toString()};
    }

    private static Run run(String what, String... arguments) {
        Run run;
        try {
            run = Run.of(arguments);
        } catch (RuntimeException | Error e) {
            return fail(what, e);
        }
        assertThat(run.err()).as(what).doesNotContain("This should not have happened");
        assertThat(run.exitCode()).as(what).isIn(0, 1, 2);
        assertThat(run.exitCode() == 0 || run.err().contains("Error: ")).as(what).isTrue();
        assertThat((run.out() + run.err()).chars().filter(c -> c < ' ' && c != '\n' && c != '\t')).as(what).isEmpty();
        return run;
    }

    // ---- damage ------------------------------------------------------------------------------------------------------

    private void damage(Path file) throws IOException {
        if (file.toString().endsWith(".json") && random.nextInt(4) > 0) {
            JsonNode root = json.readTree(file.toFile());
            for (int i = random.nextInt(3); i >= 0; i--) {
                change(root);
            }
            Files.writeString(file, json.writeValueAsString(root));
        } else {
            Files.write(file, bytes(Files.readAllBytes(file), 4000));
        }
    }

    /** Another value, or none, at some place of a tree; large parts are as likely to be met as small ones. */
    private void change(JsonNode root) throws IOException {
        JsonNode at = root;
        while (true) {
            int size = at.size();
            if (size == 0) {
                return;
            }
            int which = random.nextInt(size);
            JsonNode child = at.get(which);
            String name = "";
            if (at instanceof ObjectNode object) {
                name = new ArrayList<>(object.properties()).get(which).getKey();
                child = object.get(name);
            }
            if (child.isContainerNode() && child.size() > 0 && random.nextInt(3) > 0) {
                at = child;
                continue;
            }
            JsonNode value = json.readTree(VALUES[random.nextInt(VALUES.length)]);
            boolean remove = random.nextInt(4) == 0;
            if (at instanceof ObjectNode object) {
                if (remove) {
                    object.remove(name);
                } else {
                    object.set(name, value);
                }
            } else if (at instanceof ArrayNode array) {
                if (remove) {
                    array.remove(which);
                } else {
                    array.set(which, value);
                }
            }
            return;
        }
    }

    private byte[] bytes(byte[] whole, int first) {
        byte[] copy = whole.clone();
        for (int i = random.nextInt(4); i >= 0; i--) {
            int at = random.nextInt(Math.max(1, Math.min(first, copy.length)));
            if (copy.length == 0) {
                return copy;
            }
            switch (random.nextInt(5)) {
                case 0 -> copy[at] ^= (byte) (1 << random.nextInt(8));
                case 1 -> copy[at] = (byte) random.nextInt(256);
                case 2 -> Arrays.fill(copy, at, Math.min(copy.length, at + 8), (byte) (random.nextBoolean() ? 0xff : 0));
                case 3 -> copy[at] = (byte) PUNCTUATION.charAt(random.nextInt(PUNCTUATION.length()));
                default -> copy = random.nextInt(4) == 0 ? Arrays.copyOf(copy, at) : copy;
            }
        }
        return copy;
    }

    private static Path copy(Path from, Path to) throws IOException {
        try (Stream<Path> files = Files.walk(from)) {
            for (Path file : files.toList()) {
                Path target = to.resolve(from.relativize(file).toString());
                if (Files.isDirectory(file)) {
                    Files.createDirectories(target);
                } else {
                    Files.copy(file, target);
                }
            }
        }
        return to;
    }

    private static void delete(Path folder) throws IOException {
        try (Stream<Path> files = Files.walk(folder)) {
            for (Path file : files.sorted(java.util.Comparator.reverseOrder()).toList()) {
                Files.delete(file);
            }
        }
    }
}
