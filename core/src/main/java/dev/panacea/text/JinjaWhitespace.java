package dev.panacea.text;

import dev.panacea.kernels.PanaceaException;

/**
 * Applies Jinja's rules on white space to the source of a template, as its lexer does with {@code trim_blocks} and {@code lstrip_blocks} set:
 * {@code -} takes all white space on its side, a block or comment takes the spaces before it on its line if nothing else stands there, and the
 * newline after it. Comments go. What is left has no such marks and no such rules, as the engine's own differ from Jinja's.
 */
final class JinjaWhitespace {
    private final String source;
    private final StringBuilder out = new StringBuilder();
    /** Where the text since the last tag begins in {@link #out}. */
    private int textStart;
    /** Whether that text begins a line. */
    private boolean lineStarts = true;
    private int at;

    private JinjaWhitespace(String source) {
        this.source = source;
    }

    static String apply(String source) {
        return new JinjaWhitespace(source).run();
    }

    private String run() {
        while (at < source.length()) {
            char c = source.charAt(at);
            char kind = c == '{' && at + 1 < source.length() ? source.charAt(at + 1) : 0;
            if (kind == '{' || kind == '%' || kind == '#') {
                tag(kind);
            } else {
                out.append(c);
                at++;
            }
        }
        return out.toString();
    }

    private void tag(char kind) {
        int opened = at;
        at += 2;
        char sign = at < source.length() ? source.charAt(at) : 0;
        if (sign == '-' || sign == '+') {
            at++;
        }
        stripBefore(sign, kind != '{');
        int begin = at;
        int close = close(kind, opened);
        boolean minus = close > begin && source.charAt(close - 1) == '-';
        boolean plus = close > begin && source.charAt(close - 1) == '+' && kind != '{';
        String inner = source.substring(begin, minus || plus ? close - 1 : close);
        at = close + 2;
        boolean raw = kind == '%' && inner.strip().equals("raw");
        if (kind != '#' && !raw) {
            out.append('{').append(kind).append(' ').append(inner.strip()).append(' ').append(kind == '{' ? '}' : kind).append('}');
        }
        after(minus, !plus && !minus && kind != '{' && !raw);
        textStart = out.length();
        if (raw) {
            verbatim(opened);
        }
    }

    private void stripBefore(char sign, boolean block) {
        int end = out.length();
        if (sign == '-') {
            while (end > textStart && PythonStrings.isSpace(out.charAt(end - 1))) {
                end--;
            }
        } else if (sign != '+' && block) {
            int line = end;
            while (line > textStart && out.charAt(line - 1) != '\n' && PythonStrings.isSpace(out.charAt(line - 1))) {
                line--;
            }
            boolean alone = line > textStart ? out.charAt(line - 1) == '\n' : lineStarts;
            end = alone ? line : end;
        }
        out.setLength(end);
    }

    /** Skips what the tag before takes; what follows begins a line if a newline was among it. */
    private void after(boolean all, boolean oneNewline) {
        lineStarts = false;
        while (all && at < source.length() && PythonStrings.isSpace(source.charAt(at))) {
            lineStarts = source.charAt(at++) == '\n';
        }
        if (oneNewline && at < source.length() && source.charAt(at) == '\n') {
            lineStarts = true;
            at++;
        }
    }

    /** Where the tag closes; what stands in quotes does not close it. */
    private int close(char kind, int opened) {
        char closing = kind == '{' ? '}' : kind;
        char quote = 0;
        int depth = 0;
        for (int i = at; i + 1 < source.length(); i++) {
            char c = source.charAt(i);
            if (kind == '#') {
                if (c == '#' && source.charAt(i + 1) == '}') {
                    return i;
                }
            } else if (quote != 0) {
                if (c == '\\') {
                    i++;
                } else if (c == quote) {
                    quote = 0;
                }
            } else if (c == '\'' || c == '"') {
                quote = c;
            } else if (c == closing && source.charAt(i + 1) == '}' && depth == 0) {
                return i;
            } else if (c == '{') {
                depth++;
            } else if (c == '}') {
                depth = Math.max(0, depth - 1);
            }
        }
        throw new PanaceaException("the model's chat template is broken: what is opened by {" + kind + " in line " + line(opened) + " is not closed");
    }

    private int line(int position) {
        return 1 + (int) source.substring(0, position).chars().filter(c -> c == '\n').count();
    }

    /** Between {@code raw} and {@code endraw} everything is text. */
    private void verbatim(int opened) {
        int open = source.indexOf("{%", at);
        while (open >= 0) {
            int name = open + 2;
            char sign = name < source.length() ? source.charAt(name) : 0;
            name += sign == '-' || sign == '+' ? 1 : 0;
            int end = source.indexOf("%}", name);
            String inner = end < 0 ? "" : source.substring(name, end);
            boolean minus = inner.endsWith("-");
            boolean plus = inner.endsWith("+");
            if ((minus || plus ? inner.substring(0, inner.length() - 1) : inner).strip().equals("endraw")) {
                String text = source.substring(at, open);
                out.append("{% raw %}").append(sign == '-' ? PythonStrings.rstrip(text) : text).append("{% endraw %}");
                at = end + 2;
                after(minus, !minus && !plus);
                textStart = out.length();
                return;
            }
            open = source.indexOf("{%", open + 2);
        }
        throw new PanaceaException("the model's chat template is broken: 'raw' in line " + line(opened) + " is not closed");
    }
}
