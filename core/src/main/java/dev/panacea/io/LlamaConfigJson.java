package dev.panacea.io;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.llama.LlamaConfig;
import dev.panacea.llama.RopeConfig;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;

/** Hugging Face's config.json of a Llama model. What would change the arithmetic in a way that is not supported is refused by name. */
final class LlamaConfigJson {
    private static final List<String> WITH_BIAS = List.of("attention_bias", "mlp_bias", "use_bias", "qkv_bias");
    private static final List<String> FLAGS = List.of("use_qk_norm", "qk_norm", "rope_interleaved", "use_parallel_residual", "alibi");
    /** By which value they do nothing. */
    private static final Map<String, Double> NEUTRAL = Map.ofEntries(Map.entry("attention_dropout", 0.0), Map.entry("hidden_dropout", 0.0), Map.entry("resid_pdrop", 0.0),
            Map.entry("embd_pdrop", 0.0), Map.entry("embedding_multiplier", 1.0), Map.entry("residual_multiplier", 1.0), Map.entry("logits_scaling", 1.0),
            Map.entry("logit_scale", 1.0), Map.entry("scale_emb", 1.0), Map.entry("final_logit_softcapping", 0.0), Map.entry("attn_logit_softcapping", 0.0),
            Map.entry("clip_qkv", 0.0), Map.entry("num_local_experts", 0.0), Map.entry("num_experts", 0.0), Map.entry("n_routed_experts", 0.0),
            Map.entry("attention_chunk_size", 0.0));

    private final Path file;
    private final ObjectNode json;

    private LlamaConfigJson(Path file) {
        this.file = file;
        this.json = JsonFiles.read(file);
    }

    /** @param loadIn4Bit whether {@code quantization_config} says that the linear layers are stored by bitsandbytes in 4 bits */
    record Parsed(LlamaConfig config, boolean loadIn4Bit) {}

    static Parsed read(Path file) {
        LlamaConfigJson reader = new LlamaConfigJson(file);
        return new Parsed(reader.config(), reader.loadIn4Bit());
    }

    private LlamaConfig config() {
        requireLlama();
        if (present(json, "hidden_act") && !List.of("silu", "swish").contains(json.path("hidden_act").asText())) {
            throw fault("hidden_act is " + JsonFiles.shown(json.path("hidden_act")) + "; only \"silu\" is supported");
        }
        for (String flag : WITH_BIAS) {
            if (flag(flag)) {
                throw fault(flag + " is true; linear layers with a bias are not supported");
            }
        }
        int hidden = integer(json, "hidden_size");
        int heads = integer(json, "num_attention_heads");
        int headDim = integer(json, "head_dim", heads > 0 ? hidden / heads : 0);
        if (!present(json, "head_dim") && heads > 0 && hidden % heads != 0) {
            throw fault("hidden_size " + hidden + " is not a multiple of num_attention_heads " + heads);
        }
        int vocabulary = integer(json, "vocab_size");
        int inner = integer(json, "intermediate_size");
        int layers = integer(json, "num_hidden_layers");
        int keyHeads = integer(json, "num_key_value_heads", heads);
        int longest = integer(json, "max_position_embeddings", 2048);
        float epsilon = (float) number(json, "rms_norm_eps", 1e-6);
        boolean tied = flag("tie_word_embeddings");
        RopeConfig rope = RopeConfigJson.read(file, json);
        requireNothingElse(headDim, longest);
        try {
            return new LlamaConfig(vocabulary, hidden, inner, layers, heads, keyHeads, headDim, longest, epsilon, tied, rope);
        } catch (PanaceaException e) {
            throw new PanaceaException(file + ": " + e.getMessage(), e);
        }
    }

    /** transformers goes by model_type; architectures may be missing, or name the model without its head. */
    private void requireLlama() {
        JsonNode architectures = json.path("architectures");
        boolean named = present(json, "architectures") && !architectures.isEmpty();
        if (named && !(architectures.isArray() && architectures.size() == 1 && List.of("LlamaForCausalLM", "LlamaModel").contains(architectures.get(0).asText()))) {
            throw fault("architectures is " + JsonFiles.shown(architectures) + "; only [\"LlamaForCausalLM\"] is supported. Choose a model of the Llama family");
        }
        if (!named && !present(json, "model_type")) {
            throw fault("model_type is missing, and architectures, too; in the config.json of a Llama model, model_type is \"llama\"");
        }
        if (present(json, "model_type") && !json.path("model_type").asText().equals("llama")) {
            throw fault("model_type is " + JsonFiles.shown(json.path("model_type")) + "; only \"llama\" is supported. Choose a model of the Llama family");
        }
    }

    /**
     * Keys with which relatives of Llama multiply, cap, drop or cut. transformers' Llama does not look at most of them, so that a file which has one
     * is of a model that would be computed wrongly.
     */
    private void requireNothingElse(int headDim, int longest) {
        NEUTRAL.forEach((key, neutral) -> requireNumber(key, neutral, neutral));
        requireNumber("attention_multiplier", 0, 1 / Math.sqrt(headDim));
        requireNumber("query_pre_attn_scalar", headDim, headDim);
        for (String key : FLAGS) {
            if (flag(key)) {
                throw unsupported(key);
            }
        }
        boolean window = number(json, "sliding_window", longest) < longest && !(present(json, "use_sliding_window") && !flag("use_sliding_window"));
        if (window || flag("use_sliding_window") && !present(json, "sliding_window")) {
            throw unsupported("sliding_window");
        }
        for (JsonNode type : json.path("layer_types")) {
            if (!type.asText().equals("full_attention")) {
                throw fault("layer_types has " + JsonFiles.shown(type) + "; only \"full_attention\" is supported");
            }
        }
    }

    private void requireNumber(String key, double neutral, double other) {
        double value = number(json, key, neutral);
        if (Math.abs(value - neutral) > 1e-6 && Math.abs(value - other) > 1e-6) {
            throw unsupported(key);
        }
    }

    private PanaceaException unsupported(String key) {
        return fault(key + " is " + JsonFiles.shown(json.path(key)) + ", which would change the arithmetic and is not supported. Choose a plain Llama model");
    }

    private boolean loadIn4Bit() {
        if (!present(json, "quantization_config")) {
            return false;
        }
        JsonNode quantization = json.path("quantization_config");
        // Older versions of transformers wrote no method when there was this one only.
        String method = quantization.path("quant_method").asText(quantization.has("load_in_4bit") ? "bitsandbytes" : "(none)");
        if (!method.equals("bitsandbytes") || !quantization.path("load_in_4bit").asBoolean(false)) {
            throw fault("quantization_config has quant_method " + method + (method.equals("bitsandbytes") ? " without load_in_4bit" : "")
                    + "; only bitsandbytes in 4 bits is supported. Choose the model's unquantized form");
        }
        return true;
    }

    private boolean flag(String key) {
        JsonNode value = json.path(key);
        if (present(json, key) && !value.isBoolean()) {
            throw fault(key + " is " + JsonFiles.shown(value) + "; true or false is expected");
        }
        return value.booleanValue();
    }

    private int integer(JsonNode object, String key) {
        if (!present(object, key)) {
            throw fault(key + " is missing");
        }
        return integer(object, key, 0);
    }

    private int integer(JsonNode object, String key, int otherwise) {
        if (!present(object, key)) {
            return otherwise;
        }
        JsonNode value = object.path(key);
        if (!value.isIntegralNumber() || !value.canConvertToInt()) {
            throw fault(key + " is " + JsonFiles.shown(value) + "; a whole number is expected");
        }
        return value.intValue();
    }

    private double number(JsonNode object, String key, double otherwise) {
        if (!present(object, key)) {
            return otherwise;
        }
        if (!object.path(key).isNumber()) {
            throw fault(key + " is " + JsonFiles.shown(object.path(key)) + "; a number is expected");
        }
        return object.path(key).doubleValue();
    }

    private static boolean present(JsonNode object, String key) {
        return object.hasNonNull(key);
    }

    private PanaceaException fault(String message) {
        return new PanaceaException(file + ": " + message);
    }
}
