package dev.panacea.io;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.llama.LlamaConfig;
import dev.panacea.llama.RopeConfig;
import java.nio.file.Path;
import java.util.Optional;

/** Hugging Face's config.json of a Llama model. What would change the arithmetic in a way that is not supported is refused by name. */
final class LlamaConfigJson {
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
        JsonNode architectures = json.path("architectures");
        if (!architectures.isArray() || architectures.size() != 1 || !architectures.get(0).asText().equals("LlamaForCausalLM")) {
            throw fault("architectures is " + architectures + "; only [\"LlamaForCausalLM\"] is supported. Choose a model of the Llama family");
        }
        refuseUnless("model_type", "llama");
        refuseUnless("hidden_act", "silu");
        for (String flag : new String[] {"attention_bias", "mlp_bias"}) {
            if (json.path(flag).asBoolean(false)) {
                throw fault(flag + " is true; linear layers with a bias are not supported");
            }
        }
        int hidden = integer(json, "hidden_size");
        int heads = integer(json, "num_attention_heads");
        int headDim = integer(json, "head_dim", heads > 0 ? hidden / heads : 0);
        if (!present(json, "head_dim") && heads > 0 && hidden % heads != 0) {
            throw fault("hidden_size " + hidden + " is not a multiple of num_attention_heads " + heads);
        }
        try {
            return new LlamaConfig(integer(json, "vocab_size"), hidden, integer(json, "intermediate_size"), integer(json, "num_hidden_layers"), heads,
                    integer(json, "num_key_value_heads", heads), headDim, integer(json, "max_position_embeddings", 2048),
                    (float) number(json, "rms_norm_eps", 1e-6), json.path("tie_word_embeddings").asBoolean(false), rope());
        } catch (PanaceaException e) {
            throw e.getMessage().startsWith(file.toString()) ? e : new PanaceaException(file + ": " + e.getMessage(), e);
        }
    }

    /** Newer files have all of it in {@code rope_parameters}, older ones {@code rope_theta} and {@code rope_scaling}. */
    private RopeConfig rope() {
        String name = present(json, "rope_parameters") ? "rope_parameters" : "rope_scaling";
        JsonNode rope = json.path(name);
        if (present(json, name) && !rope.isObject()) {
            throw fault(name + " is " + rope + "; an object is expected");
        }
        double theta = number(present(rope, "rope_theta") ? rope : json, "rope_theta", 10000);
        if (!(theta > 1 && theta < 1e15)) {
            throw fault("rope_theta is " + theta);
        }
        if (number(rope, "partial_rotary_factor", 1) != 1 || number(json, "partial_rotary_factor", 1) != 1) {
            throw fault("partial_rotary_factor is not 1, which is not supported");
        }
        String type = rope.path("rope_type").asText(rope.path("type").asText("default"));
        return switch (type) {
            case "default" -> new RopeConfig(theta, Optional.empty());
            case "llama3" -> new RopeConfig(theta, Optional.of(llama3(rope, name)));
            default -> throw fault(name + " is of rope_type " + type + "; supported are default and llama3");
        };
    }

    private RopeConfig.Llama3Scaling llama3(JsonNode rope, String name) {
        for (String key : new String[] {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}) {
            if (!present(rope, key)) {
                throw fault(name + " of rope_type llama3 lacks " + key);
            }
        }
        double factor = number(rope, "factor", 0);
        double low = number(rope, "low_freq_factor", 0);
        double high = number(rope, "high_freq_factor", 0);
        int original = integer(rope, "original_max_position_embeddings");
        if (!(factor >= 1 && factor < 1e6 && low > 0 && high > low && high < 1e6 && original > 0)) {
            throw fault(name + " is impossible: " + rope);
        }
        return new RopeConfig.Llama3Scaling(factor, low, high, original);
    }

    private boolean loadIn4Bit() {
        if (!present(json, "quantization_config")) {
            return false;
        }
        JsonNode quantization = json.path("quantization_config");
        String method = quantization.path("quant_method").asText("(none)");
        if (!method.equals("bitsandbytes") || !quantization.path("load_in_4bit").asBoolean(false)) {
            throw fault("quantization_config has quant_method " + method + (method.equals("bitsandbytes") ? " without load_in_4bit" : "")
                    + "; only bitsandbytes in 4 bits is supported. Choose the model's unquantized form");
        }
        return true;
    }

    private void refuseUnless(String key, String supported) {
        if (present(json, key) && !json.path(key).asText().equals(supported)) {
            throw fault(key + " is " + json.path(key) + "; only \"" + supported + "\" is supported");
        }
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
            throw fault(key + " is " + value + "; a whole number is expected");
        }
        return value.intValue();
    }

    private double number(JsonNode object, String key, double otherwise) {
        if (!present(object, key)) {
            return otherwise;
        }
        if (!object.path(key).isNumber()) {
            throw fault(key + " is " + object.path(key) + "; a number is expected");
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
