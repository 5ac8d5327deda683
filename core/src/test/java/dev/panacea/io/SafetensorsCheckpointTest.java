package dev.panacea.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.panacea.kernels.Backends;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.kernels.QuantType;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.LoadOptions;
import dev.panacea.llama.Quantization;
import dev.panacea.llama.RopeConfig;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class SafetensorsCheckpointTest {
    @TempDir
    Path folder;
    private final TinyLlama model = new TinyLlama(5);

    @Test
    void readsAFolder() {
        try (Checkpoint c = Checkpoints.open(model.writeFolder(folder.resolve("tiny")))) {
            sameAsModel(c);
            assertThat(c.description()).isEqualTo("tiny (safetensors F32, 83 kB)");
            assertThat(c.storedType("model.norm.weight")).isEqualTo("F32");
            assertThat(c.stored4Bit("model.norm.weight")).isEmpty();
            assertThatThrownBy(() -> c.read("absent", 0, 1, new float[1])).isInstanceOf(PanaceaException.class).hasMessageContaining("tiny");
        }
    }

    @Test
    void readsShards() throws IOException {
        List<String> names = new ArrayList<>(model.weights.keySet());
        TinyLlama.writeConfig(folder, TinyLlama.CONFIG_JSON);
        model.safetensors(names.subList(0, 9)).write(folder.resolve("model-00001-of-00002.safetensors"));
        model.safetensors(names.subList(9, names.size())).write(folder.resolve("model-00002-of-00002.safetensors"));
        index(names.stream().collect(Collectors.toMap(n -> n, n -> names.indexOf(n) < 9 ? "model-00001-of-00002.safetensors" : "model-00002-of-00002.safetensors")));
        try (Checkpoint c = Checkpoints.open(folder)) {
            sameAsModel(c);
        }
        index(Map.of("model.norm.weight", "../model-00001-of-00002.safetensors"));
        refused("index.json", "../model-00001-of-00002.safetensors", "not the plain name");
        index(Map.of("model.norm.weight", "/etc/passwd"));
        refused("index.json", "/etc/passwd");
        index(Map.of("model.norm.weight", "model-00001-of-00002.safetensors"));
        refused("model-00001-of-00002.safetensors", "lacks the tensor model.norm.weight");
        index(Map.of("model.norm.weight", "model-00009-of-00002.safetensors"));
        refused("model-00009-of-00002.safetensors", "does not exist");
        Files.writeString(folder.resolve("model.safetensors.index.json"), "{\"weight_map\": []}");
        refused("index.json", "no weight_map");
        model.safetensors(names.subList(0, 10)).write(folder.resolve("model-00001-of-00002.safetensors"));
        index(names.stream().collect(Collectors.toMap(n -> n, n -> names.indexOf(n) < 9 ? "model-00001-of-00002.safetensors" : "model-00002-of-00002.safetensors")));
        refused(names.get(9), "model-00001-of-00002.safetensors");
    }

    @Test
    void opensAFolderWithOneGgufFile() throws IOException {
        model.gguf().write(folder.resolve("one.gguf"));
        try (Checkpoint c = Checkpoints.open(folder)) {
            sameAsModel(c);
        }
        Files.copy(folder.resolve("one.gguf"), folder.resolve("two.GGUF"));
        refused("2 .gguf files", "one.gguf", "two.GGUF");
        Files.move(folder.resolve("one.gguf"), folder.resolve("m-00001-of-00002.gguf"));
        Files.move(folder.resolve("two.GGUF"), folder.resolve("m-00002-of-00002.gguf"));
        refused("a .gguf model in 2 parts", "llama-gguf-split");
    }

    @Test
    void readsRotarySettingsOldAndNew() {
        model.writeFolder(folder);
        RopeConfig plain = new RopeConfig(500000, Optional.empty());
        RopeConfig llama3 = new RopeConfig(500000, Optional.of(new RopeConfig.Llama3Scaling(32, 1, 4, 8192)));
        String scaling = "\"factor\": 32.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 8192";
        assertThat(rope("\"rope_theta\": 500000.0, \"rope_scaling\": null")).isEqualTo(plain);
        assertThat(rope("\"rope_theta\": 500000")).isEqualTo(plain);
        assertThat(rope("\"rope_theta\": 500000, \"rope_scaling\": {\"type\": \"llama3\", " + scaling + "}")).isEqualTo(llama3);
        assertThat(rope("\"rope_theta\": 500000, \"rope_scaling\": {\"rope_type\": \"llama3\", " + scaling + "}")).isEqualTo(llama3);
        assertThat(rope("\"rope_parameters\": {\"rope_theta\": 500000, \"rope_type\": \"default\"}")).isEqualTo(plain);
        assertThat(rope("\"rope_parameters\": {\"rope_theta\": 500000, \"rope_type\": \"llama3\", " + scaling + "}")).isEqualTo(llama3);
        RopeConfig linear = new RopeConfig(500000, 4, Optional.empty(), List.of());
        assertThat(rope("\"rope_theta\": 500000, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 4.0}")).isEqualTo(linear);
        assertThat(rope("\"rope_parameters\": {\"rope_theta\": 500000, \"rope_type\": \"linear\", \"factor\": 4}")).isEqualTo(linear);
        assertThat(rope("\"rope_theta\": 500000, \"rope_parameters\": {\"rope_theta\": 500000, \"rope_type\": \"linear\", \"factor\": 4},"
                + " \"rope_scaling\": {\"type\": \"linear\", \"factor\": 4.0}")).as("said twice").isEqualTo(linear);
        assertThat(rope("\"tie_word_embeddings\": false")).isEqualTo(new RopeConfig(10000, Optional.empty()));
    }

    @Test
    void fillsInWhatOlderConfigurationsLeaveOut() {
        model.writeFolder(folder);
        TinyLlama.writeConfig(folder, TinyLlama.CONFIG_JSON.replace("\"head_dim\": 8, ", "").replace("\"tie_word_embeddings\": false, ", "")
                .replace("\"attention_bias\": false, \"mlp_bias\": false", "\"torch_dtype\": \"float32\""));
        try (Checkpoint c = Checkpoints.open(folder)) {
            assertThat(c.config()).isEqualTo(TinyLlama.CONFIG);
        }
    }

    @Test
    void refusesRotarySettingsThatSayTwoThings() {
        model.writeFolder(folder);
        rotary("\"rope_theta\": 10000, \"rope_parameters\": {\"rope_theta\": 500000, \"rope_type\": \"default\"}", "rope_parameters is {", "but rope_theta is 10000");
        rotary("\"rope_parameters\": {\"rope_theta\": 10000, \"rope_type\": \"default\"}, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2}", "rope_parameters is {",
                "but rope_scaling is {");
        rotary("\"rope_scaling\": {\"type\": \"linear\", \"rope_type\": \"default\", \"factor\": 2}", "rope_type \"default\" and the type \"linear\"");
        rotary("\"rope_scaling\": {\"factor\": 2}", "rope_scaling has factor 2, which does not belong to rope_type default");
        rotary("\"rope_scaling\": {\"type\": \"linear\", \"factor\": 2, \"attention_factor\": 1.2}", "attention_factor 1.2");
        rotary("\"rope_scaling\": {\"type\": \"linear\"}", "lacks factor");
        rotary("\"rope_scaling\": {\"type\": \"linear\", \"factor\": 0.5}", "factor 0.5");
        for (String type : List.of("yarn", "dynamic", "longrope")) {
            rotary("\"rope_scaling\": {\"type\": \"" + type + "\", \"factor\": 2}", "rope_type " + type + "; supported are default, linear and llama3");
        }
        rotary("\"rope_parameters\": {\"full_attention\": {\"rope_theta\": 1e6}}", "full_attention");
    }

    private void rotary(String settings, String... parts) {
        config("\"rope_theta\": 10000.0, \"rope_scaling\": null", settings, parts);
    }

    @Test
    void refusesKeysThatWouldChangeTheArithmeticUnlessTheyDoNothing() {
        model.writeFolder(folder);
        for (String[] key : new String[][] {{"attention_dropout", "0.0", "0.1"}, {"logits_scaling", "1.0", "8.0"}, {"embedding_multiplier", "1", "12"},
            {"residual_multiplier", "1.0", "0.22"}, {"attention_multiplier", "0.35355339", "0.0078125"}, {"scale_emb", "1", "12"}, {"final_logit_softcapping", "null", "30.0"},
            {"num_local_experts", "0", "8"}, {"sliding_window", "null", "64"}, {"query_pre_attn_scalar", "8", "256"}, {"use_qk_norm", "false", "true"}, {"clip_qkv", "null", "8.0"}}) {
            TinyLlama.writeConfig(folder, TinyLlama.CONFIG_JSON.replace("\"mlp_bias\"", "\"" + key[0] + "\": " + key[1] + ", \"mlp_bias\""));
            try (Checkpoint c = Checkpoints.open(folder)) {
                assertThat(c.config()).isEqualTo(TinyLlama.CONFIG);
            }
            config("\"mlp_bias\"", "\"" + key[0] + "\": " + key[2] + ", \"mlp_bias\"", key[0] + " is " + key[2]);
        }
        config("\"mlp_bias\": false", "\"quantization_config\": {\"load_in_8bit\": true, \"load_in_4bit\": false}", "bitsandbytes without load_in_4bit");
        config("\"hidden_act\": \"silu\"", "\"hidden_act\": [" + "7, ".repeat(10_000) + "7]", "hidden_act is [7,7", "...; only");
        config("\"mlp_bias\": false", "\"mlp_bias\": \"no\"", "mlp_bias is \"no\"; true or false is expected");
        config("\"head_dim\": 8", "\"head_dim\": 512", "head_dim is 512; the attention kernels take up to 256");
        config("\"mlp_bias\": false", "\"layer_types\": [\"full_attention\", \"sliding_attention\"]", "sliding_attention");
    }

    /** transformers goes by model_type, adds the prefix that a model without its head lacks, and ties a matrix whichever name it was saved by. */
    @Test
    void readsWhatTransformersReads() {
        TinyLlama.writeConfig(folder, TinyLlama.CONFIG_JSON.replace("\"architectures\": [\"LlamaForCausalLM\"], ", ""));
        SafetensorsWriter bare = new SafetensorsWriter();
        model.weights.forEach((name, values) -> bare.add(name.replaceFirst("^model\\.", ""), model.shapes.get(name), values));
        bare.add("rotary_emb.inv_freq", new long[] {4}, new float[4]);
        bare.write(folder.resolve("model.safetensors"));
        try (Checkpoint c = Checkpoints.open(folder)) {
            sameAsModel(c);
        }
        config("\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", ", "", "model_type is missing");
        bare.add("model.norm.weight", new long[] {32}, new float[32]).write(folder.resolve("model.safetensors"));
        TinyLlama.writeConfig(folder, TinyLlama.CONFIG_JSON);
        refused("model.norm.weight is there twice, once as norm.weight");
    }

    @Test
    void aTiedMatrixMayBeStoredAsTheHeadAlone() {
        TinyLlama.writeConfig(folder, TinyLlama.CONFIG_JSON.replace("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true"));
        model.safetensors(model.weights.keySet().stream().filter(name -> !name.equals("model.embed_tokens.weight")).toList()).write(folder.resolve("model.safetensors"));
        float[] head = model.weights.get("lm_head.weight");
        float[] values = new float[head.length];
        try (Checkpoint c = Checkpoints.open(folder)) {
            assertThat(c.names()).contains("model.embed_tokens.weight").doesNotContain("lm_head.weight");
            c.read("model.embed_tokens.weight", 0, values.length, values);
            assertThat(values).isEqualTo(head);
        }
    }

    /** One layer in bitsandbytes' 4 bits: the others were left out on purpose, and no way of loading quantizes them. */
    @Test
    void whatBitsandbytesLeftIn16BitsStaysSo() {
        String name = "model.layers.0.self_attn.q_proj.weight";
        TinyLlama.writeConfig(folder, TinyLlama.CONFIG_JSON.replace("\"mlp_bias\"", "\"quantization_config\": {\"quant_method\": \"bitsandbytes\", \"load_in_4bit\": true}, \"mlp_bias\""));
        SafetensorsWriter writer = model.safetensors(model.weights.keySet().stream().filter(n -> !n.equals(name)).toList());
        byte[] packed = new byte[32 * 32 / 2];
        new Random(4).nextBytes(packed);
        float[] absmax = new float[32 * 32 / 64];
        Arrays.fill(absmax, 2);
        byte[] state = "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"dtype\": \"bfloat16\", \"shape\": [32, 32]}".getBytes(StandardCharsets.UTF_8);
        writer.add(name, SafetensorsFile.Type.U8, new long[] {packed.length, 1}, MemorySegment.ofArray(packed)).add(name + ".absmax", new long[] {absmax.length}, absmax)
                .add(name + ".quant_map", new long[] {16}, QuantType.NF4.levels())
                .add(name + ".quant_state.bitsandbytes__nf4", SafetensorsFile.Type.U8, new long[] {state.length}, MemorySegment.ofArray(state)).write(folder.resolve("model.safetensors"));
        try (Kernels kernels = Backends.open(); Checkpoint c = Checkpoints.open(folder)) {
            assertThat(Quantization.defaultFor(c)).isEqualTo(Quantization.KEEP);
            float[] expected = logits(kernels, c, Quantization.NONE);
            assertThat(logits(kernels, c, Quantization.NF4)).usingComparatorWithPrecision(1e-3f).containsExactly(expected);
            assertThat(logits(kernels, c, Quantization.KEEP)).usingComparatorWithPrecision(1e-3f).containsExactly(expected);
        }
        model.writeFolder(folder);
        try (Kernels kernels = Backends.open(); Checkpoint c = Checkpoints.open(folder)) {
            assertThat(Quantization.defaultFor(c)).isEqualTo(Quantization.NF4);
            assertThat(logits(kernels, c, Quantization.NF4)).as("quantized after all").usingComparatorWithPrecision(1e-3f).isNotEqualTo(logits(kernels, c, Quantization.NONE));
        }
    }

    private static float[] logits(Kernels kernels, Checkpoint checkpoint, Quantization quantization) {
        try (LlamaModel loaded = LlamaModel.load(kernels, checkpoint, new LoadOptions(quantization, DType.F32))) {
            return loaded.logits(new int[] {1, 5, 9, 2});
        }
    }

    @Test
    void refusesByNameWhatItCannotRun() throws IOException {
        model.writeFolder(folder);
        config("LlamaForCausalLM", "MistralForCausalLM", "architectures is [\"MistralForCausalLM\"]");
        config("\"model_type\": \"llama\"", "\"model_type\": \"mistral\"", "model_type is \"mistral\"");
        config("\"silu\"", "\"gelu\"", "hidden_act is \"gelu\"");
        config("\"attention_bias\": false", "\"attention_bias\": true", "attention_bias is true");
        config("\"mlp_bias\": false", "\"mlp_bias\": true", "mlp_bias is true");
        config("\"rope_scaling\": null", "\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 2}", "rope_type yarn");
        config("\"rope_scaling\": null", "\"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 2}", "lacks low_freq_factor");
        config("\"rope_scaling\": null", "\"rope_parameters\": {\"rope_type\": \"default\", \"partial_rotary_factor\": 0.5}", "partial_rotary_factor");
        config("\"mlp_bias\": false", "\"quantization_config\": {\"quant_method\": \"gptq\"}", "gptq");
        config("\"mlp_bias\": false", "\"quantization_config\": {\"quant_method\": \"bitsandbytes\", \"load_in_8bit\": true}", "bitsandbytes without load_in_4bit");
        config("\"hidden_size\": 32, ", "", "hidden_size is missing");
        config("\"hidden_size\": 32", "\"hidden_size\": 3e1", "hidden_size is 30.0");
        config("\"hidden_size\": 32", "\"hidden_size\": 99999999999", "hidden_size is 99999999999");
        config("\"num_attention_heads\": 4", "\"num_attention_heads\": 0", "num_attention_heads is 0");
        config("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", "model.layers.2.");
        config("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1", "model.layers.1.");
        config("\"vocab_size\": 24", "\"vocab_size\": 25", "[24, 32]", "[25, 32]", "lm_head.weight");
        config("\"head_dim\": 8", "\"head_dim\": 7", "head_dim 7 is odd");
        config("\"rms_norm_eps\": 1e-05", "\"rms_norm_eps\": 2", "rms_norm_eps");
        config("\"vocab_size\": 24", "\"vocab_size\": 24, \"vocab_size\": 24", "Duplicate field 'vocab_size'");
        config("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true", "lm_head.weight differs");
        Files.writeString(folder.resolve("config.json"), "[]");
        refused("config.json", "JSON object");
        Files.write(folder.resolve("config.json"), new byte[] {'{', (byte) 0xc3, '}'});
        refused("config.json", "not UTF-8");
        Files.writeString(folder.resolve("config.json"), "");
        refused("config.json is empty");
        Files.delete(folder.resolve("config.json"));
        refused("config.json", "does not exist");
        assertThatThrownBy(() -> Checkpoints.open(folder.resolve("model.safetensors"))).isInstanceOf(PanaceaException.class).hasMessageContaining("give the folder");
    }

    @Test
    void dropsAHeadThatIsTheEmbedding() {
        model.weights.put("lm_head.weight", model.weights.get("model.embed_tokens.weight"));
        model.writeFolder(folder);
        TinyLlama.writeConfig(folder, TinyLlama.CONFIG_JSON.replace("\"tie_word_embeddings\": false", "\"tie_word_embeddings\": true"));
        try (Checkpoint c = Checkpoints.open(folder)) {
            assertThat(c.config().tieWordEmbeddings()).isTrue();
            assertThat(c.names()).doesNotContain("lm_head.weight").hasSize(20);
        }
    }

    @Test
    void opensTheGoldenModels() {
        List<Path> folders = Golden.files("lora-gqa", "rslora-llama3rope", "dora-mha", "full", "qlora-nf4", "qlora-nf4/bnb-4bit");
        for (Path golden : folders) {
            try (Checkpoint c = Checkpoints.open(golden)) {
                for (String name : c.names()) {
                    long[] shape = c.shape(name);
                    float[] values = new float[(int) (shape.length == 2 ? shape[0] * shape[1] : shape[0])];
                    c.read(name, 0, values.length, values);
                }
                assertThat(c.config().rope().scaling().isPresent()).isEqualTo(golden.endsWith("rslora-llama3rope"));
                assertThat(c.config().tieWordEmbeddings()).isEqualTo(golden.endsWith("rslora-llama3rope"));
            }
        }
        try (Checkpoint quantized = Checkpoints.open(folders.getLast()); Checkpoint original = Checkpoints.open(folders.get(4))) {
            String name = "model.layers.1.mlp.down_proj.weight";
            assertThat(quantized.storedType(name)).isEqualTo("NF4");
            assertThat(quantized.shape(name)).containsExactly(original.shape(name));
            Checkpoint.Stored4Bit stored = quantized.stored4Bit(name).orElseThrow();
            assertThat(stored.packed().byteSize()).isEqualTo(128 * 320 / 2);
            assertThat(stored.absmax().byteSize()).isEqualTo(128 * 320 / 64);
            assertThat(stored.nested().orElseThrow().scale().byteSize()).isEqualTo(3 * 4);
            float[] q = new float[1000];
            float[] w = new float[1000];
            quantized.read(name, 777, 1000, q);
            original.read(name, 777, 1000, w);
            double error = 0;
            double norm = 0;
            for (int i = 0; i < q.length; i++) {
                error += (q[i] - w[i]) * (q[i] - w[i]);
                norm += w[i] * w[i];
            }
            assertThat(Math.sqrt(error / norm)).isBetween(0.05, 0.12);
        }
    }

    private RopeConfig rope(String settings) {
        TinyLlama.writeConfig(folder, TinyLlama.CONFIG_JSON.replace("\"rope_theta\": 10000.0, \"rope_scaling\": null", settings)
                .replace("\"tie_word_embeddings\": false,\n", "").replaceFirst("\"tie_word_embeddings\": false, ", ""));
        try (Checkpoint c = Checkpoints.open(folder)) {
            return c.config().rope();
        }
    }

    private void config(String from, String to, String... parts) {
        assertThat(TinyLlama.CONFIG_JSON).contains(from);
        TinyLlama.writeConfig(folder, TinyLlama.CONFIG_JSON.replace(from, to));
        refused(parts);
    }

    private void refused(String... parts) {
        assertThatThrownBy(() -> Checkpoints.open(folder).close()).isInstanceOf(PanaceaException.class).hasMessageContaining(folder.toString()).hasMessageContainingAll(parts);
    }

    private void index(Map<String, String> places) throws IOException {
        String map = places.entrySet().stream().map(e -> "\"" + e.getKey() + "\": \"" + e.getValue() + "\"").collect(Collectors.joining(", "));
        Files.writeString(folder.resolve("model.safetensors.index.json"), "{\"metadata\": {}, \"weight_map\": {" + map + "}}");
    }

    private void sameAsModel(Checkpoint c) {
        assertThat(c.config()).isEqualTo(TinyLlama.CONFIG);
        assertThat(c.names()).containsExactlyInAnyOrderElementsOf(model.weights.keySet());
        model.weights.forEach((name, expected) -> {
            assertThat(c.shape(name)).containsExactly(model.shapes.get(name));
            float[] values = new float[expected.length];
            c.read(name, 0, values.length, values);
            assertThat(values).as(name).isEqualTo(expected);
        });
    }
}
