package dev.panacea.text;

import java.math.BigDecimal;
import java.util.Collection;
import java.util.Iterator;
import java.util.Map;

/** JSON as Python's {@code json.dumps(value, ensure_ascii=False, indent=…)} writes it, which is how chat templates print tools. */
final class PythonJson {
    private static final int MAX_DEPTH = 100;

    private final int indent;
    private final StringBuilder out = new StringBuilder();

    private PythonJson(int indent) {
        this.indent = indent;
    }

    /** @param indent spaces per level; below zero for everything on one line */
    static String write(Object value, int indent) {
        PythonJson json = new PythonJson(indent);
        json.value(value, 0);
        return json.out.toString();
    }

    private void value(Object value, int depth) {
        if (depth > MAX_DEPTH) {
            throw new IllegalArgumentException("JSON deeper than " + MAX_DEPTH + " levels");
        }
        switch (value) {
            case null -> out.append("null");
            case Boolean b -> out.append(b);
            case Double d -> out.append(number(d));
            case Float f -> out.append(number(f.doubleValue()));
            case Number n -> out.append(n);
            case Map<?, ?> map -> object(map.entrySet().iterator(), depth);
            case Collection<?> list -> list(list.iterator(), depth);
            default -> string(value.toString());
        }
    }

    private void object(Iterator<? extends Map.Entry<?, ?>> entries, int depth) {
        out.append('{');
        if (entries.hasNext()) {
            while (entries.hasNext()) {
                Map.Entry<?, ?> entry = entries.next();
                newLine(depth + 1);
                string(String.valueOf(entry.getKey()));
                out.append(": ");
                value(entry.getValue(), depth + 1);
                comma(entries.hasNext());
            }
            newLine(depth);
        }
        out.append('}');
    }

    private void list(Iterator<?> items, int depth) {
        out.append('[');
        if (items.hasNext()) {
            while (items.hasNext()) {
                newLine(depth + 1);
                value(items.next(), depth + 1);
                comma(items.hasNext());
            }
            newLine(depth);
        }
        out.append(']');
    }

    private void comma(boolean more) {
        if (more) {
            out.append(indent < 0 ? ", " : ",");
        }
    }

    private void newLine(int depth) {
        if (indent >= 0) {
            out.append('\n').repeat(" ", indent * depth);
        }
    }

    private void string(String s) {
        out.append('"');
        for (int i = 0; i < s.length(); i++) {
            char c = s.charAt(i);
            switch (c) {
                case '"' -> out.append("\\\"");
                case '\\' -> out.append("\\\\");
                case '\n' -> out.append("\\n");
                case '\r' -> out.append("\\r");
                case '\t' -> out.append("\\t");
                case '\b' -> out.append("\\b");
                case '\f' -> out.append("\\f");
                default -> {
                    if (c < ' ') {
                        out.append(String.format("\\u%04x", (int) c));
                    } else {
                        out.append(c);
                    }
                }
            }
        }
        out.append('"');
    }

    /** Python's repr: the shortest digits that give the same number, with an exponent below 1e-4 and from 1e16 on. */
    static String number(double d) {
        if (Double.isNaN(d) || Double.isInfinite(d)) {
            return Double.toString(d);
        }
        if (d == 0) {
            return 1 / d < 0 ? "-0.0" : "0.0";
        }
        BigDecimal exact = new BigDecimal(Double.toString(d)).stripTrailingZeros();
        int exponent = exact.precision() - exact.scale() - 1;
        if (exponent >= -4 && exponent < 16) {
            String plain = exact.toPlainString();
            return plain.contains(".") ? plain : plain + ".0";
        }
        String digits = exact.unscaledValue().abs().toString();
        String mantissa = digits.length() == 1 ? digits : digits.charAt(0) + "." + digits.substring(1);
        return (d < 0 ? "-" : "") + mantissa + "e" + (exponent < 0 ? "-" : "+") + (Math.abs(exponent) < 10 ? "0" : "") + Math.abs(exponent);
    }
}
