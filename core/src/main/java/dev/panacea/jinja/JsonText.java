package dev.panacea.jinja;

import dev.panacea.jinja.Values.Dict;
import dev.panacea.jinja.Values.Sequence;
import java.util.ArrayList;
import java.util.List;

/** JSON as Python's {@code json.dumps} writes it, which is what transformers gives templates as {@code tojson}. */
final class JsonText {
    private final Budget budget;
    private final Operators operators;
    private final boolean ascii;
    private final boolean sorted;
    /** Null for one line. */
    private final Str indent;
    private final Str itemSeparator;
    private final Str keySeparator;
    private final TextBuilder out;
    private int depth;

    JsonText(Budget budget, Operators operators, boolean ascii, Str indent, Str itemSeparator, Str keySeparator, boolean sorted) {
        this.budget = budget;
        this.operators = operators;
        this.ascii = ascii;
        this.indent = indent;
        this.itemSeparator = itemSeparator;
        this.keySeparator = keySeparator;
        this.sorted = sorted;
        out = new TextBuilder(budget);
    }

    Str write(Object value) {
        any(value);
        return out.toStr();
    }

    private void any(Object v) {
        budget.step();
        switch (v) {
            case null -> out.append("null");
            case Boolean b -> out.append(b ? "true" : "false");
            case Str s -> string(s);
            case Double d -> out.append(real(d));
            case Sequence s -> {
                if (s.items.isEmpty()) {
                    out.append("[]");
                    return;
                }
                open('[');
                for (int i = 0; i < s.items.size(); i++) {
                    next(i == 0);
                    any(s.items.get(i));
                }
                close(']');
            }
            case Dict d -> {
                if (d.size() == 0) {
                    out.append("{}");
                    return;
                }
                open('{');
                boolean first = true;
                for (Dict.Entry e : entries(d)) {
                    next(first);
                    string(key(e.key()));
                    out.append(keySeparator);
                    any(e.value());
                    first = false;
                }
                close('}');
            }
            default -> {
                if (!Numbers.isNumber(v)) {
                    throw new JinjaException("Object of type " + Values.typeName(v) + " is not JSON serializable"
                            + (v instanceof Values.Undefined u ? " (" + u.message() + ")" : ""));
                }
                out.append(Numbers.text(v));
            }
        }
    }

    private Iterable<Dict.Entry> entries(Dict d) {
        if (!sorted) {
            return d.all();
        }
        List<Object> entries = new ArrayList<>();
        List<Object> keys = new ArrayList<>();
        for (Dict.Entry e : d.all()) {
            entries.add(e);
            keys.add(e.key());
        }
        return operators.sort(entries, keys, false).stream().map(Dict.Entry.class::cast)::iterator;
    }

    private static String real(double d) {
        return Double.isNaN(d) ? "NaN" : Double.isInfinite(d) ? d > 0 ? "Infinity" : "-Infinity" : Numbers.text(d);
    }

    private static Str key(Object key) {
        return switch (key) {
            case Str s -> s;
            case null -> new Str("null");
            case Boolean b -> new Str(b ? "true" : "false");
            case Double d -> new Str(real(d));
            default -> {
                if (!Numbers.isNumber(key)) {
                    throw new JinjaException("keys must be str, int, float, bool or None, not " + Values.typeName(key));
                }
                yield new Str(Numbers.text(key));
            }
        };
    }

    private void open(char bracket) {
        budget.enter();
        out.append(bracket);
        depth++;
    }

    private void close(char bracket) {
        depth--;
        line();
        out.append(bracket);
        budget.leave();
    }

    private void next(boolean first) {
        if (!first) {
            out.append(itemSeparator);
        }
        line();
    }

    private void line() {
        if (indent != null) {
            out.append('\n');
            for (int i = 0; i < depth; i++) {
                out.append(indent);
            }
        }
    }

    private void string(Str s) {
        out.append('"');
        int plain = 0;
        for (int i = 0; i < s.length(); i++) {
            char c = s.text.charAt(i);
            String escaped = switch (c) {
                case '"' -> "\\\"";
                case '\\' -> "\\\\";
                case '\n' -> "\\n";
                case '\r' -> "\\r";
                case '\t' -> "\\t";
                case '\f' -> "\\f";
                case '\b' -> "\\b";
                default -> c < ' ' || ascii && c > '~' ? PythonChars.hex("\\u", c, 4) : null;
            };
            if (escaped != null) {
                out.append(s, plain, i).append(escaped, s.mark(i));
                plain = i + 1;
            }
        }
        out.append(s, plain, s.length()).append('"');
    }
}
