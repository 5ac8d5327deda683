package dev.panacea.io;

import dev.panacea.llama.LlamaConfig;
import dev.panacea.llama.RopeConfig;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.stream.IntStream;

/** A Llama of random weights that can be written in every format. */
final class TinyLlama {
    static final LlamaConfig CONFIG = new LlamaConfig(24, 32, 64, 2, 4, 2, 8, 128, 1e-5f, false, new RopeConfig(10000, Optional.empty()));
    static final String CONFIG_JSON = """
            {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 24, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
             "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 128, "rms_norm_eps": 1e-05, "hidden_act": "silu",
             "tie_word_embeddings": false, "rope_theta": 10000.0, "rope_scaling": null, "attention_bias": false, "mlp_bias": false}
            """;

    final Map<String, float[]> weights = new LinkedHashMap<>();
    final Map<String, long[]> shapes = LlamaTensors.all(CONFIG);

    TinyLlama(long seed) {
        Random random = new Random(seed);
        shapes.forEach((name, shape) -> {
            float[] values = new float[(int) (shape.length == 2 ? shape[0] * shape[1] : shape[0])];
            for (int i = 0; i < values.length; i++) {
                values[i] = (float) random.nextGaussian();
            }
            weights.put(name, values);
        });
    }

    Path writeFolder(Path folder) {
        writeConfig(folder, CONFIG_JSON);
        safetensors(weights.keySet()).write(folder.resolve("model.safetensors"));
        return folder;
    }

    static void writeConfig(Path folder, String json) {
        try {
            Files.createDirectories(folder);
            Files.writeString(folder.resolve("config.json"), json);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    SafetensorsWriter safetensors(Iterable<String> names) {
        SafetensorsWriter writer = new SafetensorsWriter();
        names.forEach(name -> writer.add(name, shapes.get(name), weights.get(name)));
        return writer;
    }

    /** The keys of a GGUF file of this model. */
    static GgufBuilder ggufKeys() {
        return new GgufBuilder().string("general.architecture", "llama").string("general.type", "model").u32("llama.block_count", 2).u32("llama.context_length", 128)
                .u32("llama.embedding_length", 32).u32("llama.feed_forward_length", 64).u32("llama.attention.head_count", 4).u32("llama.attention.head_count_kv", 2)
                .f32("llama.rope.freq_base", 10000).f32("llama.attention.layer_norm_rms_epsilon", 1e-5f).u32("llama.rope.dimension_count", 8)
                .strings("tokenizer.ggml.tokens", IntStream.range(0, 24).mapToObj(i -> "t" + i).toList());
    }

    GgufBuilder gguf() {
        return ggufTensors(ggufKeys(), List.of());
    }

    /** Adds the tensors, but for those named by their Hugging Face names; q and k in the order of rows that llama.cpp has. */
    GgufBuilder ggufTensors(GgufBuilder builder, List<String> leftOut) {
        weights.forEach((name, values) -> {
            if (!leftOut.contains(name)) {
                builder.tensor(ggufName(name), shapes.get(name), ggufRows(name, values));
            }
        });
        return builder;
    }

    static String ggufName(String name) {
        return name.replace("model.layers.", "blk.").replace("self_attn.q_proj", "attn_q").replace("self_attn.k_proj", "attn_k").replace("self_attn.v_proj", "attn_v")
                .replace("self_attn.o_proj", "attn_output").replace("mlp.gate_proj", "ffn_gate").replace("mlp.up_proj", "ffn_up").replace("mlp.down_proj", "ffn_down")
                .replace("input_layernorm", "attn_norm").replace("post_attention_layernorm", "ffn_norm").replace("model.embed_tokens", "token_embd")
                .replace("model.norm", "output_norm").replace("lm_head", "output");
    }

    /** New row h*d + 2j + s is old row h*d + s*(d/2) + j (compatibility with llama.cpp's converter). */
    static float[] ggufRows(String name, float[] values) {
        if (!name.endsWith("q_proj.weight") && !name.endsWith("k_proj.weight")) {
            return values;
        }
        int d = CONFIG.headDim();
        int columns = CONFIG.hiddenSize();
        float[] result = new float[values.length];
        for (int h = 0; h < values.length / columns / d; h++) {
            for (int j = 0; j < d / 2; j++) {
                for (int s = 0; s < 2; s++) {
                    System.arraycopy(values, (h * d + s * (d / 2) + j) * columns, result, (h * d + 2 * j + s) * columns, columns);
                }
            }
        }
        return result;
    }
}
