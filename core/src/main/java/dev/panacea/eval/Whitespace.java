package dev.panacea.eval;

import java.util.ArrayList;
import java.util.List;

/**
 * White space as Python's {@code str.split()} sees it, because published scores depend on it. It differs from Java's: no-break spaces and
 * U+0085 separate words here.
 */
final class Whitespace {
    private Whitespace() {
    }

    /** Whether Python's {@code str.isspace()} holds; all of them lie in the basic plane. */
    static boolean isSpace(char c) {
        return c == ' ' || (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x1f) || c == 0x85 || c == 0xa0 || c == 0x1680
                || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
    }

    /** The words between runs of white space; none of them is empty. */
    static List<String> split(String text) {
        List<String> words = new ArrayList<>();
        int start = -1;
        for (int i = 0; i < text.length(); i++) {
            if (isSpace(text.charAt(i))) {
                if (start >= 0) {
                    words.add(text.substring(start, i));
                    start = -1;
                }
            } else if (start < 0) {
                start = i;
            }
        }
        if (start >= 0) {
            words.add(text.substring(start));
        }
        return words;
    }

    /** The length of {@code text} without its trailing white space. */
    static int strippedLength(String text) {
        int end = text.length();
        while (end > 0 && isSpace(text.charAt(end - 1))) {
            end--;
        }
        return end;
    }
}
