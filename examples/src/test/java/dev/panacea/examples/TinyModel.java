package dev.panacea.examples;

import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.panacea.io.SafetensorsWriter;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;

/** A Llama of random weights in Hugging Face's format: two layers of width 32, one token per byte, ChatML. It learns nothing of use, in a second. */
final class TinyModel {
    static final int HIDDEN = 32;
    static final int KEYS = 16;
    static final int LONGEST = 512;
    private static final int INNER = 64;
    private static final int VOCABULARY = 258;
    private static final String TEMPLATE = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
            + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    private final JsonMapper json = new JsonMapper();
    private final Random random = new Random(1);

    private TinyModel() {}

    static Path write(Path folder) throws IOException {
        TinyModel model = new TinyModel();
        Files.createDirectories(folder);
        model.config(folder.resolve("config.json"));
        model.tokenizer(folder);
        model.weights(folder.resolve("model.safetensors"));
        return folder;
    }

    private void config(Path file) throws IOException {
        ObjectNode c = json.createObjectNode();
        c.putArray("architectures").add("LlamaForCausalLM");
        c.put("model_type", "llama").put("vocab_size", VOCABULARY).put("hidden_size", HIDDEN).put("intermediate_size", INNER).put("num_hidden_layers", 2)
                .put("num_attention_heads", 4).put("num_key_value_heads", 2).put("max_position_embeddings", LONGEST).put("rms_norm_eps", 1e-5).put("rope_theta", 10000.0)
                .put("tie_word_embeddings", true).put("hidden_act", "silu").put("torch_dtype", "float32").put("bos_token_id", 256).put("eos_token_id", 257);
        json.writeValue(file.toFile(), c);
    }

    private void tokenizer(Path folder) throws IOException {
        ObjectNode root = json.createObjectNode().put("version", "1.0");
        var added = root.putArray("added_tokens");
        for (String name : new String[] {"<|im_start|>", "<|im_end|>"}) {
            added.addObject().put("id", 256 + added.size() - 1).put("content", name).put("single_word", false).put("lstrip", false).put("rstrip", false).put("normalized", false)
                    .put("special", true);
        }
        root.putObject("pre_tokenizer").put("type", "ByteLevel").put("add_prefix_space", false).put("trim_offsets", true).put("use_regex", true);
        root.putObject("decoder").put("type", "ByteLevel").put("add_prefix_space", true).put("trim_offsets", true).put("use_regex", true);
        ObjectNode model = root.putObject("model").put("type", "BPE");
        ObjectNode vocabulary = model.putObject("vocab");
        int moved = 0;
        for (int b = 0; b < 256; b++) {
            // GPT-2 writes bytes that are no visible character as the characters from 256 on.
            boolean visible = b > ' ' && b < 0x7F || b >= 0xA1 && b != 0xAD;
            vocabulary.put(Character.toString(visible ? b : 256 + moved++), b);
        }
        model.putArray("merges");
        json.writeValue(folder.resolve("tokenizer.json").toFile(), root);
        json.writeValue(folder.resolve("tokenizer_config.json").toFile(),
                json.createObjectNode().put("bos_token", "<|im_start|>").put("eos_token", "<|im_end|>").put("chat_template", TEMPLATE));
    }

    private void weights(Path file) {
        SafetensorsWriter w = new SafetensorsWriter();
        matrix(w, "model.embed_tokens.weight", VOCABULARY, HIDDEN);
        for (int i = 0; i < 2; i++) {
            String p = "model.layers." + i + ".";
            ones(w, p + "input_layernorm.weight");
            ones(w, p + "post_attention_layernorm.weight");
            matrix(w, p + "self_attn.q_proj.weight", HIDDEN, HIDDEN);
            matrix(w, p + "self_attn.k_proj.weight", KEYS, HIDDEN);
            matrix(w, p + "self_attn.v_proj.weight", KEYS, HIDDEN);
            matrix(w, p + "self_attn.o_proj.weight", HIDDEN, HIDDEN);
            matrix(w, p + "mlp.gate_proj.weight", INNER, HIDDEN);
            matrix(w, p + "mlp.up_proj.weight", INNER, HIDDEN);
            matrix(w, p + "mlp.down_proj.weight", HIDDEN, INNER);
        }
        ones(w, "model.norm.weight");
        w.write(file);
    }

    private void matrix(SafetensorsWriter w, String name, int rows, int columns) {
        float[] values = new float[rows * columns];
        for (int i = 0; i < values.length; i++) {
            values[i] = (float) (random.nextGaussian() / Math.sqrt(columns));
        }
        w.add(name, new long[] {rows, columns}, values);
    }

    private static void ones(SafetensorsWriter w, String name) {
        float[] values = new float[HIDDEN];
        Arrays.fill(values, 1);
        w.add(name, new long[] {HIDDEN}, values);
    }
}
