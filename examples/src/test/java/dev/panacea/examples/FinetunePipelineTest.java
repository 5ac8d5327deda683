package dev.panacea.examples;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import dev.panacea.kernels.Backends;
import dev.panacea.kernels.CpuTier;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The whole job on a model small enough for a test, on the device of {@code panacea.device}. */
class FinetunePipelineTest {
    private static final boolean ON_CPU = Backends.defaultDevice().equals("cpu");

    @TempDir
    static Path shared;

    private static Path model;
    private static Path data;

    @TempDir
    Path folder;

    @BeforeAll
    static void writeModelAndData() throws IOException {
        model = TinyModel.write(shared.resolve("tiny"));
        StringBuilder rows = new StringBuilder();
        for (int i = 0; i < 20; i++) {
            rows.append("{\"Patient\": \"Ward ").append(i).append(": what is <b>this</b>?\", \"Doctor\": \"aaaa bbbb aaaa bbbb\"}\n");
        }
        data = Files.writeString(shared.resolve("rows.jsonl"), rows);
    }

    private Run train(Path output, String... more) {
        Stream<String> common = Stream.of("--data", data.toString(), "--output", output.toString(), "--learning-rate", "0.02", "--rank", "4", "--answers", "2", "--answer-tokens",
                "12");
        Stream<String> base = List.of(more).contains("--model") ? Stream.empty() : Stream.of("--model", model.toString());
        return Run.of(Stream.of(common, base, Arrays.stream(more)).flatMap(s -> s).toArray(String[]::new));
    }

    @Test
    void portableKernelsAreSaidToBeSlowAnd8BitMomentsAreReported() throws IOException {
        assumeTrue(ON_CPU, "portable kernels are the CPU's");
        System.setProperty("panacea.cpu.tier", "portable");
        try {
            Run run = train(folder.resolve("out"), "--max-steps", "1", "--optim", "adamw_8bit");
            assertThat(run.err()).isEmpty();
            assertThat(run.out()).contains("cpu portable", "the portable kernels run, which are several times slower");
            assertThat(new JsonMapper().readTree(folder.resolve("out/metrics.json").toFile()).findValue("optim").asText()).isEqualTo("adamw_8bit");
        } finally {
            System.clearProperty("panacea.cpu.tier");
        }
        assertThat(train(folder.resolve("fast"), "--max-steps", "1").out().contains("several times slower")).isEqualTo(CpuTier.best() == CpuTier.PORTABLE);
    }

    @Test
    void trainsMeasuresAndReports() throws IOException {
        Path output = folder.resolve("new/deep");
        Run run = train(output, "--epochs", "4");
        assertThat(run.err()).isEmpty();
        assertThat(run.exitCode()).isZero();
        assertThat(run.out()).contains("It helped: perplexity ", ", lower is better; BLEU ", "Before training", "So quantization to 4 bits costs", "step 20/20", "read back: the same logits", "weights as loaded", "in NF4, before",
                output.resolve("report.html").toString(), "--chat");
        assertThat(files(output)).containsExactly("adapter", "metrics.json", "report.html");
        assertThat(files(output.resolve("adapter"))).containsExactly("README.md", "adapter_config.json", "adapter_model.safetensors");

        JsonNode metrics = new JsonMapper().readTree(output.resolve("metrics.json").toFile());
        double before = metrics.at("/evaluation/before/loss").asDouble();
        double after = metrics.at("/evaluation/after/loss").asDouble();
        assertThat(after).as("a text of two letters is learnt soon").isLessThan(before - 1);
        assertThat(metrics.at("/evaluation/after/perplexity").asDouble()).isCloseTo(Math.exp(after), within(1e-9));
        assertThat(metrics.at("/evaluation/as_loaded/target_tokens").asInt()).isEqualTo(2 * ("aaaa bbbb aaaa bbbb".length() + 1));
        assertThat(metrics.at("/steps")).hasSize(20);
        assertThat(metrics.at("/steps/19/loss").asDouble()).isLessThan(metrics.at("/steps/0/loss").asDouble());
        long tokens = 0;
        for (JsonNode step : metrics.at("/steps")) {
            tokens += step.get("tokens").asLong();
            assertThat(step.get("grad_norm").asDouble()).isPositive();
        }
        long measured = metrics.at("/training_memory/measured_bytes").asLong();
        assertThat(metrics.at("/training_memory/planned_bytes").asLong()).isBetween(measured / 2, 2 * measured);
        assertThat(metrics.at("/training_tokens").asLong()).isEqualTo(tokens);
        assertThat(metrics.at("/settings/rank").asInt()).isEqualTo(4);
        assertThat(metrics.at("/model/origin").asText()).isEqualTo("local path");
        assertThat(Files.readString(output.resolve("report.html"))).contains("what is &lt;b&gt;this&lt;/b&gt;?").doesNotContain("<b>this");

        Run chat = Run.of("--chat", "What is this?", "--output", output.toString(), "--answer-tokens", "10");
        assertThat(chat.err()).isEmpty();
        assertThat(chat.exitCode()).isZero();
        assertThat(chat.out()).contains(model.toString());
    }

    @Test
    void aGgufModelIsTrainedOnTheWeightsOfItsFile() throws IOException {
        Path gguf = TinyGguf.write(folder.resolve("tiny.gguf"));
        Path output = folder.resolve("out");
        Run run = train(output, "--model", gguf.toString(), "--epochs", "4");
        assertThat(run.err()).isEmpty();
        assertThat(run.exitCode()).isZero();
        assertThat(run.out()).contains("Taking the weights as the file holds them", ON_CPU ? " kB mapped, " : " kB in memory").doesNotContain("NF4", "uantiz", "as loaded");
        assertThat(run.out().split("Held-out loss")).as("once before and once after").hasSize(3);
        JsonNode metrics = new JsonMapper().readTree(output.resolve("metrics.json").toFile());
        assertThat(metrics.at("/settings/quantization").asText()).isEqualTo("keep");
        assertThat(metrics.at("/evaluation/as_loaded")).isEqualTo(metrics.at("/evaluation/before"));
        assertThat(metrics.at("/evaluation/after/loss").asDouble()).isLessThan(metrics.at("/evaluation/before/loss").asDouble() - 1);
        assertThat(metrics.at("/model/mapped_weight_bytes").asLong() > 0).as("a GPU has a copy").isEqualTo(ON_CPU);
        assertThat(metrics.at("/model/mapped_weight_bytes").asLong()).isLessThan(metrics.at("/model/weight_bytes").asLong());

        Run chat = Run.of("--chat", "What is this?", "--output", output.toString(), "--answer-tokens", "10");
        assertThat(chat.err()).isEmpty();
        assertThat(chat.exitCode()).isZero();

        Run nf4 = train(folder.resolve("nf4"), "--model", gguf.toString(), "--max-steps", "1", "--quantization", "nf4");
        assertThat(nf4.out()).contains("So quantization to 4 bits costs");
    }

    @Test
    void trainsAtOnceIfAsked() throws IOException {
        Path output = folder.resolve("out");
        Run run = train(output, "--max-steps", "1", "--eval-on-start", "false");
        assertThat(run.err()).isEmpty();
        assertThat(run.exitCode()).isZero();
        assertThat(run.out().split("Held-out loss")).as("once, after").hasSize(2);
        assertThat(run.out()).contains("After training", "Whether it helped is not known", "1 step of 4 examples").doesNotContain("1 steps", "Before", "before", "as loaded");
        JsonNode metrics = new JsonMapper().readTree(output.resolve("metrics.json").toFile());
        assertThat(metrics.at("/settings/eval_on_start").asBoolean(true)).isFalse();
        assertThat(metrics.at("/evaluation/before").isNull()).isTrue();
        assertThat(metrics.at("/evaluation/as_loaded").isNull()).isTrue();
        assertThat(metrics.at("/samples/0/before").isNull()).isTrue();
        assertThat(metrics.at("/evaluation/after/loss").asDouble()).isPositive();
        assertThat(Files.readString(output.resolve("report.html"))).contains("not measured before the training").doesNotContain("Before training", "<h3>Before");
    }

    @Test
    void sameSeedSameResultAndAnEarlierRunIsReplaced() throws IOException {
        Path output = folder.resolve("out");
        train(output, "--max-steps", "3", "--quantization", "none");
        byte[] first = Files.readAllBytes(output.resolve("adapter/adapter_model.safetensors"));
        Run again = train(output, "--max-steps", "3", "--quantization", "none");
        assertThat(again.out()).contains("The results of an earlier run in " + output + " will be replaced").doesNotContain("NF4", "quantization");
        assertThat(Files.readAllBytes(output.resolve("adapter/adapter_model.safetensors"))).isEqualTo(first);
        Run checkpointed = train(output, "--max-steps", "3", "--quantization", "none", "--gradient-checkpointing", "on");
        assertThat(again.out()).contains("Gradient checkpointing is off: ");
        assertThat(checkpointed.out()).contains("Gradient checkpointing is on: as asked for", "emory at the peak of training: ");
        assertThat(Files.readAllBytes(output.resolve("adapter/adapter_model.safetensors"))).isEqualTo(first);
        train(output, "--max-steps", "3", "--quantization", "none", "--seed", "7");
        assertThat(Files.readAllBytes(output.resolve("adapter/adapter_model.safetensors"))).isNotEqualTo(first);
    }

    @Test
    void refusesWhatTheModelCannotDoBeforeAnythingLong() {
        for (String[] bad : List.of(new String[] {"--max-seq-length", "513", "this model takes at most 512 tokens"}, new String[] {"--answer-tokens", "512", "this model takes at most 512 tokens"})) {
            Run run = Run.of("--model", model.toString(), "--data", data.toString(), "--output", folder.resolve("out").toString(), bad[0], bad[1]);
            assertThat(run.exitCode()).isEqualTo(2);
            assertThat(run.err()).startsWith("Error: " + bad[0] + " " + bad[1] + ": ").contains(bad[2]).hasLineCount(1);
            assertThat(run.out()).doesNotContain("Before training");
            assertThat(folder.resolve("out")).doesNotExist();
        }
    }

    @Test
    void aRankAboveTheLayersIsTrainedWithARemark() {
        for (String rank : List.of("16", "17")) {
            Run run = Run.of("--model", model.toString(), "--data", data.toString(), "--output", folder.resolve(rank).toString(), "--max-steps", "1", "--eval-on-start", "false",
                    "--answers", "0", "--rank", rank);
            assertThat(run.err()).isEmpty();
            assertThat(run.exitCode()).isZero();
            assertThat(run.out().contains("Note: rank 17 is more than the 16 that k_proj can make use of")).isEqualTo(rank.equals("17"));
        }
    }

    @Test
    void chatRefusesAnAdapterThatIsIncompleteOrForAnotherModel() throws IOException {
        Path output = folder.resolve("out");
        train(output, "--max-steps", "1", "--eval-on-start", "false");
        Path config = output.resolve("adapter/adapter_config.json");
        String whole = Files.readString(config);

        Files.writeString(config, whole.replace(model.toString(), folder.resolve("gone").toString()));
        Run gone = Run.of("--chat", "Hi", "--output", output.toString());
        assertThat(gone.exitCode()).isEqualTo(1);
        assertThat(gone.err()).contains("The base model of the adapter in " + output.resolve("adapter") + " cannot be opened", "gone", "--model").hasLineCount(1);
        Run named = Run.of("--chat", "Hi", "--output", output.toString(), "--model", model.toString(), "--answer-tokens", "1");
        assertThat(named.err()).isEmpty();
        assertThat(named.exitCode()).isZero();

        Files.writeString(config, whole.replace("\"q_proj\",", "\"q_proj\", \"lm_head\","));
        Run incomplete = Run.of("--chat", "Hi", "--output", output.toString());
        assertThat(incomplete.exitCode()).isEqualTo(1);
        assertThat(incomplete.err()).contains("adapter_model.safetensors lacks base_model.model.lm_head.lora_A.weight", "28 of 30 tensors", "it names " + model).hasLineCount(1);
    }

    @Test
    void tellsOfBadDataBeforeAnythingLong() throws IOException {
        Path one = Files.writeString(folder.resolve("one.jsonl"), "{\"Patient\": \"a\", \"Doctor\": \"b\"}\n");
        Path noAnswer = Files.writeString(folder.resolve("open.jsonl"), "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}\n");
        Path empty = Files.writeString(folder.resolve("empty.jsonl"), "");
        Path german = Files.writeString(folder.resolve("german.csv"), "Frage;Antwort\na;b\n");
        Run named = Run.of("--model", model.toString(), "--data", german.toString(), "--output", folder.resolve("out").toString());
        assertThat(named.err()).contains(german.toString(), "[Frage, Antwort]", "say which to take", "--columns");
        for (Path bad : List.of(one, noAnswer, empty)) {
            Run run = Run.of("--model", model.toString(), "--data", bad.toString(), "--output", folder.resolve("out").toString());
            assertThat(run.exitCode()).as(bad.toString()).isEqualTo(1);
            assertThat(run.err()).startsWith("Error: ").contains(bad.toString()).hasLineCount(1);
            assertThat(run.out()).doesNotContain("Before training");
            assertThat(folder.resolve("out")).doesNotExist();
        }
    }

    @Test
    void plainTextHasNoQuestionsAndNoBleu() throws IOException {
        Path text = Files.writeString(folder.resolve("text.jsonl"), "{\"text\": \"aaaa bbbb\"}\n".repeat(4));
        Path output = folder.resolve("out");
        Run run = Run.of("--model", model.toString(), "--data", text.toString(), "--output", output.toString(), "--max-steps", "1", "--rank", "4");
        assertThat(run.exitCode()).isZero();
        JsonNode metrics = new JsonMapper().readTree(output.resolve("metrics.json").toFile());
        assertThat(metrics.at("/evaluation/after/bleu").isNull()).isTrue();
        assertThat(metrics.at("/samples")).isEmpty();
    }

    /** What was trained without the chat template is asked without it, by a model that may have none. */
    @Test
    void plainPromptsAreAskedAsTheyStand() throws IOException {
        Path base = TinyModel.write(folder.resolve("base"));
        Path config = base.resolve("tokenizer_config.json");
        Files.writeString(config, "{\"bos_token\": \"<|im_start|>\", \"eos_token\": \"<|im_end|>\"}");
        Path rows = Files.writeString(folder.resolve("pc.jsonl"), "{\"prompt\": \"What is this? ->\", \"completion\": \" aaaa\"}\n".repeat(20));
        Path output = folder.resolve("out");
        Run run = Run.of("--model", base.toString(), "--data", rows.toString(), "--output", output.toString(), "--learning-rate", "0.05", "--epochs", "20", "--answers", "2",
                "--answer-tokens", "8");
        assertThat(run.err()).isEmpty();
        assertThat(run.out()).contains("without the model's chat template", "18 examples, ", "2 examples, ").doesNotContain("0 cut", "left out");
        assertThat(new JsonMapper().readTree(output.resolve("metrics.json").toFile()).at("/data/chat_template").isBoolean()).isTrue();
        Run chat = Run.of("--chat", "What is this? ->", "--output", output.toString(), "--answer-tokens", "10");
        assertThat(chat.err()).isEmpty();
        assertThat(chat.out()).contains("Note: asked as it stands, without a chat template, as what the adapter was trained on").endsWith(" aaaa\n");
    }

    @Test
    void heldOutRowsThatAreTrainedTooAreCounted() throws IOException {
        assertThat(train(folder.resolve("a"), "--max-steps", "1").out()).doesNotContain("word for word");
        assertThat(train(folder.resolve("b"), "--max-steps", "1", "--eval-data", data.toString()).out()).contains("Note: All held-out rows are among the training data too");
        Path rows = Files.writeString(folder.resolve("half.jsonl"), Files.readAllLines(data).getFirst() + "\n{\"question\": \"new?\", \"answer\": \"yes\"}\n");
        assertThat(train(folder.resolve("c"), "--max-steps", "1", "--eval-data", rows.toString()).out()).contains("Note: 1 of 2 held-out rows is among the training data too");
    }

    private static List<String> files(Path folder) throws IOException {
        try (var entries = Files.list(folder)) {
            return entries.map(p -> p.getFileName().toString()).sorted().toList();
        }
    }
}
