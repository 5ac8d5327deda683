package dev.panacea.jinja;

import dev.panacea.jinja.Values.Dict;
import java.util.LinkedHashMap;
import java.util.Map;

/** Python's {@code '{} {name}'.format(…)}. */
final class BraceFormat {
    private final Budget budget;
    private final Printing printing;
    private final Attributes attributes;
    /** How many fields have had no number so far; -1 once one had a number. */
    private int automatic;

    BraceFormat(Budget budget, Printing printing, Attributes attributes) {
        this.budget = budget;
        this.printing = printing;
        this.attributes = attributes;
    }

    static Map<String, Object> mapping(Object v) {
        if (!(v instanceof Dict d)) {
            throw v instanceof Values.Undefined u ? u.error() : new JinjaException("format_map() needs a dict, not " + Values.typeName(v));
        }
        Map<String, Object> names = new LinkedHashMap<>();
        for (Dict.Entry e : d.all()) {
            if (e.key() instanceof Str name) {
                names.put(name.text, e.value());
            }
        }
        return names;
    }

    Str format(Str s, Args args) {
        automatic = 0;
        return format(s, args, 2);
    }

    private Str format(Str s, Args args, int depth) {
        if (depth == 0) {
            throw new JinjaException("Max string recursion exceeded");
        }
        TextBuilder out = new TextBuilder(budget);
        String t = s.text;
        int plain = 0;
        int i = 0;
        while (i < t.length()) {
            char c = t.charAt(i);
            if (c != '{' && c != '}') {
                i++;
                continue;
            }
            out.append(s, plain, i);
            if (i + 1 < t.length() && t.charAt(i + 1) == c) {
                out.append(s, i, i + 1);
                i += 2;
                plain = i;
                continue;
            }
            if (c == '}') {
                throw new JinjaException("Single '}' encountered in format string");
            }
            int close = i + 1;
            int open = 1;
            for (; close < t.length(); close++) {
                open += t.charAt(close) == '{' ? 1 : t.charAt(close) == '}' ? -1 : 0;
                if (open == 0) {
                    break;
                }
            }
            if (open > 0) {
                throw new JinjaException(i + 1 == t.length() ? "Single '{' encountered in format string" : "expected '}' before end of string");
            }
            field(s.sub(i + 1, close), args, depth, out);
            i = close + 1;
            plain = i;
        }
        return out.append(s, plain, t.length()).toStr();
    }

    private void field(Str field, Args args, int depth, TextBuilder out) {
        String t = field.text;
        int end = 0;
        int square = 0;
        while (end < t.length() && (square > 0 || t.charAt(end) != '!' && t.charAt(end) != ':')) {
            square += t.charAt(end) == '[' ? 1 : t.charAt(end) == ']' && square > 0 ? -1 : 0;
            end++;
        }
        char conversion = 0;
        int spec = end;
        if (end < t.length() && t.charAt(end) == '!') {
            if (end + 1 >= t.length() || end + 2 < t.length() && t.charAt(end + 2) != ':') {
                throw new JinjaException("expected ':' after conversion specifier");
            }
            conversion = t.charAt(end + 1);
            spec = end + 2;
        }
        Object value = value(t.substring(0, end), args);
        value = switch (conversion) {
            case 0 -> value;
            case 's' -> printing.str(value);
            case 'r', 'a' -> printing.repr(value);
            default -> throw new JinjaException("Unknown conversion specifier '" + conversion + "'");
        };
        Str how = spec < t.length() ? format(field.sub(spec + 1, t.length()), args, depth - 1) : Str.EMPTY;
        out.append(FormatSpec.parse(budget, how).format(value, printing));
    }

    private Object value(String field, Args args) {
        int end = 0;
        while (end < field.length() && field.charAt(end) != '.' && field.charAt(end) != '[') {
            end++;
        }
        String first = field.substring(0, end);
        Object value;
        if (first.isEmpty() || first.chars().allMatch(c -> c >= '0' && c <= '9')) {
            if (first.isEmpty() ? automatic < 0 : automatic > 0) {
                throw new JinjaException("cannot switch between automatic and manual field numbering");
            }
            long index = first.isEmpty() ? automatic++ : FormatSpec.number(first, 0);
            automatic = first.isEmpty() ? automatic : -1;
            if (index >= args.positional().size()) {
                throw new JinjaException("Replacement index " + index + " out of range for positional args tuple");
            }
            value = args.positional().get((int) index);
        } else if (args.named().containsKey(first)) {
            value = args.named().get(first);
        } else {
            throw new JinjaException("format() has no argument '" + first + "'");
        }
        int i = end;
        while (i < field.length()) {
            boolean dot = field.charAt(i) == '.';
            int stop = dot ? i + 1 : field.indexOf(']', i);
            while (dot && stop < field.length() && field.charAt(stop) != '.' && field.charAt(stop) != '[') {
                stop++;
            }
            if (stop < 0 || stop == i + 1) {
                throw new JinjaException(stop < 0 ? "Missing ']' in format string" : "Empty attribute in format string");
            }
            String name = field.substring(i + 1, stop);
            boolean number = !dot && name.chars().allMatch(c -> c >= '0' && c <= '9');
            value = dot ? attributes.attribute(value, name) : attributes.item(value, number ? (Object) FormatSpec.number(name, 0) : new Str(name));
            i = dot ? stop : stop + 1;
        }
        return value;
    }
}
