package dev.panacea.jinja;

import dev.panacea.jinja.Values.Dict;
import dev.panacea.jinja.Values.ListValue;
import dev.panacea.jinja.Values.Sequence;
import dev.panacea.jinja.Values.TupleValue;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Iterator;

/** Values as Python prints them: {@code str} and {@code repr}; and HTML's escapes. Marks go along with the characters. */
final class Printing {
    private final Budget budget;
    /** What is being printed, so that a namespace that holds itself has an end. */
    private final Deque<Object> open = new ArrayDeque<>();

    Printing(Budget budget) {
        this.budget = budget;
    }

    /** Python's {@code str}. */
    Str str(Object v) {
        if (v instanceof Str s) {
            return s;
        }
        if (Numbers.isNumber(v)) {
            if (v instanceof java.math.BigInteger n) {
                budget.work(n.bitLength());
            }
            String text = Numbers.text(v);
            budget.memory(40 + text.length());
            return new Str(text);
        }
        if (v instanceof Values.Undefined) {
            return Str.EMPTY;
        }
        return repr(v);
    }

    Str repr(Object v) {
        TextBuilder out = new TextBuilder(budget);
        repr(v, out);
        return out.toStr();
    }

    private void repr(Object v, TextBuilder out) {
        budget.step();
        switch (v) {
            case null -> out.append("None");
            case Str s -> {
                if (s.safe) {
                    out.append("Markup(");
                }
                string(s, out);
                if (s.safe) {
                    out.append(")");
                }
            }
            case Sequence s -> {
                out.append(s instanceof ListValue ? "[" : "(");
                if (enter(s, out)) {
                    for (int i = 0; i < s.items.size(); i++) {
                        out.append(i == 0 ? "" : ", ");
                        repr(s.items.get(i), out);
                    }
                    leave();
                }
                out.append(s instanceof ListValue ? "]" : s.items.size() == 1 ? ",)" : ")");
            }
            case Dict d -> dict(d, out);
            case Values.View view -> {
                out.append("dict_" + view.kind() + "([");
                if (enter(view.dict(), out)) {
                    boolean first = true;
                    for (Iterator<Object> items = view.iterator(); items.hasNext();) {
                        out.append(first ? "" : ", ");
                        repr(items.next(), out);
                        first = false;
                    }
                    leave();
                }
                out.append("])");
            }
            case Values.Range r -> out.append("range(" + r.start() + ", " + r.stop() + (r.step() == 1 ? ")" : ", " + r.step() + ")"));
            case Values.Undefined u -> out.append("Undefined");
            case Values.Namespace n -> {
                out.append("<Namespace ");
                dict(n.values(), out);
                out.append(">");
            }
            case Values.Bytes b -> bytes(b.bytes(), b.mark(), out);
            case Values.Lazy l -> out.append("<" + l.type() + " object>");
            case Values.Callable c -> out.append(c.shown());
            default -> out.append(Numbers.text(v));
        }
    }

    private void dict(Dict d, TextBuilder out) {
        out.append("{");
        if (enter(d, out)) {
            boolean first = true;
            for (Dict.Entry e : d.all()) {
                out.append(first ? "" : ", ");
                repr(e.key(), out);
                out.append(": ");
                repr(e.value(), out);
                first = false;
            }
            leave();
        }
        out.append("}");
    }

    private boolean enter(Object v, TextBuilder out) {
        for (Object o : open) {
            if (o == v) {
                out.append("...");
                return false;
            }
        }
        budget.enter();
        open.push(v);
        return true;
    }

    private void leave() {
        open.pop();
        budget.leave();
    }

    private static void string(Str s, TextBuilder out) {
        char quote = s.text.indexOf('\'') >= 0 && s.text.indexOf('"') < 0 ? '"' : '\'';
        out.append(quote);
        int plain = 0;
        int c;
        for (int i = 0; i < s.length(); i += Character.charCount(c)) {
            c = s.text.codePointAt(i);
            String escaped = switch (c) {
                case '\\' -> "\\\\";
                case '\n' -> "\\n";
                case '\r' -> "\\r";
                case '\t' -> "\\t";
                default -> c == quote ? "\\" + quote : PythonChars.isPrintable(c) ? null
                        : c < 0x100 ? PythonChars.hex("\\x", c, 2) : c < 0x10000 ? PythonChars.hex("\\u", c, 4) : PythonChars.hex("\\U", c, 8);
            };
            if (escaped != null) {
                out.append(s, plain, i).append(escaped, s.mark(i));
                plain = i + Character.charCount(c);
            }
        }
        out.append(s, plain, s.length()).append(quote);
    }

    private static void bytes(byte[] bytes, byte mark, TextBuilder out) {
        StringBuilder text = new StringBuilder();
        boolean single = false;
        boolean twofold = false;
        for (byte b : bytes) {
            single |= b == '\'';
            twofold |= b == '"';
        }
        char quote = single && !twofold ? '"' : '\'';
        for (byte b : bytes) {
            int c = b & 0xFF;
            text.append(switch (c) {
                case '\\' -> "\\\\";
                case '\n' -> "\\n";
                case '\r' -> "\\r";
                case '\t' -> "\\t";
                default -> c == quote ? "\\" + quote : c < ' ' || c > '~' ? PythonChars.hex("\\x", c, 2) : String.valueOf((char) c);
            });
        }
        out.append("b" + quote).append(text.toString(), mark).append(quote);
    }

    /** HTML-safe, as markupsafe's {@code escape}. */
    Str escape(Object v) {
        Str s = str(v);
        if (s.safe) {
            return s;
        }
        TextBuilder out = new TextBuilder(budget);
        int plain = 0;
        for (int i = 0; i < s.length(); i++) {
            String escaped = switch (s.text.charAt(i)) {
                case '&' -> "&amp;";
                case '<' -> "&lt;";
                case '>' -> "&gt;";
                case '\'' -> "&#39;";
                case '"' -> "&#34;";
                default -> null;
            };
            if (escaped != null) {
                out.append(s, plain, i).append(escaped, s.mark(i));
                plain = i + 1;
            }
        }
        return out.append(s, plain, s.length()).toStr().asSafe(true);
    }
}
