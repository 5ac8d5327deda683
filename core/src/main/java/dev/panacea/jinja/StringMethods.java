package dev.panacea.jinja;

import dev.panacea.jinja.Values.ListValue;
import dev.panacea.jinja.Values.TupleValue;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.Collections;
import java.util.Iterator;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.function.IntPredicate;

/** The methods of Python's {@code str}. Each keeps the marks of the characters that it keeps. */
final class StringMethods {
    private static final Set<String> NAMES = Set.of("capitalize", "casefold", "center", "count", "encode", "endswith", "expandtabs", "find", "format", "format_map",
            "index", "isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "isidentifier", "islower", "isnumeric", "isprintable", "isspace", "istitle", "isupper",
            "join", "ljust", "lower", "lstrip", "partition", "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rjust", "rpartition", "rsplit", "rstrip",
            "split", "splitlines", "startswith", "strip", "swapcase", "title", "upper", "zfill");

    private final Budget budget;
    private final Operators operators;
    private final BraceFormat braces;

    StringMethods(Budget budget, Operators operators, BraceFormat braces) {
        this.budget = budget;
        this.operators = operators;
        this.braces = braces;
    }

    static boolean has(String name) {
        return NAMES.contains(name);
    }

    Object call(Str s, String name, Args args) {
        budget.work(s.length());
        Object result = plain(s, name, args);
        return s.safe && result instanceof Str t ? t.asSafe(true) : result;
    }

    private Object plain(Str s, String name, Args args) {
        switch (name) {
            case "format" -> {
                return braces.format(s, args);
            }
            case "format_map" -> {
                return braces.format(s, new Args(List.of(), BraceFormat.mapping(args.positional(name, 1, 1).get(0))));
            }
            case "split", "rsplit" -> {
                Args.Bound a = args.bind(name, 0, "sep", "maxsplit");
                return new ListValue(split(s, a.given(0) ? a.string(0) : null, a.integer(1, -1), name.equals("rsplit")));
            }
            case "splitlines" -> {
                Args.Bound a = args.bind(name, 0, "keepends");
                return new ListValue(lines(s, a.has(0) && Operators.truth(a.get(0))));
            }
            case "encode" -> {
                Args.Bound a = args.bind(name, 0, "encoding", "errors");
                String encoding = a.has(0) ? a.string(0).text.toLowerCase(Locale.ROOT).replace('_', '-') : "utf-8";
                if (!encoding.equals("utf-8") && !encoding.equals("utf8")) {
                    throw new JinjaException("encode() to '" + encoding + "' is not supported in chat templates");
                }
                budget.memory(40 + 3L * s.length());
                return new Values.Bytes(s.text.getBytes(StandardCharsets.UTF_8), s.isUniform() ? s.mark() : Str.DATA);
            }
            case "expandtabs" -> {
                return expandTabs(s, args.bind(name, 0, "tabsize").integer(0, 8));
            }
            default -> { }
        }
        Args.Bound a = args.positional(name, least(name), most(name));
        return switch (name) {
            case "strip" -> strip(s, chars(a), true, true);
            case "lstrip" -> strip(s, chars(a), true, false);
            case "rstrip" -> strip(s, chars(a), false, true);
            case "startswith", "endswith" -> startsOrEnds(s, name.equals("startswith"), a);
            case "find", "rfind", "index", "rindex" -> find(s, name, a);
            case "count" -> count(s, a);
            case "replace" -> replace(s, a.string(0), a.string(1), a.integer(2, -1));
            case "upper" -> upper(s);
            case "lower", "casefold" -> lower(s);
            case "title" -> title(s);
            case "capitalize" -> capitalize(s);
            case "swapcase" -> swapCase(s);
            case "join" -> join(s, operators.iterate(a.get(0)), true);
            case "partition", "rpartition" -> partition(s, a.string(0), name.equals("rpartition"));
            case "removeprefix" -> s.text.startsWith(a.string(0).text) ? s.sub(a.string(0).length(), s.length()) : s;
            case "removesuffix" -> !a.string(0).isEmpty() && s.text.endsWith(a.string(0).text) ? s.sub(0, s.length() - a.string(0).length()) : s;
            case "center", "ljust", "rjust" -> pad(s, name, a.integer(0), a.has(1) ? a.string(1) : new Str(" "));
            case "zfill" -> zfill(s, a.integer(0));
            default -> is(s.text, name);
        };
    }

    private static int least(String name) {
        return switch (name) {
            case "startswith", "endswith", "find", "rfind", "index", "rindex", "count", "join", "partition", "rpartition", "removeprefix", "removesuffix", "center",
                    "ljust", "rjust", "zfill" -> 1;
            case "replace" -> 2;
            default -> 0;
        };
    }

    private static int most(String name) {
        return switch (name) {
            case "strip", "lstrip", "rstrip", "join", "partition", "rpartition", "removeprefix", "removesuffix", "zfill" -> 1;
            case "center", "ljust", "rjust" -> 2;
            case "replace", "startswith", "endswith", "find", "rfind", "index", "rindex", "count" -> 3;
            default -> 0;
        };
    }

    private static Str chars(Args.Bound a) {
        return a.given(0) ? a.string(0) : null;
    }

    /** @param chars what is stripped; null for white space */
    static Str strip(Str s, Str chars, boolean left, boolean right) {
        // A set, as both may be long.
        IntPredicate goes = chars == null ? PythonChars::isSpace : chars.text.codePoints().collect(BitSet::new, BitSet::set, BitSet::or)::get;
        int start = 0;
        int end = s.length();
        while (left && start < end && goes.test(s.text.codePointAt(start))) {
            start += Character.charCount(s.text.codePointAt(start));
        }
        while (right && end > start && goes.test(s.text.codePointBefore(end))) {
            end -= Character.charCount(s.text.codePointBefore(end));
        }
        return s.sub(start, end);
    }

    private Str piece(Str s, int from, int to) {
        budget.memory(48L + to - from);
        budget.step();
        return s.sub(from, to);
    }

    private List<Object> split(Str s, Str separator, long most, boolean fromRight) {
        List<Object> parts = new ArrayList<>();
        long left = most < 0 ? Long.MAX_VALUE : most;
        if (separator != null && separator.isEmpty()) {
            throw new JinjaException("empty separator");
        }
        String t = s.text;
        Search search = separator == null ? null : new Search(budget, separator.text);
        if (!fromRight) {
            int from = 0;
            if (separator != null) {
                for (int at = search.next(t, 0); at >= 0 && left > 0; at = search.next(t, from), left--) {
                    parts.add(piece(s, from, at));
                    from = at + separator.length();
                }
                parts.add(piece(s, from, s.length()));
                return parts;
            }
            from = skip(t, 0, true);
            while (from < t.length()) {
                int end = left-- > 0 ? skip(t, from, false) : t.length();
                parts.add(piece(s, from, end));
                from = skip(t, end, true);
            }
            return parts;
        }
        int to = t.length();
        if (separator != null) {
            for (int at = search.last(t, to); at >= 0 && left > 0; at = to < separator.length() ? -1 : search.last(t, to - separator.length()), left--) {
                parts.add(piece(s, at + separator.length(), to));
                to = at;
            }
            parts.add(piece(s, 0, to));
        } else {
            to = back(t, to, true);
            while (to > 0) {
                int start = left-- > 0 ? back(t, to, false) : 0;
                parts.add(piece(s, start, to));
                to = back(t, start, true);
            }
        }
        Collections.reverse(parts);
        return parts;
    }

    private static int skip(String t, int from, boolean space) {
        int i = from;
        while (i < t.length() && PythonChars.isSpace(t.charAt(i)) == space) {
            i++;
        }
        return i;
    }

    private static int back(String t, int from, boolean space) {
        int i = from;
        while (i > 0 && PythonChars.isSpace(t.charAt(i - 1)) == space) {
            i--;
        }
        return i;
    }

    List<Object> lines(Str s, boolean keepEnds) {
        List<Object> lines = new ArrayList<>();
        int from = 0;
        while (from < s.length()) {
            int end = from;
            while (end < s.length() && !PythonChars.isLineEnd(s.text.charAt(end))) {
                end++;
            }
            int next = end < s.length() ? end + 1 : end;
            if (next < s.length() && s.text.charAt(end) == '\r' && s.text.charAt(next) == '\n') {
                next++;
            }
            lines.add(piece(s, from, keepEnds ? next : end));
            from = next;
        }
        return lines;
    }

    /** The part that the arguments after the first name, by code points; null where it begins behind the end. */
    private static int[] part(Str s, Args.Bound a) {
        int n = s.codePoints();
        long from = a.given(1) ? a.integer(1) : 0;
        long to = a.given(2) ? a.integer(2) : n;
        from = Math.max(0, from < 0 ? from + n : from);
        to = Math.clamp(to < 0 ? to + n : to, 0, n);
        return from > n || from > to ? null : new int[] {s.unit((int) from), s.unit((int) to)};
    }

    private Object startsOrEnds(Str s, boolean starts, Args.Bound a) {
        int[] part = part(s, a);
        List<Object> wanted = a.get(0) instanceof TupleValue t ? t.items : List.of(a.string(0));
        for (Object w : wanted) {
            if (!(w instanceof Str x)) {
                throw new JinjaException("tuple for " + a.function() + " must only contain str, not " + Values.typeName(w));
            }
            budget.work(x.length());
            if (part != null && part[1] - part[0] >= x.length() && s.text.startsWith(x.text, starts ? part[0] : part[1] - x.length())) {
                return true;
            }
        }
        return false;
    }

    private Object find(Str s, String name, Args.Bound a) {
        int[] part = part(s, a);
        String wanted = a.string(0).text;
        Search search = new Search(budget, wanted);
        int at = -1;
        if (part != null) {
            if (name.startsWith("r")) {
                at = part[1] < wanted.length() ? -1 : search.last(s.text, part[1] - wanted.length());
                at = at < part[0] ? -1 : at;
            } else {
                at = search.next(s.text, part[0]);
                at = at + wanted.length() > part[1] ? -1 : at;
            }
        }
        if (at < 0 && name.endsWith("index")) {
            throw new JinjaException("substring not found");
        }
        return at < 0 ? -1L : (long) s.text.codePointCount(0, at);
    }

    private Object count(Str s, Args.Bound a) {
        int[] part = part(s, a);
        String wanted = a.string(0).text;
        if (part == null) {
            return 0L;
        }
        if (wanted.isEmpty()) {
            return s.text.codePointCount(part[0], part[1]) + 1L;
        }
        long n = 0;
        Search search = new Search(budget, wanted);
        for (int at = search.next(s.text, part[0]); at >= 0 && at + wanted.length() <= part[1]; at = search.next(s.text, at + wanted.length())) {
            n++;
        }
        return n;
    }

    Str replace(Str s, Str old, Str by, long most) {
        long left = most < 0 ? Long.MAX_VALUE : most;
        TextBuilder out = new TextBuilder(budget);
        int from = 0;
        if (old.isEmpty()) {
            for (; left > 0 && from < s.length(); left--) {
                int next = from + Character.charCount(s.text.codePointAt(from));
                out.append(by).append(s, from, next);
                from = next;
            }
            out.append(s, from, s.length());
            return (left > 0 ? out.append(by) : out).toStr();
        }
        Search search = new Search(budget, old.text);
        int at = search.next(s.text, 0);
        if (at < 0) {
            return s;
        }
        for (; at >= 0 && left > 0; at = search.next(s.text, from), left--) {
            out.append(s, from, at).append(by);
            from = at + old.length();
        }
        return out.append(s, from, s.length()).toStr();
    }

    /** A change of case of each run of characters with the same mark. */
    private Str cased(Str s, java.util.function.UnaryOperator<String> change) {
        if (s.isUniform()) {
            return new TextBuilder(budget).append(change.apply(s.text), s.mark()).toStr();
        }
        TextBuilder out = new TextBuilder(budget);
        for (int i = 0; i < s.length();) {
            int end = i + 1;
            while (end < s.length() && (s.mark(end) == s.mark(i) || Character.isLowSurrogate(s.text.charAt(end)))) {
                end++;
            }
            out.append(change.apply(s.text.substring(i, end)), s.mark(i));
            i = end;
        }
        return out.toStr();
    }

    Str upper(Str s) {
        return cased(s, t -> t.toUpperCase(Locale.ROOT));
    }

    Str lower(Str s) {
        return cased(s, t -> t.toLowerCase(Locale.ROOT));
    }

    private Str title(Str s) {
        TextBuilder out = new TextBuilder(budget);
        boolean inWord = false;
        int c;
        for (int i = 0; i < s.length(); i += Character.charCount(c)) {
            c = s.text.codePointAt(i);
            out.append(inWord ? Character.toString(c).toLowerCase(Locale.ROOT) : PythonChars.title(c), s.mark(i));
            inWord = PythonChars.isCased(c);
        }
        return out.toStr();
    }

    Str capitalize(Str s) {
        if (s.isEmpty()) {
            return s;
        }
        int first = Character.charCount(s.text.codePointAt(0));
        return new TextBuilder(budget).append(PythonChars.title(s.text.codePointAt(0)), s.mark(0)).append(lower(s.sub(first, s.length()))).toStr();
    }

    private Str swapCase(Str s) {
        TextBuilder out = new TextBuilder(budget);
        int c;
        for (int i = 0; i < s.length(); i += Character.charCount(c)) {
            c = s.text.codePointAt(i);
            String one = Character.toString(c);
            out.append(Character.isUpperCase(c) ? one.toLowerCase(Locale.ROOT) : Character.isLowerCase(c) ? one.toUpperCase(Locale.ROOT) : one, s.mark(i));
        }
        return out.toStr();
    }

    /** @param strict whether all items must be strings already */
    Str join(Str separator, Iterator<Object> items, boolean strict) {
        TextBuilder out = new TextBuilder(budget);
        for (int i = 0; items.hasNext(); i++) {
            Object item = items.next();
            if (strict && !(item instanceof Str)) {
                throw new JinjaException("sequence item " + i + ": expected str instance, " + Values.typeName(item) + " found");
            }
            if (i > 0) {
                out.append(separator);
            }
            out.append((Str) item);
        }
        return out.toStr();
    }

    private Object partition(Str s, Str separator, boolean last) {
        if (separator.isEmpty()) {
            throw new JinjaException("empty separator");
        }
        Search search = new Search(budget, separator.text);
        int at = last ? search.last(s.text, s.length()) : search.next(s.text, 0);
        if (at < 0) {
            return new TupleValue(last ? List.of(Str.EMPTY, Str.EMPTY, s) : List.of(s, Str.EMPTY, Str.EMPTY));
        }
        int after = at + separator.length();
        return new TupleValue(List.of(s.sub(0, at), s.sub(at, after), s.sub(after, s.length())));
    }

    Str pad(Str s, String how, long width, Str fill) {
        if (fill.codePoints() != 1) {
            throw new JinjaException("The fill character must be exactly one character long");
        }
        long missing = width - s.codePoints();
        if (missing <= 0) {
            return s;
        }
        budget.memory(missing * 2);
        long before = how.equals("center") ? missing / 2 + (missing & width & 1) : how.equals("rjust") ? missing : 0;
        return new TextBuilder(budget).append(fill.text.repeat((int) before), fill.mark()).append(s).append(fill.text.repeat((int) (missing - before)), fill.mark()).toStr();
    }

    private Str zfill(Str s, long width) {
        long missing = width - s.codePoints();
        if (missing <= 0) {
            return s;
        }
        budget.memory(missing);
        int sign = !s.isEmpty() && "+-".indexOf(s.text.charAt(0)) >= 0 ? 1 : 0;
        return new TextBuilder(budget).append(s, 0, sign).append("0".repeat((int) missing)).append(s, sign, s.length()).toStr();
    }

    private Str expandTabs(Str s, long size) {
        TextBuilder out = new TextBuilder(budget);
        long column = 0;
        for (int i = 0; i < s.length(); i++) {
            char c = s.text.charAt(i);
            if (c == '\t') {
                long spaces = size > 0 ? size - column % size : 0;
                budget.memory(spaces);
                out.append(" ".repeat((int) spaces), s.mark(i));
                column += spaces;
            } else {
                out.append(s, i, i + 1);
                column = c == '\n' || c == '\r' ? 0 : Character.isLowSurrogate(c) ? column : column + 1;
            }
        }
        return out.toStr();
    }

    static boolean is(String s, String name) {
        if (name.equals("isascii")) {
            return s.chars().allMatch(c -> c < 0x80);
        }
        if (name.equals("isprintable")) {
            return s.codePoints().allMatch(PythonChars::isPrintable);
        }
        if (name.equals("islower") || name.equals("isupper")) {
            boolean lower = name.equals("islower");
            return s.codePoints().anyMatch(c -> lower ? Character.isLowerCase(c) : Character.isUpperCase(c))
                    && s.codePoints().noneMatch(c -> Character.isTitleCase(c) || (lower ? Character.isUpperCase(c) : Character.isLowerCase(c)));
        }
        if (s.isEmpty()) {
            return false;
        }
        return switch (name) {
            case "isspace" -> s.codePoints().allMatch(PythonChars::isSpace);
            case "isalpha" -> s.codePoints().allMatch(Character::isLetter);
            case "isdecimal" -> s.codePoints().allMatch(Character::isDigit);
            case "isdigit" -> s.codePoints().allMatch(StringMethods::isDigit);
            case "isnumeric" -> s.codePoints().allMatch(StringMethods::isNumeric);
            case "isalnum" -> s.codePoints().allMatch(c -> Character.isLetter(c) || isNumeric(c));
            case "isidentifier" -> (s.charAt(0) == '_' || Character.isUnicodeIdentifierStart(s.codePointAt(0)))
                    && s.codePoints().allMatch(c -> Character.isUnicodeIdentifierPart(c) && !Character.isIdentifierIgnorable(c));
            default -> isTitle(s);
        };
    }

    private static boolean isDigit(int c) {
        return Character.isDigit(c) || c >= 0xB2 && c <= 0xB3 || c == 0xB9 || c == 0x2070 || c >= 0x2074 && c <= 0x2079 || c >= 0x2080 && c <= 0x2089
                || c >= 0x2460 && c <= 0x2468;
    }

    private static boolean isNumeric(int c) {
        int type = Character.getType(c);
        return type == Character.DECIMAL_DIGIT_NUMBER || type == Character.LETTER_NUMBER || type == Character.OTHER_NUMBER || "〇一二三四五六七八九十百千万亿".indexOf(c) >= 0;
    }

    private static boolean isTitle(String s) {
        boolean inWord = false;
        boolean any = false;
        for (int c : s.codePoints().toArray()) {
            if (Character.isUpperCase(c) || Character.isTitleCase(c)) {
                if (inWord) {
                    return false;
                }
                any = true;
            } else if (Character.isLowerCase(c) && !inWord) {
                return false;
            }
            inWord = PythonChars.isCased(c);
        }
        return any;
    }
}
