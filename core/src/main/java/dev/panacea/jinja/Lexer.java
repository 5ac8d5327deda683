package dev.panacea.jinja;

import java.math.BigInteger;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;

/** Splits the source of a template by Jinja2's rules, with {@code trim_blocks} and {@code lstrip_blocks} set. */
final class Lexer {
    /** The kinds of token. */
    enum Kind { TEXT, BLOCK_BEGIN, BLOCK_END, VARIABLE_BEGIN, VARIABLE_END, NAME, STRING, INTEGER, FLOAT, OPERATOR, END }

    /**
     * A token.
     *
     * @param text the text, name, operator or, unescaped, the string
     * @param number the value of a number, else null
     */
    record Token(Kind kind, String text, Object number, int line) {
        boolean is(String operator) {
            return kind == Kind.OPERATOR && text.equals(operator);
        }

        boolean isName(String name) {
            return kind == Kind.NAME && text.equals(name);
        }

        /** As an error shows it. */
        String shown() {
            return switch (kind) {
                case BLOCK_BEGIN -> "begin of statement block";
                case BLOCK_END -> "end of statement block";
                case VARIABLE_BEGIN -> "begin of print statement";
                case VARIABLE_END -> "end of print statement";
                case END -> "end of template";
                case TEXT -> "template data";
                default -> "'" + text + "'";
            };
        }
    }

    /** The longest number literal: a literal is read in quadratic time. */
    private static final int MAX_DIGITS = 4300;
    /** Ten times what the longest templates have. */
    private static final int MAX_TOKENS = 200_000;
    private static final String[] OPERATORS = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".", ":",
        "|", ",", ";"};

    private final String source;
    private final List<Token> tokens = new ArrayList<>();
    private int at;
    private int line = 1;
    private int counted;
    /** Whether what was read last ended with a newline. */
    private boolean lineStarts = true;

    private Lexer(String source) {
        String unix = source.indexOf('\r') < 0 ? source : source.replace("\r\n", "\n").replace('\r', '\n');
        this.source = unix.endsWith("\n") ? unix.substring(0, unix.length() - 1) : unix;
    }

    static List<Token> tokens(String source) {
        Lexer lexer = new Lexer(source);
        while (lexer.at < lexer.source.length()) {
            lexer.text();
            lexer.bounded();
        }
        lexer.add(Kind.END, "", lexer.at);
        return lexer.tokens;
    }

    private void bounded() {
        if (tokens.size() > MAX_TOKENS) {
            throw error("more than " + MAX_TOKENS + " names, numbers, operators and tags");
        }
    }

    private int line(int position) {
        for (; counted < position; counted++) {
            if (source.charAt(counted) == '\n') {
                line++;
            }
        }
        return line;
    }

    private JinjaException error(String message) {
        return JinjaException.at(line(at), message);
    }

    private void add(Kind kind, String text, int position) {
        tokens.add(new Token(kind, text, null, line(position)));
    }

    private char look(int position) {
        return position < source.length() ? source.charAt(position) : 0;
    }

    /** Text up to the next tag, and that tag. */
    private void text() {
        int open = at;
        while (open < source.length() && !(source.charAt(open) == '{' && "{%#".indexOf(look(open + 1)) >= 0 && open + 1 < source.length())) {
            open = source.indexOf('{', open + 1);
            if (open < 0) {
                open = source.length();
            }
        }
        char kind = look(open + 1);
        char sign = look(open + 2);
        boolean signed = sign == '-' || sign == '+';
        String text = source.substring(at, open);
        if (open < source.length()) {
            text = stripBefore(text, signed ? sign : 0, kind != '{');
        }
        if (!text.isEmpty()) {
            add(Kind.TEXT, text, at);
        }
        at = open;
        if (open == source.length()) {
            return;
        }
        int begin = open + (signed ? 3 : 2);
        if (kind == '#') {
            comment(begin);
        } else if (kind == '%' && afterRaw(begin) >= 0) {
            raw(afterRaw(begin));
        } else {
            boolean block = kind == '%';
            add(block ? Kind.BLOCK_BEGIN : Kind.VARIABLE_BEGIN, "", open);
            at = begin;
            inside(block);
        }
    }

    private String stripBefore(String text, char sign, boolean block) {
        int end = text.length();
        if (sign == '-') {
            while (end > 0 && PythonChars.isSpace(text.charAt(end - 1))) {
                end--;
            }
            return text.substring(0, end);
        }
        if (sign == '+' || !block) {
            return text;
        }
        int lineStart = text.lastIndexOf('\n') + 1;
        if (lineStart == 0 && !lineStarts) {
            return text;
        }
        while (end > lineStart && PythonChars.isSpace(text.charAt(end - 1))) {
            end--;
        }
        return end == lineStart ? text.substring(0, lineStart) : text;
    }

    private int skipSpace(int position) {
        int i = position;
        while (i < source.length() && PythonChars.isSpace(source.charAt(i))) {
            i++;
        }
        return i;
    }

    /** Goes on behind a closing tag, and behind the white space that it takes. */
    private void behind(int closing, char sign, boolean trims) {
        int end = closing;
        if (sign == '-') {
            end = skipSpace(end);
        } else if (trims && sign != '+' && look(end) == '\n') {
            end++;
        }
        at = end;
        lineStarts = source.charAt(end - 1) == '\n';
    }

    private void comment(int begin) {
        int close = source.indexOf("#}", begin);
        if (close < 0) {
            throw error("Missing end of comment tag");
        }
        behind(close + 2, close > begin ? source.charAt(close - 1) : 0, true);
    }

    /** Where the raw text begins, if this is a tag {@code raw}; else -1. */
    private int afterRaw(int begin) {
        int i = skipSpace(begin);
        if (!source.startsWith("raw", i)) {
            return -1;
        }
        i = skipSpace(i + 3);
        if (source.startsWith("-%}", i)) {
            return skipSpace(i + 3);
        }
        return source.startsWith("%}", i) ? i + 2 : -1;
    }

    private void raw(int begin) {
        lineStarts = source.charAt(begin - 1) == '\n';
        for (int open = source.indexOf("{%", begin); open >= 0; open = source.indexOf("{%", open + 2)) {
            char sign = look(open + 2);
            boolean signed = sign == '-' || sign == '+';
            int i = skipSpace(open + (signed ? 3 : 2));
            if (!source.startsWith("endraw", i)) {
                continue;
            }
            i = skipSpace(i + 6);
            char closingSign = look(i);
            boolean closingSigned = closingSign == '-' || closingSign == '+';
            if (!source.startsWith("%}", closingSigned ? i + 1 : i)) {
                continue;
            }
            String text = stripBefore(source.substring(begin, open), signed ? sign : 0, true);
            if (!text.isEmpty()) {
                add(Kind.TEXT, text, begin);
            }
            behind((closingSigned ? i + 1 : i) + 2, closingSigned ? closingSign : 0, true);
            return;
        }
        throw error("Missing end of raw directive");
    }

    /** The tokens of a tag, up to and with its end. */
    private void inside(boolean block) {
        Deque<Character> open = new ArrayDeque<>();
        String close = block ? "%}" : "}}";
        while (at < source.length()) {
            char c = source.charAt(at);
            boolean minus = c == '-' && source.startsWith(close, at + 1);
            boolean plus = block && c == '+' && source.startsWith(close, at + 1);
            if (open.isEmpty() && (minus || plus || source.startsWith(close, at))) {
                add(block ? Kind.BLOCK_END : Kind.VARIABLE_END, "", at);
                behind(at + (minus || plus ? 3 : 2), minus ? '-' : plus ? '+' : 0, block);
                return;
            }
            bounded();
            if (PythonChars.isSpace(c)) {
                at++;
            } else if (c >= '0' && c <= '9') {
                number();
            } else if (c == '\'' || c == '"') {
                string(c);
            } else if (PythonChars.isWord(source.codePointAt(at))) {
                name();
            } else {
                operator(open);
            }
        }
        // The parser says what is missing.
    }

    private void operator(Deque<Character> open) {
        for (String op : OPERATORS) {
            if (source.startsWith(op, at)) {
                char c = op.charAt(0);
                if (op.length() == 1 && "([{".indexOf(c) >= 0) {
                    open.push(")]}".charAt("([{".indexOf(c)));
                } else if (op.length() == 1 && ")]}".indexOf(c) >= 0) {
                    if (open.isEmpty()) {
                        throw error("unexpected '" + c + "'");
                    }
                    char expected = open.pop();
                    if (expected != c) {
                        throw error("unexpected '" + c + "', expected '" + expected + "'");
                    }
                }
                add(Kind.OPERATOR, op, at);
                at += op.length();
                return;
            }
        }
        throw error("unexpected char '" + Character.toString(source.codePointAt(at)) + "'");
    }

    private void name() {
        int end = at;
        while (end < source.length()) {
            int c = source.codePointAt(end);
            if (!PythonChars.isWord(c) && !(Character.isUnicodeIdentifierPart(c) && !Character.isIdentifierIgnorable(c))) {
                break;
            }
            end += Character.charCount(c);
        }
        int first = source.codePointAt(at);
        if (first != '_' && !Character.isUnicodeIdentifierStart(first)) {
            throw error("Invalid character in identifier");
        }
        add(Kind.NAME, source.substring(at, end), at);
        at = end;
    }

    /** Behind the digits, with single underscores between them, that begin here; the same place where none does. */
    private int digits(int from, String allowed) {
        int i = from;
        while (allowed.indexOf(Character.toLowerCase(look(i))) >= 0 && look(i) != 0
                || look(i) == '_' && i > from && look(i + 1) != 0 && allowed.indexOf(Character.toLowerCase(look(i + 1))) >= 0) {
            i++;
        }
        return i;
    }

    private void number() {
        int whole = digits(at, "0123456789");
        int end = whole;
        boolean real = false;
        // "x.1.5" is no float: it asks for element 1.
        if (at == 0 || source.charAt(at - 1) != '.') {
            if (look(end) == '.' && digits(end + 1, "0123456789") > end + 1) {
                end = digits(end + 1, "0123456789");
                real = true;
            }
            if (look(end) == 'e' || look(end) == 'E') {
                int exponent = end + (look(end + 1) == '+' || look(end + 1) == '-' ? 2 : 1);
                if (digits(exponent, "0123456789") > exponent) {
                    end = digits(exponent, "0123456789");
                    real = true;
                }
            }
        }
        Object value;
        Kind kind = Kind.INTEGER;
        if (real) {
            kind = Kind.FLOAT;
            bound(end);
            value = Double.parseDouble(source.substring(at, end).replace("_", ""));
        } else {
            int base = look(at) != '0' ? 10 : switch (Character.toLowerCase(look(at + 1))) {
                case 'x' -> 16;
                case 'o' -> 8;
                case 'b' -> 2;
                default -> 10;
            };
            int prefixed = at + 2 + (look(at + 2) == '_' ? 1 : 0);
            int prefixedEnd = base == 10 ? 0 : digits(prefixed, "0123456789abcdef".substring(0, base));
            if (base != 10 && prefixedEnd > prefixed) {
                end = prefixedEnd;
            } else {
                base = 10;
                prefixed = at;
                // A decimal number does not begin with 0: "007" is 00 and 7.
                end = look(at) == '0' ? digits(at, "0") : whole;
            }
            bound(end);
            value = Numbers.normal(new BigInteger(source.substring(prefixed, end).replace("_", ""), base));
        }
        tokens.add(new Token(kind, source.substring(at, end), value, line(at)));
        at = end;
    }

    private void bound(int end) {
        if (end - at > MAX_DIGITS) {
            throw error("a number of " + (end - at) + " digits");
        }
    }

    private void string(char quote) {
        int begin = at;
        int i = at + 1;
        while (i < source.length() && source.charAt(i) != quote) {
            i += source.charAt(i) == '\\' ? 2 : 1;
        }
        if (i >= source.length()) {
            throw error("unexpected char " + (quote == '"' ? "'\"'" : "\"'\"") + ": a string that does not end");
        }
        String raw = source.substring(at + 1, i);
        tokens.add(new Token(Kind.STRING, raw.indexOf('\\') < 0 ? raw : unescape(raw), null, line(begin)));
        at = i + 1;
    }

    /** Python's escapes; those that it does not know stay as they are. */
    private String unescape(String raw) {
        StringBuilder out = new StringBuilder(raw.length());
        int i = 0;
        while (i < raw.length()) {
            char c = raw.charAt(i++);
            if (c != '\\') {
                out.append(c);
                continue;
            }
            char escape = raw.charAt(i++);
            int simple = "abfnrtv\\'\"\n".indexOf(escape);
            if (simple >= 0) {
                if (escape != '\n') {
                    out.append("\u0007\b\f\n\r\t\u000B\\'\"".charAt(simple));
                }
            } else if (escape >= '0' && escape <= '7') {
                int value = escape - '0';
                for (int digits = 1; digits < 3 && i < raw.length() && raw.charAt(i) >= '0' && raw.charAt(i) <= '7'; digits++) {
                    value = value * 8 + raw.charAt(i++) - '0';
                }
                out.append((char) value);
            } else if (escape == 'x' || escape == 'u' || escape == 'U') {
                int n = escape == 'x' ? 2 : escape == 'u' ? 4 : 8;
                out.appendCodePoint(hexadecimal(raw, i, n));
                i += n;
            } else if (escape == 'N') {
                int close = raw.indexOf('}', i);
                if (close < 0 || raw.charAt(i) != '{') {
                    throw error("malformed \\N character escape");
                }
                try {
                    out.appendCodePoint(Character.codePointOf(raw.substring(i + 1, close)));
                } catch (IllegalArgumentException e) {
                    throw error("unknown Unicode character name");
                }
                i = close + 1;
            } else {
                out.append('\\').append(escape);
            }
        }
        return out.toString();
    }

    private int hexadecimal(String raw, int from, int digits) {
        long value = 0;
        for (int i = from; i < from + digits; i++) {
            int digit = i < raw.length() ? Character.digit(raw.charAt(i), 16) : -1;
            if (digit < 0 || raw.charAt(i) > 'f') {
                throw error("truncated escape in a string, where " + digits + " hexadecimal digits are needed");
            }
            value = value * 16 + digit;
        }
        if (value > Character.MAX_CODE_POINT) {
            throw error("illegal Unicode character in a string");
        }
        return (int) value;
    }
}
