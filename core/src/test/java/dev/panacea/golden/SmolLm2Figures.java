package dev.panacea.golden;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.abort;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.panacea.generate.GenerationConfig;
import dev.panacea.generate.Generator;
import dev.panacea.io.Checkpoint;
import dev.panacea.io.Checkpoints;
import dev.panacea.io.ModelLocator;
import dev.panacea.kernels.CpuTier;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.LoadOptions;
import dev.panacea.llama.Quantization;
import dev.panacea.testing.TestBackend;
import dev.panacea.text.BpeTokenizer;
import dev.panacea.text.TextCases;
import dev.panacea.text.Tokenizers;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;

/** SmolLM2-135M-Instruct's GGUF in F32: token ids, losses, logits, rendered chats, greedy tokens (smollm2.py). */
final class SmolLm2Figures {
    /** Below this lead of the best token, another order of summation may choose otherwise. */
    private static final float CLEAR_LEAD = 0.01f;

    private SmolLm2Figures() {}

    static Stream<DynamicTest> tests(Path file, List<TestBackend> backends) throws IOException {
        JsonNode figures = new ObjectMapper().readTree(file.toFile());
        Path model;
        try {
            model = new ModelLocator(System.getenv(), message -> {}, (name, done, total) -> {}).locate(ModelLocator.DEFAULT_MODEL).path();
        } catch (PanaceaException e) {
            return skipped("there is no model: " + e.getMessage());
        }
        if (!sha256(model).equals(figures.get("model_sha256").asText())) {
            return skipped(model.getFileName() + " is another file than the one of the figures");
        }
        List<DynamicTest> tests = new ArrayList<>();
        // Stays open: the tests run after this method has returned.
        BpeTokenizer tokenizer = Tokenizers.open(model);
        tests.addAll(TextCases.tokenizer(figures, tokenizer));
        for (TestBackend b : backends) {
            if (TestBackend.isSimulated()) {
                // A text of four tokens takes as long there as everything on a CPU.
                tests.add(dynamicTest(b.name() + " on the file's blocks", () -> numbers(b, " on the file's blocks", model, Quantization.KEEP, List.of(shortest(figures, "texts", "nll")), List.of())));
                continue;
            }
            // Decoding blocks in plain loops takes its time: there, the shortest text and the shortest answer.
            boolean slow = b.name().equals("reference") || b.name().equals("native " + CpuTier.PORTABLE);
            tests.add(dynamicTest(b.name(), () -> numbers(b, "", model, Quantization.NONE, all(figures, "texts"), all(figures, "chats"))));
            tests.add(dynamicTest(b.name() + " on the file's blocks", () -> numbers(b, " on the file's blocks", model, Quantization.KEEP,
                    slow ? List.of(shortest(figures, "texts", "nll")) : all(figures, "texts"), slow ? List.of(shortest(figures, "chats", "greedy")) : all(figures, "chats"))));
        }
        return tests.stream();
    }

    private static List<JsonNode> all(JsonNode figures, String kind) {
        List<JsonNode> cases = new ArrayList<>();
        figures.get(kind).forEach(cases::add);
        return cases;
    }

    private static JsonNode shortest(JsonNode figures, String kind, String by) {
        return all(figures, kind).stream().filter(c -> c.has(by)).min(Comparator.comparingInt(c -> c.get(by).size())).orElseThrow();
    }

    private static void numbers(TestBackend b, String how, Path file, Quantization quantization, List<JsonNode> texts, List<JsonNode> chats) {
        try (Kernels kernels = b.open().get();
                Checkpoint checkpoint = Checkpoints.open(file);
                LlamaModel llama = LlamaModel.load(kernels, checkpoint, new LoadOptions(quantization, DType.F32))) {
            numbers("smollm2" + how + " [" + b.name() + "]", texts, chats, llama);
        }
    }

    private static Stream<DynamicTest> skipped(String reason) {
        System.out.println("golden smollm2: skipped, " + reason);
        return Stream.of(dynamicTest("skipped", () -> abort(reason)));
    }

    private static void numbers(String name, List<JsonNode> texts, List<JsonNode> chats, LlamaModel model) {
        int vocab = model.config().vocabSize();
        double worst = 0;
        for (JsonNode t : texts) {
            if (t.has("nll")) {
                int[] ids = ints(t.get("ids"));
                int[] rows = new int[ids.length - 1];
                Arrays.setAll(rows, i -> i);
                float[] losses = model.losses(List.of(ids), rows, Arrays.copyOfRange(ids, 1, ids.length), 1, false);
                for (int i = 0; i < losses.length; i++) {
                    worst = Math.max(worst, Math.abs(losses[i] - t.get("nll").get(i).asDouble()));
                }
            }
        }
        Deviation.within(name + " losses", worst, 2e-3);
        if (chats.isEmpty()) {
            return;
        }
        double logitDeviation = 0;
        for (JsonNode c : chats) {
            int[] prompt = ints(c.get("ids"));
            int[] greedy = ints(c.get("greedy"));
            int[] text = Arrays.copyOf(prompt, prompt.length + greedy.length);
            System.arraycopy(greedy, 0, text, prompt.length, greedy.length);
            float[] logits = model.logits(text);
            float[] last = Arrays.copyOfRange(logits, (prompt.length - 1) * vocab, prompt.length * vocab);
            double sum = 0;
            for (int i = 0; i < vocab; i++) {
                sum += Math.exp(last[i]);
            }
            logitDeviation = Math.max(logitDeviation, Math.abs(Math.log(sum) - c.get("logsumexp").asDouble()));
            for (int i = 0; i < c.get("top_ids").size(); i++) {
                logitDeviation = Math.max(logitDeviation, Math.abs(last[c.get("top_ids").get(i).asInt()] - c.get("top_logits").get(i).asDouble()));
            }
            greedy(logits, vocab, prompt, greedy, model);
        }
        Deviation.within(name + " logits", logitDeviation, 2e-3);
    }

    /** Every place where the best token leads clearly has the reference's token; and generation, with its cache, goes the same way up to the first that is not clear. */
    private static void greedy(float[] logits, int vocab, int[] prompt, int[] greedy, LlamaModel model) {
        int clear = greedy.length;
        for (int i = 0; i < greedy.length; i++) {
            int row = prompt.length + i - 1;
            int best = 0;
            int second = 1;
            for (int v = 1; v < vocab; v++) {
                float x = logits[row * vocab + v];
                if (x > logits[row * vocab + best]) {
                    second = best;
                    best = v;
                } else if (v != best && (second == best || x > logits[row * vocab + second])) {
                    second = v;
                }
            }
            if (logits[row * vocab + best] - logits[row * vocab + second] > CLEAR_LEAD) {
                assertThat(best).as("greedy token " + i).isEqualTo(greedy[i]);
            } else {
                clear = Math.min(clear, i);
            }
        }
        assertThat(clear).as("clear places at the start").isPositive();
        int[] generated = new Generator(model).generate(prompt, GenerationConfig.greedy(clear), new int[0], id -> {});
        assertThat(generated).isEqualTo(Arrays.copyOf(greedy, clear));
    }

    private static int[] ints(JsonNode array) {
        int[] out = new int[array.size()];
        for (int i = 0; i < out.length; i++) {
            out[i] = array.get(i).asInt();
        }
        return out;
    }

    private static String sha256(Path file) throws IOException {
        try (InputStream in = Files.newInputStream(file)) {
            MessageDigest digest = MessageDigest.getInstance("SHA-256");
            byte[] buffer = new byte[1 << 16];
            for (int n = in.read(buffer); n > 0; n = in.read(buffer)) {
                digest.update(buffer, 0, n);
            }
            return HexFormat.of().formatHex(digest.digest());
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException(e);
        }
    }
}
