package dev.panacea.io;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.panacea.kernels.PanaceaException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * adapter_config.json of a LoRA adapter, by PEFT's names.
 *
 * @param baseModel {@code base_model_name_or_path}
 * @param rank {@code r}, unless {@code rankPattern} has another for a module
 * @param alpha {@code lora_alpha}, unless {@code alphaPattern} has another for a module
 * @param dropout {@code lora_dropout}
 * @param targets {@code target_modules}: which linear layers are adapted
 * @param excluded {@code exclude_modules}
 * @param layers {@code layers_to_transform}: the numbers of the layers that are adapted; empty for all
 * @param useRslora whether the scaling is alpha/√r instead of alpha/r
 * @param rankPattern rank by regular expression over module paths, the first that matches
 * @param alphaPattern alpha by regular expression over module paths, the first that matches
 */
public record PeftConfig(Optional<String> baseModel, int rank, double alpha, double dropout, ModulePattern targets, Optional<ModulePattern> excluded, List<Integer> layers,
        boolean useRslora, Map<String, Integer> rankPattern, Map<String, Double> alphaPattern) {
    private static final int LARGEST_RANK = 1 << 16;
    private static final int MOST_PATTERNS = 5000;
    private static final Set<String> INIT_WITHOUT_EFFECT_ON_BASE = Set.of("true", "false", "gaussian", "orthogonal", "eva");
    /** Settings that the adapter's weights do not depend on: where it came from, and how it was made. */
    private static final Set<String> WITHOUT_EFFECT = Set.of("auto_mapping", "base_model_name_or_path", "eva_config", "inference_mode", "megatron_core", "peft_version",
            "qalora_group_size", "revision", "runtime_config", "task_type");
    private static final Set<String> READ = Set.of("alpha_pattern", "exclude_modules", "init_lora_weights", "layers_pattern", "layers_to_transform", "lora_alpha", "lora_dropout",
            "peft_type", "r", "rank_pattern", "target_modules", "use_rslora");

    public PeftConfig {
        layers = List.copyOf(layers);
        rankPattern = Collections.unmodifiableMap(new LinkedHashMap<>(rankPattern));
        alphaPattern = Collections.unmodifiableMap(new LinkedHashMap<>(alphaPattern));
        checkRank("r", rank);
        checkAlpha("lora_alpha", alpha);
        checkPattern("rank_pattern", rankPattern);
        checkPattern("alpha_pattern", alphaPattern);
        rankPattern.forEach((key, value) -> checkRank("rank_pattern of " + key, value));
        alphaPattern.forEach((key, value) -> checkAlpha("alpha_pattern of " + key, value));
        if (!(dropout >= 0 && dropout < 1)) {
            throw new PanaceaException("lora_dropout is " + dropout + "; from 0 to less than 1 is possible");
        }
    }

    /** What most adapters are: one rank and alpha for all modules whose path ends with one of the names, such as {@code q_proj}. */
    public static PeftConfig of(Optional<String> baseModel, int rank, double alpha, double dropout, List<String> targets, boolean useRslora) {
        return new PeftConfig(baseModel, rank, alpha, dropout, ModulePattern.names(targets), Optional.empty(), List.of(), useRslora, Map.of(), Map.of());
    }

    /** The same with another {@code base_model_name_or_path}. */
    public PeftConfig withBaseModel(String name) {
        return new PeftConfig(Optional.of(name), rank, alpha, dropout, targets, excluded, layers, useRslora, rankPattern, alphaPattern);
    }

    /** Whether a linear layer, by its path such as {@code model.layers.0.self_attn.q_proj}, is adapted. */
    public boolean isTarget(String module) {
        if (excluded.isPresent() && excluded.get().matches(module) || !targets.matches(module)) {
            return false;
        }
        return layers.isEmpty() || ModulePattern.layer(module).stream().anyMatch(layers::contains);
    }

    /** The rank of a module. */
    public int rank(String module) {
        return ModulePattern.firstMatch(rankPattern, module).orElse(rank);
    }

    /** The alpha of a module. */
    public double alpha(String module) {
        return ModulePattern.firstMatch(alphaPattern, module).orElse(alpha);
    }

    /** The factor of B·A: alpha/r, or alpha/√r (rank-stabilized LoRA, Kalajdzievski 2023). */
    public double scaling(String module) {
        return alpha(module) / (useRslora ? Math.sqrt(rank(module)) : rank(module));
    }

    /** Reads adapter_config.json; a setting that would change the arithmetic in a way that is not supported is refused by name. */
    static PeftConfig read(Path file) {
        ObjectNode json = JsonFiles.read(file);
        if (!json.path("peft_type").asText().equals("LORA")) {
            throw fault(file, "peft_type is " + JsonFiles.shown(json.path("peft_type")) + "; only \"LORA\" is supported");
        }
        if (!json.path("bias").asText("none").equals("none")) {
            throw fault(file, "bias is " + JsonFiles.shown(json.path("bias")) + ", which is not supported; train the adapter with bias=\"none\"");
        }
        String init = json.path("init_lora_weights").asText("true");
        if (!INIT_WITHOUT_EFFECT_ON_BASE.contains(init) && json.hasNonNull("init_lora_weights")) {
            throw fault(file, "init_lora_weights is " + init + ", which changes the base model's weights; convert the adapter to a plain one with PEFT's"
                    + " save_pretrained(path_initial_model_for_weight_conversion=...)");
        }
        JsonNode pattern = json.path("layers_pattern");
        if (isSet(pattern) && !pattern.asText().equals("layers") && !pattern.toString().equals("[\"layers\"]")) {
            throw fault(file, "layers_pattern is " + JsonFiles.shown(pattern) + "; only \"layers\" is supported");
        }
        json.properties().forEach(e -> {
            if (!READ.contains(e.getKey()) && !WITHOUT_EFFECT.contains(e.getKey()) && !e.getKey().equals("bias") && isSet(e.getValue())) {
                throw fault(file, e.getKey() + " is " + JsonFiles.shown(e.getValue())
                        + ", which is not supported; train the adapter without it, or merge it with PEFT (merge_and_unload) and use the merged model");
            }
        });
        try {
            return new PeftConfig(Optional.of(json.path("base_model_name_or_path").asText("")).filter(s -> json.hasNonNull("base_model_name_or_path") && !s.isEmpty()),
                    integer(file, json, "r", 8), number(file, "lora_alpha", json.path("lora_alpha"), 8), number(file, "lora_dropout", json.path("lora_dropout"), 0),
                    modules(file, json, "target_modules").orElseThrow(() -> fault(file, "target_modules is missing")), modules(file, json, "exclude_modules"),
                    layers(file, json.path("layers_to_transform")), flag(file, json, "use_rslora"), ranks(file, json), alphas(file, json));
        } catch (PanaceaException e) {
            throw e.getMessage().startsWith(file.toString()) ? e : fault(file, e.getMessage());
        }
    }

    /** Compares the expressions with some modules, so that one that cannot be used is told with the file that it stands in. */
    void requireUsable(Path file, Set<String> modules) {
        try {
            modules.forEach(module -> {
                isTarget(module);
                rank(module);
                alpha(module);
            });
        } catch (PanaceaException e) {
            throw fault(file, e.getMessage());
        }
    }

    /** The settings with the keys that PEFT 0.6 knows, since up to 0.14 it does not load a file with others; newer ones only where they say something. */
    ObjectNode json() {
        ObjectNode json = JsonFiles.object();
        ObjectNode alphas = json.putObject("alpha_pattern");
        alphaPattern.forEach((key, value) -> putNumber(alphas, key, value));
        json.putNull("auto_mapping");
        json.put("base_model_name_or_path", baseModel.orElse(null));
        json.put("bias", "none");
        excluded.ifPresent(e -> json.set("exclude_modules", e.json()));
        json.put("fan_in_fan_out", false);
        json.put("inference_mode", true);
        json.put("init_lora_weights", true);
        json.putNull("layers_pattern");
        json.putNull("layers_to_transform");
        if (!layers.isEmpty()) {
            layers.forEach(json.putArray("layers_to_transform")::add);
        }
        putNumber(json, "lora_alpha", alpha);
        json.put("lora_dropout", dropout);
        json.putNull("modules_to_save");
        json.put("peft_type", "LORA");
        json.put("r", rank);
        ObjectNode ranks = json.putObject("rank_pattern");
        rankPattern.forEach(ranks::put);
        json.putNull("revision");
        json.set("target_modules", targets.json());
        json.put("task_type", "CAUSAL_LM");
        if (useRslora) {
            json.put("use_rslora", true);
        }
        return json;
    }

    /** PEFT's type for alpha is a whole number; others work, too. */
    private static void putNumber(ObjectNode json, String key, double value) {
        if (value == (int) value) {
            json.put(key, (int) value);
        } else {
            json.put(key, value);
        }
    }

    private static boolean isSet(JsonNode value) {
        return !(value.isMissingNode() || value.isNull() || value.isBoolean() && !value.booleanValue() || value.isContainerNode() && value.isEmpty() || value.isTextual() && value.textValue().isEmpty());
    }

    private static Optional<ModulePattern> modules(Path file, ObjectNode json, String key) {
        JsonNode value = json.path(key);
        if (!isSet(value)) {
            return Optional.empty();
        }
        if (value.isTextual()) {
            return Optional.of(ModulePattern.text(value.asText()));
        }
        List<String> names = new ArrayList<>();
        for (JsonNode name : value) {
            if (!name.isTextual()) {
                throw fault(file, key + " is " + JsonFiles.shown(value) + "; names of modules are expected");
            }
            names.add(name.asText());
        }
        if (names.isEmpty()) {
            throw fault(file, key + " is " + JsonFiles.shown(value) + "; a list of modules or a regular expression is expected");
        }
        return Optional.of(ModulePattern.names(names));
    }

    private static List<Integer> layers(Path file, JsonNode value) {
        List<Integer> layers = new ArrayList<>();
        if (isSet(value)) {
            for (JsonNode layer : value.isArray() ? value : List.of(value)) {
                if (!layer.isIntegralNumber() || !layer.canConvertToInt()) {
                    throw fault(file, "layers_to_transform is " + JsonFiles.shown(value) + "; numbers of layers are expected");
                }
                layers.add(layer.intValue());
            }
        }
        return layers;
    }

    private static Map<String, Integer> ranks(Path file, ObjectNode json) {
        Map<String, Integer> ranks = new LinkedHashMap<>();
        object(file, json, "rank_pattern").properties().forEach(e -> {
            if (!e.getValue().isIntegralNumber() || !e.getValue().canConvertToInt()) {
                throw fault(file, "rank_pattern of " + e.getKey() + " is " + JsonFiles.shown(e.getValue()) + "; a whole number is expected");
            }
            ranks.put(e.getKey(), e.getValue().intValue());
        });
        return ranks;
    }

    private static Map<String, Double> alphas(Path file, ObjectNode json) {
        Map<String, Double> alphas = new LinkedHashMap<>();
        object(file, json, "alpha_pattern").properties().forEach(e -> alphas.put(e.getKey(), number(file, "alpha_pattern of " + e.getKey(), e.getValue(), 0)));
        return alphas;
    }

    private static ObjectNode object(Path file, ObjectNode json, String key) {
        if (!json.hasNonNull(key)) {
            return JsonFiles.object();
        }
        if (json.path(key) instanceof ObjectNode object) {
            return object;
        }
        throw fault(file, key + " is " + JsonFiles.shown(json.path(key)) + "; an object is expected");
    }

    private static boolean flag(Path file, ObjectNode json, String key) {
        JsonNode value = json.path(key);
        if (json.hasNonNull(key) && !value.isBoolean()) {
            throw fault(file, key + " is " + JsonFiles.shown(value) + "; true or false is expected");
        }
        return value.booleanValue();
    }

    private static int integer(Path file, ObjectNode json, String key, int otherwise) {
        JsonNode value = json.path(key);
        if (!json.hasNonNull(key)) {
            return otherwise;
        }
        if (!value.isIntegralNumber() || !value.canConvertToInt()) {
            throw fault(file, key + " is " + JsonFiles.shown(value) + "; a whole number is expected");
        }
        return value.intValue();
    }

    private static double number(Path file, String key, JsonNode value, double otherwise) {
        if (value.isMissingNode() || value.isNull()) {
            return otherwise;
        }
        if (!value.isNumber()) {
            throw fault(file, key + " is " + JsonFiles.shown(value) + "; a number is expected");
        }
        return value.doubleValue();
    }

    private static void checkPattern(String key, Map<String, ?> pattern) {
        if (pattern.size() > MOST_PATTERNS) {
            throw new PanaceaException(key + " has " + pattern.size() + " entries; at most " + MOST_PATTERNS + " are possible");
        }
        pattern.keySet().forEach(ModulePattern::expression);
    }

    private static void checkRank(String key, int rank) {
        if (rank < 1 || rank > LARGEST_RANK) {
            throw new PanaceaException(key + " is " + rank + "; a rank from 1 to " + LARGEST_RANK + " is possible");
        }
    }

    private static void checkAlpha(String key, double alpha) {
        if (!(Math.abs(alpha) < 1e9)) {
            throw new PanaceaException(key + " is " + alpha + "; a usual value is once or twice the rank");
        }
    }

    private static PanaceaException fault(Path file, String message) {
        return new PanaceaException(file + ": " + message);
    }
}
