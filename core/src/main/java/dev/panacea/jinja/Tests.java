package dev.panacea.jinja;

import dev.panacea.jinja.Values.Undefined;
import java.math.BigInteger;
import java.util.Map;

/** Jinja2's tests: what may follow {@code is}. */
final class Tests {
    /** By name; the comparisons have several. */
    private static final Map<String, String> COMPARISONS = Map.ofEntries(Map.entry("==", "=="), Map.entry("eq", "=="), Map.entry("equalto", "=="), Map.entry("!=", "!="),
            Map.entry("ne", "!="), Map.entry(">", ">"), Map.entry("gt", ">"), Map.entry("greaterthan", ">"), Map.entry("ge", ">="), Map.entry(">=", ">="),
            Map.entry("<", "<"), Map.entry("lt", "<"), Map.entry("lessthan", "<"), Map.entry("<=", "<="), Map.entry("le", "<="), Map.entry("in", "in"));
    private static final java.util.Set<String> OTHERS = java.util.Set.of("odd", "even", "divisibleby", "defined", "undefined", "filter", "test", "none", "boolean",
            "false", "true", "integer", "float", "lower", "upper", "string", "mapping", "number", "sequence", "iterable", "callable", "sameas", "escaped");

    private final Budget budget;
    private final Operators operators;
    private final Printing printing;

    Tests(Budget budget, Operators operators, Printing printing) {
        this.budget = budget;
        this.operators = operators;
        this.printing = printing;
    }

    static boolean has(String name) {
        return COMPARISONS.containsKey(name) || OTHERS.contains(name);
    }

    /** @param args the value, and the test's own arguments */
    boolean call(String name, Args args) {
        if (!args.positional().isEmpty() && args.positional().getFirst() instanceof Str s && (name.equals("lower") || name.equals("upper"))) {
            budget.work(4L * s.length());
        }
        String comparison = COMPARISONS.get(name);
        if (comparison != null) {
            Args.Bound a = name.equals("in") ? args.bind(name, 2, "value", "seq") : args.positional(name, 2, 2);
            return operators.compare(comparison, a.get(0), a.get(1));
        }
        switch (name) {
            case "divisibleby" -> {
                Args.Bound a = args.bind(name, 2, "value", "num");
                return operators.equal(operators.arithmetic("%", a.get(0), a.get(1)), 0L);
            }
            case "sameas" -> {
                Args.Bound a = args.bind(name, 2, "value", "other");
                Object v = a.get(0);
                // Python has one object for each small integer and each interned string.
                return v == a.get(1) || (v instanceof Boolean || v instanceof Long || v instanceof Str) && v.equals(a.get(1));
            }
            default -> { }
        }
        Object v = args.bind(name, 1, "value").get(0);
        return switch (name) {
            case "odd", "even" -> operators.equal(operators.arithmetic("%", v, 2L), name.equals("odd") ? 1L : 0L);
            case "defined" -> !(v instanceof Undefined);
            case "undefined" -> v instanceof Undefined;
            case "filter" -> Filters.has(name(v));
            case "test" -> has(name(v));
            case "none" -> v == null;
            case "boolean" -> v instanceof Boolean;
            case "false" -> v instanceof Boolean b && !b;
            case "true" -> v instanceof Boolean b && b;
            case "integer" -> v instanceof Long || v instanceof BigInteger;
            case "float" -> v instanceof Double;
            case "lower" -> StringMethods.is(printing.str(v).text, "islower");
            case "upper" -> StringMethods.is(printing.str(v).text, "isupper");
            case "string" -> v instanceof Str;
            case "mapping" -> v instanceof Values.Dict;
            case "number" -> Numbers.isNumber(v);
            case "sequence" -> Operators.size(v) >= 0 && !(v instanceof Values.View) && !(v instanceof Loop);
            case "iterable" -> Operators.isIterable(v);
            case "callable" -> v instanceof Values.Callable || v instanceof Undefined;
            case "escaped" -> v instanceof Str s && s.safe;
            default -> throw new JinjaException("No test named '" + name + "'");
        };
    }

    private static String name(Object v) {
        if (v instanceof Values.ListValue || v instanceof Values.Dict) {
            throw new JinjaException("unhashable type: '" + Values.typeName(v) + "'");
        }
        return v instanceof Str s ? s.text : "";
    }
}
