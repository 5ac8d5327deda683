package dev.panacea.jinja;

import dev.panacea.jinja.Values.Dict;
import dev.panacea.jinja.Values.TupleValue;
import java.util.List;

/** Python's {@code 'text %s' % values}. */
final class PercentFormat {
    private final Budget budget;
    private final Printing printing;

    PercentFormat(Budget budget, Printing printing) {
        this.budget = budget;
        this.printing = printing;
    }

    Str format(Str format, Object values) {
        List<Object> items = values instanceof TupleValue t ? t.items : null;
        String f = format.text;
        TextBuilder out = new TextBuilder(budget);
        int used = 0;
        int i = 0;
        while (i < f.length()) {
            int percent = f.indexOf('%', i);
            if (percent < 0) {
                percent = f.length();
            }
            out.append(format, i, percent);
            i = percent + 1;
            if (percent == f.length()) {
                break;
            }
            Object key = Args.ABSENT;
            if (i < f.length() && f.charAt(i) == '(') {
                int close = i + 1;
                for (int depth = 1; close < f.length(); close++) {
                    depth += f.charAt(close) == '(' ? 1 : f.charAt(close) == ')' ? -1 : 0;
                    if (depth == 0) {
                        break;
                    }
                }
                if (close >= f.length()) {
                    throw new JinjaException("incomplete format key");
                }
                if (!(values instanceof Dict d)) {
                    throw new JinjaException("format requires a mapping");
                }
                Dict.Entry e = d.entry(format.sub(i + 1, close), budget);
                if (e == null) {
                    throw new JinjaException("there is no value '" + f.substring(i + 1, close) + "' for a format");
                }
                key = e.value();
                i = close + 1;
            }
            FormatSpec spec = new FormatSpec(budget);
            boolean zero = false;
            for (; i < f.length() && "#0- +".indexOf(f.charAt(i)) >= 0; i++) {
                switch (f.charAt(i)) {
                    case '#' -> spec.alternate = true;
                    case '0' -> zero = true;
                    case '-' -> spec.align = '<';
                    case '+' -> spec.sign = '+';
                    default -> spec.sign = spec.sign == '+' ? '+' : ' ';
                }
            }
            int start = i;
            if (i < f.length() && f.charAt(i) == '*') {
                long width = star(next(values, items, used++));
                spec.align = width < 0 ? '<' : spec.align;
                spec.width = Math.abs(Math.max(width, -Long.MAX_VALUE));
                i++;
            } else {
                i = digits(f, i);
                spec.width = FormatSpec.number(f.substring(start, i), 0);
            }
            if (i < f.length() && f.charAt(i) == '.') {
                i++;
                start = i;
                if (i < f.length() && f.charAt(i) == '*') {
                    spec.precision = Math.max(0, star(next(values, items, used++)));
                    i++;
                } else {
                    i = digits(f, i);
                    spec.precision = FormatSpec.number(f.substring(start, i), 0);
                }
            }
            while (i < f.length() && "hlL".indexOf(f.charAt(i)) >= 0) {
                i++;
            }
            if (i >= f.length()) {
                throw new JinjaException("incomplete format");
            }
            char type = f.charAt(i++);
            if (type == '%') {
                out.append("%", format.mark(i - 1));
                continue;
            }
            Object value = key == Args.ABSENT ? next(values, items, used++) : key;
            out.append(one(spec, type, zero, value, format.safe));
        }
        boolean all = items != null ? used >= items.size()
                : used > 0 || values instanceof Dict || values instanceof Values.Sequence || values instanceof Values.Bytes || values instanceof Values.Range
                        || values instanceof Values.Undefined;
        if (!all) {
            throw new JinjaException("not all arguments converted during string formatting");
        }
        return out.toStr().asSafe(format.safe);
    }

    private static int digits(String f, int from) {
        int i = from;
        while (i < f.length() && f.charAt(i) >= '0' && f.charAt(i) <= '9') {
            i++;
        }
        return i;
    }

    private static Object next(Object values, List<Object> items, int index) {
        if (items == null ? index > 0 : index >= items.size()) {
            throw new JinjaException("not enough arguments for format string");
        }
        return items == null ? values : items.get(index);
    }

    private static long star(Object v) {
        if (!Numbers.isInteger(v)) {
            throw new JinjaException("* wants int");
        }
        return Numbers.clamp(Numbers.big(v));
    }

    private Str one(FormatSpec spec, char type, boolean zero, Object value, boolean escape) {
        spec.type = type;
        switch (type) {
            case 's', 'r', 'a' -> {
                Str text = type == 's' ? printing.str(value) : printing.repr(value);
                return spec.string(escape ? printing.escape(text).asSafe(false) : type == 'a' ? ascii(text) : text, '>');
            }
            case 'c' -> {
                if (value instanceof Str s && s.codePoints() == 1) {
                    return spec.string(s, '>');
                }
                if (!Numbers.isInteger(value)) {
                    throw new JinjaException("%c requires int or char");
                }
                return spec.format(value, printing);
            }
            case 'd', 'i', 'u', 'o', 'x', 'X' -> {
                Object number = value instanceof Double d && type != 'x' && type != 'X' && type != 'o' ? Numbers.truncate(d) : value;
                if (!Numbers.isInteger(number)) {
                    throw new JinjaException("%" + type + " format: a real number is required, not " + Values.typeName(value));
                }
                zeros(spec, zero);
                return spec.integer(Numbers.big(number), spec.precision);
            }
            case 'e', 'E', 'f', 'F', 'g', 'G' -> {
                if (!Numbers.isNumber(value)) {
                    throw new JinjaException("must be real number, not " + Values.typeName(value));
                }
                zeros(spec, zero);
                return spec.real(Numbers.real(value));
            }
            default -> throw new JinjaException("unsupported format character '" + type + "'");
        }
    }

    private static void zeros(FormatSpec spec, boolean zero) {
        if (zero && spec.align == 0) {
            spec.align = '=';
            spec.fill = new Str("0");
        }
    }

    private Str ascii(Str s) {
        TextBuilder out = new TextBuilder(budget);
        int c;
        for (int i = 0; i < s.length(); i += Character.charCount(c)) {
            c = s.text.codePointAt(i);
            out.append(c < 0x80 ? Character.toString(c) : c < 0x100 ? PythonChars.hex("\\x", c, 2) : c < 0x10000 ? PythonChars.hex("\\u", c, 4)
                    : PythonChars.hex("\\U", c, 8), s.mark(i));
        }
        return out.toStr();
    }
}
