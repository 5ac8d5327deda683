package dev.panacea.io;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A choice of modules as PEFT writes it: a list of names, each of which stands for all paths that are it or end with it after a dot; or a text,
 * which is {@code all-linear} (every linear layer but the output head) or a regular expression for whole paths.
 *
 * @param names empty if {@code text} is there
 */
public record ModulePattern(List<String> names, Optional<String> text) {
    private static final String ALL_LINEAR = "all-linear";
    private static final Pattern LAYER = Pattern.compile(".*\\.layers\\.([0-9]{1,6})\\..*");

    public ModulePattern {
        names = List.copyOf(names);
        if (names.isEmpty() == text.isEmpty()) {
            throw new IllegalArgumentException("modules are chosen by names or by a text");
        }
        text.filter(t -> !t.equalsIgnoreCase(ALL_LINEAR)).ifPresent(ModuleExpression::new);
    }

    public static ModulePattern names(List<String> names) {
        return new ModulePattern(names, Optional.empty());
    }

    public static ModulePattern text(String text) {
        return new ModulePattern(List.of(), Optional.of(text));
    }

    /** Whether a linear layer is chosen, by its path such as {@code model.layers.0.self_attn.q_proj}. */
    public boolean matches(String module) {
        if (text.isEmpty()) {
            return names.stream().anyMatch(name -> module.equals(name) || module.endsWith("." + name));
        }
        if (text.get().equalsIgnoreCase(ALL_LINEAR)) {
            return !module.equals("lm_head");
        }
        return new ModuleExpression(text.get()).matches(module);
    }

    /** The value of the first expression that matches a path or its end after a dot. */
    static <T> Optional<T> firstMatch(Map<String, T> values, String module) {
        return values.entrySet().stream().filter(e -> expression(e.getKey()).matches(module)).map(Map.Entry::getValue).findFirst();
    }

    /** A key of {@code rank_pattern} or {@code alpha_pattern}. */
    static ModuleExpression expression(String key) {
        return new ModuleExpression("(.*\\.)?(" + key + ")");
    }

    /** The number of the layer that a module belongs to. */
    static Optional<Integer> layer(String module) {
        Matcher m = LAYER.matcher(module);
        return m.matches() ? Optional.of(Integer.parseInt(m.group(1))) : Optional.empty();
    }

    JsonNode json() {
        if (text.isPresent()) {
            return JsonNodeFactory.instance.textNode(text.get());
        }
        var array = JsonNodeFactory.instance.arrayNode();
        names.forEach(array::add);
        return array;
    }
}
