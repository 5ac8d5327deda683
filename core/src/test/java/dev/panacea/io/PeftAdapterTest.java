package dev.panacea.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.panacea.kernels.PanaceaException;
import dev.panacea.llama.LlamaConfig;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class PeftAdapterTest {
    private static final String Q0 = "model.layers.0.self_attn.q_proj";
    private static final String A0 = "base_model.model." + Q0 + ".lora_A.weight";
    private static final String B0 = "base_model.model." + Q0 + ".lora_B.weight";

    @TempDir
    Path temp;
    private Path folder;

    @BeforeEach
    void folder() {
        folder = temp.resolve("adapter");
    }

    @Test
    void writesAndReadsBack() throws IOException {
        PeftAdapter adapter = adapter(PeftConfig.of(Optional.of("owner/base"), 4, 8, 0.05, List.of("q_proj", "v_proj"), false));
        adapter.write(folder);
        same(fitting(folder, TinyLlama.CONFIG), adapter);
        assertThat(folder.resolve("adapter_config.json")).hasContent("""
                {
                  "alpha_pattern": {},
                  "auto_mapping": null,
                  "base_model_name_or_path": "owner/base",
                  "bias": "none",
                  "fan_in_fan_out": false,
                  "inference_mode": true,
                  "init_lora_weights": true,
                  "layers_pattern": null,
                  "layers_to_transform": null,
                  "lora_alpha": 8,
                  "lora_dropout": 0.05,
                  "modules_to_save": null,
                  "peft_type": "LORA",
                  "r": 4,
                  "rank_pattern": {},
                  "revision": null,
                  "target_modules": [
                    "q_proj",
                    "v_proj"
                  ],
                  "task_type": "CAUSAL_LM"
                }""");
        assertThat(folder.resolve("README.md")).content().startsWith("---\nbase_model: owner/base\nlibrary_name: peft\n").contains("PeftModel.from_pretrained");
        Files.writeString(folder.resolve("metrics.json"), "{}");
        PeftAdapter other = adapter(PeftConfig.of(Optional.empty(), 2, 3.5, 0, List.of("q_proj", "v_proj"), true));
        other.write(folder);
        same(PeftAdapter.read(folder), other);
        try (Stream<Path> files = Files.list(folder); Stream<Path> beside = Files.list(temp)) {
            assertThat(files.map(f -> f.getFileName().toString()))
                    .containsExactlyInAnyOrder("README.md", "adapter_config.json", "adapter_model.safetensors", "metrics.json");
            assertThat(beside).containsExactly(folder);
        }
    }

    @Test
    void theCardLoadsTheBaseAndSaysWhatWasTrainedOn() throws IOException {
        Optional<PeftAdapter.TrainedOn> gguf = Optional.of(new PeftAdapter.TrainedOn("m.Q4_1.gguf (GGUF Q4_1, 98 MB), as the file holds them", Optional.of("m.Q4_1.gguf")));
        Optional<PeftAdapter.TrainedOn> safetensors = Optional.of(new PeftAdapter.TrainedOn("base (safetensors BF16, 2 GB), NF4", Optional.empty()));
        String file = "base, gguf_file=gguf_file";
        card("/models/with \"marks\"/m.Q4_1.gguf", gguf, "base = \"/models/with \\\"marks\\\"\"\ngguf_file = \"m.Q4_1.gguf\"", file, "Weights trained on: `m.Q4_1.gguf (GGUF Q4_1, 98 MB), as");
        card("owner/m-GGUF", gguf, "base_model: owner/m-GGUF", "base = \"owner/m-GGUF\"\ngguf_file = \"m.Q4_1.gguf\"", file);
        card("/models/folder", gguf, "base = \"/models/folder\"\ngguf_file = \"m.Q4_1.gguf\"", file);
        card("owner/base", safetensors, "base = \"owner/base\"\n", "AutoModelForCausalLM.from_pretrained(base), \".\")", "NF4");
        // Its repository on the hub has no GGUF file; where it is out of reach, one comes from elsewhere.
        card(ModelLocator.DEFAULT_MODEL, gguf, "base = \"" + ModelLocator.DEFAULT_MODEL + "\"\n", "from_pretrained(base), \".\")", "Weights trained on: `m.Q4_1.gguf");
        card("/a\nb`c", safetensors, "Base model: `/a b'c`", "base = \"/a\\nb`c\"\n");
    }

    private void card(String base, Optional<PeftAdapter.TrainedOn> trainedOn, String... parts) throws IOException {
        PeftConfig config = PeftConfig.of(Optional.of(base), 4, 8, 0, List.of("q_proj"), false);
        new PeftAdapter(config, Map.of(Q0, tensors(4, 32, 32)), Optional.empty(), trainedOn).write(folder);
        assertThat(Files.readString(folder.resolve("README.md"))).contains(parts);
        assertThat(PeftAdapter.read(folder).config().baseModel()).contains(base);
    }

    @Test
    void writesNewerKeysOnlyWhereTheySaySomething() throws IOException {
        PeftConfig plain = PeftConfig.of(Optional.of("base"), 4, 8, 0, List.of("q_proj"), false);
        // The keys of LoraConfig in PEFT 0.6.0, which refuses a file with any other.
        List<String> known = List.of("peft_type", "auto_mapping", "base_model_name_or_path", "revision", "task_type", "inference_mode", "r", "target_modules", "lora_alpha", "lora_dropout",
                "fan_in_fan_out", "bias", "modules_to_save", "init_lora_weights", "layers_to_transform", "layers_pattern", "rank_pattern", "alpha_pattern");
        assertThat(plain.json().fieldNames()).toIterable().containsExactlyInAnyOrderElementsOf(known);
        PeftConfig newer = new PeftConfig(Optional.of("base"), 4, 8, 0, ModulePattern.names(List.of("q_proj")), Optional.of(ModulePattern.names(List.of("x"))), List.of(), true, Map.of(), Map.of());
        assertThat(newer.json().path("use_rslora").asBoolean()).isTrue();
        assertThat(newer.json().has("exclude_modules")).isTrue();
    }

    @Test
    void anExpressionThatCannotBeUsedIsToldWithItsFile() throws IOException {
        adapter(PeftConfig.of(Optional.empty(), 4, 8, 0, List.of("q_proj", "v_proj"), false)).write(folder);
        Path config = folder.resolve("adapter_config.json");
        String whole = Files.readString(config);
        for (String[] wrong : new String[][] {{"((?:^{60000}){60000}){60000}.*", "more than 1000 times"}, {"(((((((((.?)*)*.*)*.*)*.*)*.*)*.*)*.*){1000}){1000}x", "takes too long"}}) {
            Files.writeString(config, whole.replaceAll("(?s)\\[\\s+\"q_proj.*?]", java.util.regex.Matcher.quoteReplacement("\"" + wrong[0] + "\"")));
            assertThatThrownBy(() -> PeftAdapter.read(folder)).isInstanceOf(PanaceaException.class).hasMessageStartingWith(config + ": the regular expression ").hasMessageContaining(wrong[1])
                    .hasMessageNotContaining("adapter_model.safetensors");
            Files.writeString(config, whole.replace("\"rank_pattern\": {}", "\"rank_pattern\": {\"" + wrong[0] + "\": 4}"));
            assertThatThrownBy(() -> PeftAdapter.read(folder)).isInstanceOf(PanaceaException.class).hasMessageStartingWith(config + ": the regular expression ");
        }
    }

    @Test
    void scalingAndRankFollowThePatterns() {
        Map<String, Integer> ranks = new LinkedHashMap<>(Map.of("layers.1.self_attn.q_proj", 16));
        PeftConfig config = new PeftConfig(Optional.empty(), 4, 8, 0, ModulePattern.names(List.of("q_proj", "v_proj")), Optional.empty(), List.of(), false, ranks,
                Map.of("^model\\.layers\\.0\\..*", 2.0));
        assertThat(config.rank(Q0)).isEqualTo(4);
        assertThat(config.rank("model.layers.1.self_attn.q_proj")).isEqualTo(16);
        assertThat(config.rank("model.layers.11.self_attn.q_proj")).isEqualTo(4);
        assertThat(config.scaling(Q0)).isEqualTo(0.5);
        assertThat(config.scaling("model.layers.1.self_attn.q_proj")).isEqualTo(0.5);
        assertThat(config.scaling("model.layers.1.self_attn.v_proj")).isEqualTo(2);
        assertThat(PeftConfig.of(Optional.empty(), 9, 6, 0, List.of("q_proj"), true).scaling(Q0)).isCloseTo(2, within(1e-12));
        PeftAdapter adapter = adapter(config);
        adapter.write(folder);
        same(fitting(folder, TinyLlama.CONFIG), adapter);
    }

    @Test
    void choosesModulesAsPeftDoes() {
        assertThat(targets("\"all-linear\"").isTarget(Q0)).isTrue();
        assertThat(targets("\"all-linear\"").isTarget("lm_head")).isFalse();
        assertThat(targets("\"ALL-linear\"").isTarget("lm_head")).isFalse();
        assertThat(targets("[\"q_proj\"], \"layers_pattern\": \"\"").isTarget(Q0)).isTrue();
        assertThat(targets("[\"lm_head\"]").isTarget("lm_head")).isTrue();
        assertThat(targets("[\"q_proj\"]").isTarget(Q0)).isTrue();
        assertThat(targets("[\"proj\"]").isTarget(Q0)).isFalse();
        assertThat(targets("[\"model.layers.0.self_attn.q_proj\"]").isTarget("model.layers.1.self_attn.q_proj")).isFalse();
        assertThat(targets("\".*layers\\\\.[01]\\\\..*(q|v)_proj\"").isTarget(Q0)).isTrue();
        assertThat(targets("\".*(q|v)\"").isTarget(Q0)).isFalse();
        assertThat(targets("[\"q_proj\"], \"exclude_modules\": \".*\\\\.0\\\\..*\"").isTarget(Q0)).isFalse();
        assertThat(targets("[\"q_proj\"], \"layers_to_transform\": [1, 3]").isTarget(Q0)).isFalse();
        assertThat(targets("[\"q_proj\"], \"layers_to_transform\": 0").isTarget(Q0)).isTrue();
        assertThat(targets("[\"q_proj\"]").rank()).isEqualTo(8);
        assertThat(targets("[\"q_proj\"]").alpha()).isEqualTo(8);
        assertThatThrownBy(() -> targets("\"(\"")).isInstanceOf(PanaceaException.class).hasMessageContaining("adapter_config.json").hasMessageContaining("regular expression");
        assertThat(targets("\"(.*.*.*.*.*.*.*.*)*x\"").isTarget(Q0)).isFalse();
        assertThatThrownBy(() -> targets("\"" + "(".repeat(3999) + "\"")).isInstanceOf(PanaceaException.class);
        assertThatThrownBy(() -> targets("\"" + "a".repeat(4001) + "\"")).isInstanceOf(PanaceaException.class).hasMessageContaining("4001");
    }

    @Test
    void refusesSettingsThatChangeTheArithmetic() {
        for (String setting : List.of("use_dora\": true", "lora_bias\": true", "use_qalora\": true", "use_bdlora\": true", "alora_invocation_tokens\": [1, 2]",
                "fan_in_fan_out\": true",
                "layer_replication\": [[0, 2]]", "bias\": \"all\"", "modules_to_save\": [\"lm_head\"]", "trainable_token_indices\": [5]", "target_parameters\": [\"x\"]",
                "arrow_config\": {\"top_k\": 1}", "megatron_config\": {\"a\": 1}", "init_lora_weights\": \"pissa\"", "layers_pattern\": \"h\"", "an_invention_of_2031\": 3")) {
            String name = setting.substring(0, setting.indexOf('"'));
            assertThatThrownBy(() -> targets("[\"q_proj\"], \"" + setting)).as(setting).isInstanceOf(PanaceaException.class)
                    .hasMessageContaining("adapter_config.json").hasMessageContaining(name + " is ");
        }
        for (String wrong : List.of("\"r\": 0", "\"r\": \"8\"", "\"r\": 1e9", "\"lora_alpha\": \"x\"", "\"lora_dropout\": 1", "\"use_rslora\": \"yes\"", "\"rank_pattern\": {\"q\": -1}", "\"rank_pattern\": [1]",
                "\"alpha_pattern\": {\"q\": \"a\"}", "\"layers_to_transform\": [\"a\"]", "\"target_modules\": [\"q_proj\"]")) {
            assertThatThrownBy(() -> targets("[\"q_proj\"], " + wrong)).as(wrong).isInstanceOf(PanaceaException.class).hasMessageContaining("adapter_config.json");
        }
        for (String wrong : List.of("[]", "[1]", "null", "7", "{}")) {
            assertThatThrownBy(() -> targets(wrong)).as(wrong).isInstanceOf(PanaceaException.class).hasMessageContaining("target_modules");
        }
        assertThat(targets("[\"q_proj\"], \"peft_version\": \"0.21.0\", \"qalora_group_size\": 16, \"ensure_weight_tying\": false, \"kasa_config\": null").rank()).isEqualTo(8);
    }

    @Test
    void refusesWeightsThatAreNotThoseOfTheConfiguration() {
        PeftConfig config = PeftConfig.of(Optional.empty(), 4, 8, 0, List.of("q_proj"), false);
        PeftAdapter adapter = new PeftAdapter(config, Map.of(Q0, tensors(4, 32, 32), "model.layers.1.self_attn.q_proj", tensors(4, 32, 32)));
        adapter.write(folder);
        weights(Map.of(A0, new long[] {4, 32}), "lacks " + B0);
        weights(Map.of(B0, new long[] {32, 4}), "lacks " + A0);
        weights(Map.of(A0, new long[] {4, 32}, B0, new long[] {32, 5}), "[4, 32]", "[32, 5]");
        weights(Map.of(A0, new long[] {5, 32}, B0, new long[] {32, 5}), "rank 5", "it is 4");
        weights(Map.of(A0, new long[] {128}, B0, new long[] {32, 4}), "[128]");
        weights(Map.of(A0, new long[] {4, 32}, B0, new long[] {32, 4}), "lacks base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight", "2 of 4 tensors");
        weights(Map.of(A0, new long[] {4, 16}, B0, new long[] {32, 4}), A0 + " of shape [4, 16]", "[4, 32]", "another model", "it names none; this is tiny (safetensors F32, 83 kB)");
        weights(Map.of(A0.replace("q_proj", "v_proj"), new long[] {4, 32}, B0.replace("q_proj", "v_proj"), new long[] {16, 4}), "v_proj", "not among the target_modules");
        weights(Map.of(A0.replace(".0.", ".7."), new long[] {4, 32}, B0.replace(".0.", ".7."), new long[] {32, 4}), "model.layers.7.", "which the model lacks");
        weights(Map.of(A0.replace("lora_A.", "lora_A.default."), new long[] {4, 32}), "save_pretrained");
        weights(Map.of(A0.replace("base_model.model.", ""), new long[] {4, 32}), "must begin with base_model.model.");
        weights(Map.of(A0.replace("lora_A.weight", "lora_magnitude_vector"), new long[] {32}), "DoRA");
        weights(Map.of("base_model.model.model.embed_tokens.lora_embedding_A", new long[] {4, 24}), "embedding");
        weights(Map.of("base_model.model.lm_head.weight", new long[] {32, 7}), "[32, 7]", "the vocabulary was changed");
        weights(Map.of("model.layers.0.self_attn.q_proj.lora_a", new long[] {32, 4}), "mlx-lm");
        weights(Map.of("surprise", new long[] {1}), "surprise");
        weights(Map.of(), "no weights");
        float[] bad = new float[128];
        bad[100] = Float.POSITIVE_INFINITY;
        new SafetensorsWriter().add(A0, new long[] {4, 32}, bad).add(B0, new long[] {32, 4}, new float[128]).write(folder.resolve("adapter_model.safetensors"));
        assertThatThrownBy(() -> PeftAdapter.read(folder)).isInstanceOf(PanaceaException.class).hasMessageContaining("adapter_model.safetensors").hasMessageContaining(A0);
    }

    @Test
    void writesNothingThatWouldBeWrong() throws IOException {
        PeftConfig config = PeftConfig.of(Optional.empty(), 4, 8, 0, List.of("q_proj"), false);
        LoraTensors bad = tensors(4, 32, 32);
        bad.b()[3] = Float.NaN;
        assertThatThrownBy(() -> new PeftAdapter(config, Map.of(Q0, bad)).write(folder)).isInstanceOf(PanaceaException.class).hasMessageContaining(B0);
        assertThat(folder).doesNotExist();
        assertThatThrownBy(() -> new PeftAdapter(config, Map.of(Q0, tensors(5, 32, 32)))).isInstanceOf(PanaceaException.class).hasMessageContaining("rank 5");
        assertThatThrownBy(() -> new PeftAdapter(config, Map.of())).isInstanceOf(PanaceaException.class);
        Files.writeString(folder, "a file");
        assertThatThrownBy(() -> new PeftAdapter(config, Map.of(Q0, tensors(4, 32, 32))).write(folder)).isInstanceOf(PanaceaException.class).hasMessageContaining("adapter");
        assertThat(folder).hasContent("a file");
        try (Stream<Path> beside = Files.list(temp)) {
            assertThat(beside).containsExactly(folder);
        }
    }

    @Test
    void readsTheGoldenAdapters() throws IOException {
        for (Path base : Golden.files("lora-gqa", "rslora-llama3rope", "qlora-nf4")) {
            for (String name : List.of("adapter_init", "adapter_final")) {
                try (Checkpoint c = Checkpoints.open(base)) {
                    PeftAdapter adapter = fitting(base.resolve(name), c.config());
                    assertThat(adapter.modules()).hasSize(7 * c.config().numHiddenLayers());
                    assertThat(adapter.scaling(Q0)).isEqualTo(base.endsWith("rslora-llama3rope") ? 16 / Math.sqrt(8) : 2);
                    Path copy = temp.resolve("copy");
                    adapter.write(copy);
                    assertThat(Files.mismatch(copy.resolve("adapter_model.safetensors"), base.resolve(name).resolve("adapter_model.safetensors"))).isEqualTo(-1);
                    same(fitting(copy, c.config()), adapter);
                }
            }
        }
        assertThatThrownBy(() -> PeftAdapter.read(Golden.files("dora-mha/adapter_init").getFirst())).isInstanceOf(PanaceaException.class).hasMessageContaining("use_dora");
    }

    private static PeftAdapter fitting(Path folder, LlamaConfig base) {
        PeftAdapter adapter = PeftAdapter.read(folder);
        adapter.requireFits(base, "tiny (safetensors F32, 83 kB)");
        return adapter;
    }

    private PeftConfig targets(String json) {
        try {
            Path file = temp.resolve("adapter_config.json");
            Files.writeString(file, "{\"peft_type\": \"LORA\", \"target_modules\": " + json + "}");
            return PeftConfig.read(file);
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }

    private void weights(Map<String, long[]> shapes, String... parts) {
        SafetensorsWriter writer = new SafetensorsWriter();
        shapes.forEach((name, shape) -> writer.add(name, shape, new float[(int) (shape.length == 2 ? shape[0] * shape[1] : shape[0])]));
        writer.write(folder.resolve("adapter_model.safetensors"));
        assertThatThrownBy(() -> fitting(folder, TinyLlama.CONFIG)).isInstanceOf(PanaceaException.class)
                .hasMessageContaining("adapter_model.safetensors").hasMessageContainingAll(parts);
    }

    private static PeftAdapter adapter(PeftConfig config) {
        Map<String, LoraTensors> modules = new LinkedHashMap<>();
        for (int i = 0; i < 2; i++) {
            String q = "model.layers." + i + ".self_attn.q_proj";
            String v = "model.layers." + i + ".self_attn.v_proj";
            modules.put(q, tensors(config.rank(q), 32, 32));
            modules.put(v, tensors(config.rank(v), 32, 16));
        }
        return new PeftAdapter(config, modules);
    }

    private static LoraTensors tensors(int rank, int in, int out) {
        Random random = new Random(rank + in * 31L + out);
        LoraTensors t = new LoraTensors(rank, in, out, new float[rank * in], new float[out * rank]);
        for (float[] values : List.of(t.a(), t.b())) {
            for (int i = 0; i < values.length; i++) {
                values[i] = (float) random.nextGaussian();
            }
        }
        return t;
    }

    private static void same(PeftAdapter found, PeftAdapter expected) {
        assertThat(found.config()).isEqualTo(expected.config());
        assertThat(found.modules()).containsOnlyKeys(expected.modules().keySet());
        expected.modules().forEach((name, t) -> {
            assertThat(found.modules().get(name).a()).as(name).isEqualTo(t.a());
            assertThat(found.modules().get(name).b()).as(name).isEqualTo(t.b());
        });
    }
}
