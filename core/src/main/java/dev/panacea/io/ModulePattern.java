package dev.panacea.io;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import dev.panacea.kernels.PanaceaException;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

/**
 * A choice of modules as PEFT writes it: a list of names, each of which stands for all paths that are it or end with it after a dot; or a text,
 * which is {@code all-linear} (every linear layer but the output head) or a regular expression for whole paths.
 *
 * @param names empty if {@code text} is there
 */
public record ModulePattern(List<String> names, Optional<String> text) {
    private static final String ALL_LINEAR = "all-linear";
    private static final Pattern LAYER = Pattern.compile(".*\\.layers\\.([0-9]{1,6})\\..*");
    private static final int MOST_STEPS = 1_000_000;
    private static final int LONGEST_EXPRESSION = 4000;

    public ModulePattern {
        names = List.copyOf(names);
        if (names.isEmpty() == text.isEmpty()) {
            throw new IllegalArgumentException("modules are chosen by names or by a text");
        }
        text.filter(t -> !t.equals(ALL_LINEAR)).ifPresent(ModulePattern::compile);
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
        if (text.get().equals(ALL_LINEAR)) {
            return !module.equals("lm_head");
        }
        return fullMatch(text.get(), module);
    }

    /** The value of the first expression that matches a path or its end after a dot. */
    static <T> Optional<T> firstMatch(Map<String, T> values, String module) {
        return values.entrySet().stream().filter(e -> fullMatch("(.*\\.)?(" + e.getKey() + ")", module)).map(Map.Entry::getValue).findFirst();
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

    private static boolean fullMatch(String expression, String module) {
        try {
            return compile(expression).matcher(new Bounded(module, new int[1], expression)).matches();
        } catch (StackOverflowError e) {
            throw new PanaceaException("the regular expression " + expression + " for modules is nested too deeply; name the modules in a list", e);
        }
    }

    private static Pattern compile(String expression) {
        if (expression.length() > LONGEST_EXPRESSION) {
            throw new PanaceaException("a regular expression for modules has " + expression.length() + " characters; at most " + LONGEST_EXPRESSION + " are allowed");
        }
        try {
            return Pattern.compile(expression);
        } catch (PatternSyntaxException | StackOverflowError e) {
            throw new PanaceaException("the regular expression " + expression + " for modules cannot be used: " + e.getMessage(), e);
        }
    }

    /** A text that counts how often it is looked at: an expression from a file may be one that takes for ever. */
    private record Bounded(CharSequence text, int[] steps, String expression) implements CharSequence {
        @Override
        public char charAt(int i) {
            if (++steps[0] > MOST_STEPS) {
                throw new PanaceaException("the regular expression " + expression + " for modules takes too long; name the modules in a list");
            }
            return text.charAt(i);
        }

        @Override
        public int length() {
            return text.length();
        }

        @Override
        public CharSequence subSequence(int from, int to) {
            return new Bounded(text.subSequence(from, to), steps, expression);
        }

        @Override
        public String toString() {
            return text.toString();
        }
    }
}
