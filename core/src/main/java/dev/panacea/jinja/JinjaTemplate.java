package dev.panacea.jinja;

import dev.panacea.jinja.Values.Dict;
import dev.panacea.jinja.Values.ListValue;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.time.Clock;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A chat template in Jinja, with the rules of Jinja2 in the environment that transformers gives it: sandboxed and immutable, {@code trim_blocks},
 * {@code lstrip_blocks}, loop controls, {@code generation}, and transformers' {@code tojson}, {@code raise_exception} and {@code strftime_now}. It reads no
 * files and sees no Java object. Steps, memory, depth and time of a rendering are bounded. Safe for use by several threads.
 */
public final class JinjaTemplate {
    /** How deep a variable may nest. */
    private static final int MAX_DATA_DEPTH = 500;

    private final List<Stmt> body;

    private JinjaTemplate(List<Stmt> body) {
        this.body = body;
    }

    /**
     * Reads a template.
     *
     * @throws JinjaException when its syntax is wrong, or it uses a tag, filter or test that there is not
     */
    public static JinjaTemplate parse(String source) {
        try {
            return new JinjaTemplate(Parser.parse(source));
        } catch (StackOverflowError e) {
            throw tooDeep();
        }
    }

    /**
     * Runs the template.
     *
     * @param variables JSON values by name, each of which, or parts of which, may be {@link FromData}
     * @param clock what {@code strftime_now} asks
     * @throws JinjaException when the template refuses, fails, or exceeds what a rendering may spend
     */
    public Rendering render(Map<String, Object> variables, Clock clock) {
        Interpreter interpreter = null;
        try {
            Budget budget = new Budget();
            Data data = new Data(budget);
            Map<String, Object> values = new LinkedHashMap<>();
            variables.forEach((name, value) -> values.put(name, data.value(value, Str.OWN, 0)));
            budget.allowFor(data.characters, data.count);
            interpreter = new Interpreter(budget, clock, values);
            return Rendering.of(interpreter.run(body));
        } catch (JinjaException e) {
            throw e.in(interpreter == null ? 0 : interpreter.line());
        } catch (StackOverflowError e) {
            throw tooDeep().in(interpreter == null ? 0 : interpreter.line());
        }
    }

    private static JinjaException tooDeep() {
        return new JinjaException("the template, or a value in it, is nested too deep");
    }

    /** Turns JSON values into those of a template. */
    private static final class Data {
        private final Budget budget;
        private long characters;
        private long count;

        Data(Budget budget) {
            this.budget = budget;
        }

        Object value(Object json, byte mark, int depth) {
            count++;
            if (depth > MAX_DATA_DEPTH) {
                throw new JinjaException("a variable is nested more than " + MAX_DATA_DEPTH + " deep");
            }
            return switch (json) {
                case null -> null;
                case FromData d -> value(d.value(), Str.DATA, depth);
                case FromTemplate t -> string(t.text(), Str.OWN);
                case String s -> string(s, mark);
                case Boolean b -> b;
                case Integer n -> n.longValue();
                case Long n -> n;
                case Short n -> n.longValue();
                case Byte n -> n.longValue();
                case BigInteger n -> Numbers.normal(n);
                case Double d -> d;
                case Float f -> f.doubleValue();
                case BigDecimal d -> d.doubleValue();
                case List<?> list -> {
                    List<Object> items = new ArrayList<>(list.size());
                    for (Object item : list) {
                        items.add(value(item, mark, depth + 1));
                    }
                    yield new ListValue(items);
                }
                case Map<?, ?> map -> {
                    Dict dict = new Dict();
                    // Its keys are the data's, not the template's.
                    budget.allowFor(map.size(), 0);
                    for (Map.Entry<?, ?> e : map.entrySet()) {
                        dict.put(string(String.valueOf(e.getKey()), mark), value(e.getValue(), mark, depth + 1), budget);
                    }
                    yield dict;
                }
                default -> throw new IllegalArgumentException("a template cannot be given a " + json.getClass().getName() + "; only JSON values");
            };
        }

        private Str string(String s, byte mark) {
            characters += s.length();
            return new Str(s, mark);
        }
    }
}
