package dev.panacea.text;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** The methods of Python's {@code str} that chat templates use. White space is Python's: more than ASCII. */
final class PythonStrings {
    private PythonStrings() {}

    static boolean isSpace(char c) {
        return c >= '\t' && c <= '\r' || c >= 0x1C && c <= ' ' || c == 0x85 || c == 0x2028 || c == 0x2029
                || c > 0x7F && Character.getType(c) == Character.SPACE_SEPARATOR;
    }

    static String strip(String s) {
        return rstrip(lstrip(s));
    }

    static String lstrip(String s) {
        int start = 0;
        while (start < s.length() && isSpace(s.charAt(start))) {
            start++;
        }
        return s.substring(start);
    }

    static String rstrip(String s) {
        int end = s.length();
        while (end > 0 && isSpace(s.charAt(end - 1))) {
            end--;
        }
        return s.substring(0, end);
    }

    /** Strips any of these characters. */
    private static String strip(String s, String chars, boolean left, boolean right) {
        int start = 0;
        int end = s.length();
        while (left && start < end && chars.indexOf(s.charAt(start)) >= 0) {
            start++;
        }
        while (right && end > start && chars.indexOf(s.charAt(end - 1)) >= 0) {
            end--;
        }
        return s.substring(start, end);
    }

    private static List<Object> split(String s, String separator) {
        if (separator.isEmpty()) {
            throw new UnsupportedOperationException("empty separator");
        }
        List<Object> parts = new ArrayList<>();
        int from = 0;
        for (int at = s.indexOf(separator); at >= 0; at = s.indexOf(separator, from)) {
            parts.add(s.substring(from, at));
            from = at + separator.length();
        }
        parts.add(s.substring(from));
        return parts;
    }

    private static List<Object> splitAtSpace(String s) {
        List<Object> parts = new ArrayList<>();
        int i = 0;
        while (i < s.length()) {
            int start = i;
            while (i < s.length() && !isSpace(s.charAt(i))) {
                i++;
            }
            if (i > start) {
                parts.add(s.substring(start, i));
            }
            i++;
        }
        return parts;
    }

    /**
     * Calls a method.
     *
     * @throws UnsupportedOperationException when there is no such method with such arguments
     */
    static Object call(String s, String method, Object... args) {
        boolean strings = true;
        for (Object arg : args) {
            strings &= arg instanceof CharSequence;
        }
        String first = args.length > 0 ? String.valueOf(args[0]) : "";
        return switch (method + "/" + (strings ? args.length : "?")) {
            case "strip/0" -> strip(s);
            case "strip/1" -> strip(s, first, true, true);
            case "lstrip/0" -> lstrip(s);
            case "lstrip/1" -> strip(s, first, true, false);
            case "rstrip/0" -> rstrip(s);
            case "rstrip/1" -> strip(s, first, false, true);
            case "startswith/1" -> s.startsWith(first);
            case "endswith/1" -> s.endsWith(first);
            case "split/0" -> splitAtSpace(s);
            case "split/1" -> split(s, first);
            case "replace/2" -> s.replace(first, String.valueOf(args[1]));
            case "upper/0" -> s.toUpperCase(Locale.ROOT);
            case "lower/0" -> s.toLowerCase(Locale.ROOT);
            case "find/1" -> (long) s.indexOf(first);
            case "count/1" -> (long) split(s, first).size() - 1;
            case "title/0" -> title(s);
            case "capitalize/0" -> s.isEmpty() ? s : s.substring(0, 1).toUpperCase(Locale.ROOT) + s.substring(1).toLowerCase(Locale.ROOT);
            default -> throw new UnsupportedOperationException("str." + method + " with these " + args.length + " arguments is not supported in chat templates");
        };
    }

    private static String title(String s) {
        StringBuilder out = new StringBuilder(s.length());
        boolean inWord = false;
        for (int i = 0; i < s.length(); i++) {
            char c = s.charAt(i);
            out.append(inWord ? Character.toLowerCase(c) : Character.toTitleCase(c));
            inWord = Character.isLetter(c);
        }
        return out.toString();
    }
}
