package dev.panacea.jinja;

/** Python's ideas about characters. */
final class PythonChars {
    private PythonChars() {}

    /** {@code str.isspace}; none is beyond the basic plane. */
    static boolean isSpace(int c) {
        return c >= '\t' && c <= '\r' || c >= 0x1C && c <= ' ' || c == 0x85 || c == 0x2028 || c == 0x2029
                || c > 0x7F && Character.getType(c) == Character.SPACE_SEPARATOR;
    }

    /** Where {@code str.splitlines} ends a line. */
    static boolean isLineEnd(int c) {
        return c >= '\n' && c <= '\r' || c >= 0x1C && c <= 0x1E || c == 0x85 || c == 0x2028 || c == 0x2029;
    }

    /** Whether {@code repr} shows the character as it is. */
    static boolean isPrintable(int c) {
        return c == ' ' || switch (Character.getType(c)) {
            case Character.CONTROL, Character.FORMAT, Character.SURROGATE, Character.PRIVATE_USE, Character.UNASSIGNED, Character.LINE_SEPARATOR,
                    Character.PARAGRAPH_SEPARATOR, Character.SPACE_SEPARATOR -> false;
            default -> true;
        };
    }

    static boolean isCased(int c) {
        return Character.isUpperCase(c) || Character.isLowerCase(c) || Character.isTitleCase(c);
    }

    /** {@code \w} of regular expressions. */
    static boolean isWord(int c) {
        return c == '_' || Character.isLetterOrDigit(c) || Character.getType(c) == Character.LETTER_NUMBER || Character.getType(c) == Character.OTHER_NUMBER;
    }

    /** The title case of one character, which may be several: that of ß is Ss. */
    static String title(int c) {
        int title = Character.toTitleCase(c);
        if (title != c || Character.isTitleCase(c)) {
            return Character.toString(title);
        }
        String upper = Character.toString(c).toUpperCase(java.util.Locale.ROOT);
        int first = upper.offsetByCodePoints(0, 1);
        return first == upper.length() ? upper : upper.substring(0, first) + upper.substring(first).toLowerCase(java.util.Locale.ROOT);
    }

    /** An escape with so many hexadecimal digits. */
    static String hex(String head, int c, int digits) {
        StringBuilder out = new StringBuilder(head);
        for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) {
            out.append(Character.forDigit(c >> shift & 15, 16));
        }
        return out.toString();
    }
}
