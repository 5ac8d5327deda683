package dev.panacea.jinja;

import java.math.BigDecimal;
import java.math.BigInteger;
import java.math.RoundingMode;

/** How one value is formatted, by {@code %} or {@code str.format}: fill, sign, width, precision, type. */
final class FormatSpec {
    /** Digits after the point; a double has not so many. */
    private static final int MAX_PRECISION = 2000;

    private final Budget budget;
    Str fill = new Str(" ");
    /** {@code <}, {@code >}, {@code ^}, {@code =}, or 0 for what the type wants. */
    char align;
    char sign = '-';
    boolean alternate;
    /** {@code ,} or {@code _}, or 0. */
    char grouping;
    long width;
    /** -1 where none is given. */
    long precision = -1;
    /** 0 where none is given. */
    char type;

    FormatSpec(Budget budget) {
        this.budget = budget;
    }

    /** {@code [[fill]align][sign][#][0][width][grouping][.precision][type]}. */
    static FormatSpec parse(Budget budget, Str text) {
        FormatSpec spec = new FormatSpec(budget);
        String s = text.text;
        int i = 0;
        int first = s.isEmpty() ? 0 : Character.charCount(s.codePointAt(0));
        if (s.length() > first && first > 0 && "<>=^".indexOf(s.charAt(first)) >= 0) {
            spec.fill = text.sub(0, first);
            spec.align = s.charAt(first);
            i = first + 1;
        } else if (!s.isEmpty() && "<>=^".indexOf(s.charAt(0)) >= 0) {
            spec.align = s.charAt(0);
            i = 1;
        }
        if (i < s.length() && "+- ".indexOf(s.charAt(i)) >= 0) {
            spec.sign = s.charAt(i++);
        }
        if (i < s.length() && s.charAt(i) == '#') {
            spec.alternate = true;
            i++;
        }
        if (i < s.length() && s.charAt(i) == '0') {
            if (spec.align == 0) {
                spec.fill = new Str("0");
                spec.align = '=';
            }
            i++;
        }
        int start = i;
        while (i < s.length() && s.charAt(i) >= '0' && s.charAt(i) <= '9') {
            i++;
        }
        spec.width = number(s.substring(start, i), 0);
        if (i < s.length() && (s.charAt(i) == ',' || s.charAt(i) == '_')) {
            spec.grouping = s.charAt(i++);
        }
        if (i < s.length() && s.charAt(i) == '.') {
            start = ++i;
            while (i < s.length() && s.charAt(i) >= '0' && s.charAt(i) <= '9') {
                i++;
            }
            if (start == i) {
                throw new JinjaException("Format specifier missing precision");
            }
            spec.precision = number(s.substring(start, i), -1);
        }
        if (i < s.length()) {
            spec.type = s.charAt(i++);
        }
        if (i < s.length()) {
            throw new JinjaException("Invalid format specifier '" + s + "'");
        }
        return spec;
    }

    static long number(String digits, long otherwise) {
        if (digits.length() > 18) {
            throw new JinjaException("Too many decimal digits in format string");
        }
        return digits.isEmpty() ? otherwise : Long.parseLong(digits);
    }

    /** A value by {@code str.format}'s rules. */
    Str format(Object v, Printing printing) {
        if (v instanceof Str s) {
            if (type != 0 && type != 's') {
                throw new JinjaException("Unknown format code '" + type + "' for object of type 'str'");
            }
            if (align == '=' && fill.text.equals("0") && width > 0) {
                align = '<';
            }
            if (align == '=' || sign != '-' || grouping != 0) {
                throw new JinjaException("such a format is not allowed for strings");
            }
            return string(s, '<');
        }
        if (v instanceof Boolean && type == 0 && align == 0 && width == 0 && precision < 0) {
            return printing.str(v);
        }
        if (!Numbers.isNumber(v)) {
            if (type != 0 || align != 0 || width != 0 || precision >= 0) {
                throw new JinjaException("unsupported format string passed to " + Values.typeName(v) + ".__format__");
            }
            return printing.str(v);
        }
        if (v instanceof Double || "eEfFgG%".indexOf(type) >= 0 && type != 0) {
            return real(Numbers.real(v));
        }
        return switch (type) {
            case 0, 'd', 'n', 'b', 'o', 'x', 'X' -> integer(Numbers.big(v));
            case 'c' -> {
                long c = Numbers.clamp(Numbers.big(v));
                if (c < 0 || c > Character.MAX_CODE_POINT) {
                    throw new JinjaException("%c arg not in range(0x110000)");
                }
                yield string(new Str(Character.toString((int) c)), '<');
            }
            default -> throw new JinjaException("Unknown format code '" + type + "' for object of type '" + Values.typeName(v) + "'");
        };
    }

    /** A string, cut to the precision and padded to the width. */
    Str string(Str s, char standard) {
        Str cut = precision >= 0 && precision < s.codePoints() ? s.sub(0, s.unit((int) precision)) : s;
        return pad(Str.EMPTY, cut, standard);
    }

    Str integer(BigInteger n) {
        if (precision >= 0) {
            throw new JinjaException("Precision not allowed in integer format specifier");
        }
        int base = switch (type) {
            case 'b' -> 2;
            case 'o' -> 8;
            case 'x', 'X' -> 16;
            default -> 10;
        };
        budget.work(n.bitLength());
        String digits = base == 10 ? Numbers.text(Numbers.normal(n.abs())) : n.abs().toString(base);
        String prefix = alternate && base != 10 ? "0" + type : "";
        return number(n.signum() < 0, prefix, type == 'X' ? digits.toUpperCase(java.util.Locale.ROOT) : digits, "");
    }

    /** As {@link #integer}, with a least number of digits, as {@code %} has it. */
    Str integer(BigInteger n, long digits) {
        String text = Numbers.text(Numbers.normal(n.abs()));
        int base = type == 'o' ? 8 : type == 'x' || type == 'X' ? 16 : 10;
        if (base != 10) {
            text = n.abs().toString(base);
        }
        if (text.length() < digits) {
            budget.memory(digits);
            text = "0".repeat((int) (digits - text.length())) + text;
        }
        String prefix = alternate && base != 10 ? "0" + type : "";
        return number(n.signum() < 0, prefix, type == 'X' ? text.toUpperCase(java.util.Locale.ROOT) : text, "");
    }

    Str real(double d) {
        boolean negative = d < 0 || d == 0 && 1 / d < 0;
        boolean upper = type == 'E' || type == 'F' || type == 'G';
        String text;
        if (Double.isNaN(d) || Double.isInfinite(d)) {
            text = Double.isNaN(d) ? "nan" : "inf";
            grouping = 0;
        } else {
            long p = precision < 0 ? 6 : precision;
            if (p > MAX_PRECISION) {
                throw new JinjaException("a precision of " + p + " digits");
            }
            text = switch (Character.toLowerCase(type)) {
                case 'f' -> fixed(Math.abs(d), (int) p);
                case '%' -> fixed(Math.abs(d) * 100, (int) p);
                case 'e' -> scientific(Math.abs(d), (int) p);
                case 'g', 'n' -> general(Math.abs(d), (int) Math.max(1, p), false);
                case 0 -> precision < 0 ? Numbers.text(Math.abs(d)) : general(Math.abs(d), (int) Math.max(1, p), true);
                default -> throw new JinjaException("Unknown format code '" + type + "' for object of type 'float'");
            };
            if (type == '%') {
                text += "%";
            }
        }
        int whole = 0;
        while (whole < text.length() && Character.isDigit(text.charAt(whole))) {
            whole++;
        }
        String rest = text.substring(whole);
        return number(negative && !Double.isNaN(d), "", whole == 0 ? "" : text.substring(0, whole), upper ? rest.toUpperCase(java.util.Locale.ROOT) : rest);
    }

    private String fixed(double d, int p) {
        return new BigDecimal(d).setScale(p, RoundingMode.HALF_EVEN).toPlainString() + (p == 0 && alternate ? "." : "");
    }

    private String scientific(double d, int p) {
        BigDecimal rounded = d == 0 ? BigDecimal.ZERO.setScale(p) : new BigDecimal(d).round(new java.math.MathContext(p + 1, RoundingMode.HALF_EVEN));
        String digits = rounded.unscaledValue().toString();
        int exponent = d == 0 ? 0 : digits.length() - rounded.scale() - 1;
        digits = digits.length() < p + 1 ? digits + "0".repeat(p + 1 - digits.length()) : digits.substring(0, p + 1);
        return digits.charAt(0) + (p > 0 ? "." + digits.substring(1) : alternate ? "." : "") + "e" + Numbers.exponent(exponent);
    }

    /** @param asRepr whether a whole number keeps ".0" and the notation changes one digit earlier, as without a type */
    private String general(double d, int p, boolean asRepr) {
        String s = scientific(d, p - 1);
        int e = s.indexOf('e');
        int exponent = Integer.parseInt(s.substring(e + 1));
        String text;
        String tail = "";
        if (exponent < -4 || exponent >= (asRepr ? Math.max(1, p - 1) : p)) {
            text = s.substring(0, e);
            tail = s.substring(e);
        } else {
            text = fixed(d, Math.max(0, p - 1 - exponent));
        }
        if (!alternate && text.indexOf('.') >= 0) {
            text = text.replaceAll("0+$", "").replaceAll("\\.$", "");
        }
        return text + (asRepr && tail.isEmpty() && text.indexOf('.') < 0 ? ".0" : "") + tail;
    }

    private Str number(boolean negative, String prefix, String digits, String tail) {
        String head = (negative ? "-" : sign == '-' ? "" : String.valueOf(sign)) + prefix;
        String grouped = digits;
        if (grouping != 0) {
            int size = type == 'b' || type == 'o' || type == 'x' || type == 'X' ? 4 : 3;
            String all = digits;
            // Zeros that fill up to the width are grouped too.
            if (align == '=' && fill.text.equals("0")) {
                if (width > MAX_PRECISION) {
                    throw new JinjaException("a number of " + width + " digits");
                }
                while (all.length() + (all.length() - 1) / size + head.length() + tail.length() < width) {
                    all = "0" + all;
                }
            }
            StringBuilder out = new StringBuilder();
            for (int i = 0; i < all.length(); i++) {
                if (i > 0 && (all.length() - i) % size == 0) {
                    out.append(grouping);
                }
                out.append(all.charAt(i));
            }
            grouped = out.toString();
        }
        return pad(new Str(head), new Str(grouped + tail), '>');
    }

    private Str pad(Str head, Str body, char standard) {
        long missing = width - head.codePoints() - body.codePoints();
        TextBuilder out = new TextBuilder(budget);
        if (missing > 0) {
            budget.memory(missing * fill.length());
        }
        char where = align == 0 ? standard : align;
        long before = where == '>' ? missing : where == '^' ? missing / 2 : 0;
        padding(out, before);
        out.append(head);
        padding(out, where == '=' ? missing : 0);
        out.append(body);
        padding(out, where == '<' || where == '^' ? missing - Math.max(0, before) : 0);
        return out.toStr();
    }

    private void padding(TextBuilder out, long n) {
        if (n > 0) {
            out.append(fill.text.repeat((int) n), fill.mark());
        }
    }
}
