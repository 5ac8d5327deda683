package dev.panacea.io;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.llama.RopeConfig;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/**
 * The rotary settings of a config.json. Newer files have all of them in {@code rope_parameters}, older ones {@code rope_theta} and
 * {@code rope_scaling}. Versions of transformers differ in which they go by, so a file that says two things is refused.
 */
final class RopeConfigJson {
    private static final String NEW = "rope_parameters";
    private static final String OLD = "rope_scaling";
    private static final String ONE_TOO_MANY = "; take out the one that the model was not trained with";
    private static final Set<String> OF_ALL_TYPES = Set.of("rope_type", "type", "rope_theta", "partial_rotary_factor", "original_max_position_embeddings",
            "finetuned");
    private static final List<String> OF_LLAMA3 = List.of("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings");

    private final Path file;
    private final ObjectNode json;

    private RopeConfigJson(Path file, ObjectNode json) {
        this.file = file;
        this.json = json;
    }

    static RopeConfig read(Path file, ObjectNode json) {
        return new RopeConfigJson(file, json).read();
    }

    private RopeConfig read() {
        requireWhole(json, "");
        RopeConfig old = of(OLD);
        if (!json.hasNonNull(NEW)) {
            return old;
        }
        RopeConfig config = of(NEW);
        boolean two = json.hasNonNull(OLD) && !json.path(OLD).isEmpty() && !old.equals(config);
        if (two || json.hasNonNull("rope_theta") && theta(json, "rope_theta") != config.theta()) {
            String other = two ? OLD : "rope_theta";
            throw fault(NEW + " is " + JsonFiles.shown(json.path(NEW)) + ", but " + other + " is " + JsonFiles.shown(json.path(other)) + ONE_TOO_MANY);
        }
        return config;
    }

    private RopeConfig of(String name) {
        JsonNode rope = json.path(name);
        if (json.hasNonNull(name) && !rope.isObject()) {
            throw fault(name + " is " + JsonFiles.shown(rope) + "; an object is expected");
        }
        requireWhole(rope, name + ": ");
        double theta = rope.hasNonNull("rope_theta") ? theta(rope, name + ": rope_theta") : theta(json, "rope_theta");
        String type = type(rope, name);
        requireKnown(rope, name, type);
        return switch (type) {
            case "default" -> new RopeConfig(theta, Optional.empty());
            case "linear" -> new RopeConfig(theta, factor(rope, name), Optional.empty(), List.of());
            case "llama3" -> new RopeConfig(theta, Optional.of(llama3(rope, name)));
            default -> throw fault(name + " is of rope_type " + type + "; supported are default, linear and llama3");
        };
    }

    private String type(JsonNode rope, String name) {
        for (String key : List.of("rope_type", "type")) {
            if (rope.hasNonNull(key) && !rope.path(key).isTextual()) {
                throw fault(name + " has the " + key + " " + JsonFiles.shown(rope.path(key)) + "; a text is expected");
            }
        }
        String type = rope.path("rope_type").asText(rope.path("type").asText("default"));
        if (rope.hasNonNull("type") && rope.hasNonNull("rope_type") && !rope.path("type").equals(rope.path("rope_type"))) {
            throw fault(name + " has the rope_type " + JsonFiles.shown(rope.path("rope_type")) + " and the type " + JsonFiles.shown(rope.path("type")) + ONE_TOO_MANY);
        }
        return rope.hasNonNull("rope_type") || rope.hasNonNull("type") ? type : "default";
    }

    /** A key that the type does not go with: it was meant to do something, and another program may do it. */
    private void requireKnown(JsonNode rope, String name, String type) {
        if (!List.of("default", "linear", "llama3").contains(type)) {
            return;
        }
        rope.properties().forEach(e -> {
            String key = e.getKey();
            boolean known = OF_ALL_TYPES.contains(key) || type.equals("linear") && key.equals("factor") || type.equals("llama3") && OF_LLAMA3.contains(key);
            boolean neutral = e.getValue().isNull() || key.equals("factor") && e.getValue().asDouble() == 1;
            if (!known && !neutral) {
                throw fault(name + " has " + key + " " + JsonFiles.shown(e.getValue()) + ", which does not belong to rope_type " + type
                        + "; correct the type, or take the key out");
            }
        });
    }

    private void requireWhole(JsonNode object, String where) {
        if (number(object, where + "partial_rotary_factor", object.path("partial_rotary_factor"), 1) != 1) {
            throw fault(where + "partial_rotary_factor is " + JsonFiles.shown(object.path("partial_rotary_factor")) + "; only 1 is supported");
        }
    }

    private double theta(JsonNode object, String name) {
        double theta = number(object, name, object.path("rope_theta"), 10000);
        if (!(theta > 1 && theta < 1e15)) {
            throw fault(name + " is " + theta + "; a usual value is 10000 or 500000");
        }
        return theta;
    }

    private double factor(JsonNode rope, String name) {
        if (!rope.hasNonNull("factor")) {
            throw fault(name + " of rope_type linear lacks factor");
        }
        double factor = number(rope, name + ": factor", rope.path("factor"), 1);
        if (!(factor >= 1 && factor <= 1e6)) {
            throw fault(name + " has the factor " + factor + "; 1 or more is expected");
        }
        return factor;
    }

    private RopeConfig.Llama3Scaling llama3(JsonNode rope, String name) {
        for (String key : OF_LLAMA3) {
            if (!rope.hasNonNull(key)) {
                throw fault(name + " of rope_type llama3 lacks " + key);
            }
        }
        double factor = number(rope, name + ": factor", rope.path("factor"), 0);
        double low = number(rope, name + ": low_freq_factor", rope.path("low_freq_factor"), 0);
        double high = number(rope, name + ": high_freq_factor", rope.path("high_freq_factor"), 0);
        JsonNode original = rope.path("original_max_position_embeddings");
        if (!original.isIntegralNumber() || !original.canConvertToInt()) {
            throw fault(name + ": original_max_position_embeddings is " + JsonFiles.shown(original) + "; a whole number is expected");
        }
        if (!(factor >= 1 && factor < 1e6 && low > 0 && high > low && high < 1e6 && original.intValue() > 0)) {
            throw fault(name + " is impossible: " + JsonFiles.shown(rope));
        }
        return new RopeConfig.Llama3Scaling(factor, low, high, original.intValue());
    }

    private double number(JsonNode object, String name, JsonNode value, double otherwise) {
        if (!object.isObject() || value.isMissingNode() || value.isNull()) {
            return otherwise;
        }
        if (!value.isNumber()) {
            throw fault(name + " is " + JsonFiles.shown(value) + "; a number is expected");
        }
        return value.doubleValue();
    }

    private PanaceaException fault(String message) {
        return new PanaceaException(file + ": " + message);
    }
}
