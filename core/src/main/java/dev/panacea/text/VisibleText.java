package dev.panacea.text;

/**
 * Text from outside (data, model files, file names, a model's answers) made fit for a terminal or a log: what could steer a terminal, forge a line of its
 * own or show text in another order than it stands in is spelled out as {@code \u001b} and the like. Stateless.
 */
public final class VisibleText {
    private VisibleText() {}

    /** The text with its lines and tabs kept. */
    public static String lines(String text) {
        return visible(text, true);
    }

    /** The text as one line: a line end is spelled out as well, as {@code \n}. Tabs are kept. */
    public static String line(String text) {
        return visible(text, false);
    }

    private static String visible(String text, boolean lines) {
        int first = 0;
        while (first < text.length() && isHarmless(text.charAt(first), lines)) {
            first++;
        }
        if (first == text.length()) {
            return text;
        }
        StringBuilder out = new StringBuilder(text.length() + 16).append(text, 0, first);
        for (int i = first; i < text.length(); i++) {
            char c = text.charAt(i);
            if (isHarmless(c, lines)) {
                out.append(c);
            } else if (c == '\n') {
                out.append("\\n");
            } else {
                out.append(String.format("\\u%04x", (int) c));
            }
        }
        return out.toString();
    }

    /** All that steers or reorders lies in the basic plane, so that chars will do. */
    private static boolean isHarmless(char c, boolean lines) {
        if (c >= ' ' && c < 0x7f || c == '\t' || c == '\n' && lines) {
            return true;
        }
        return !Character.isISOControl(c) && !isBidiControl(c) && c != '\u2028' && c != '\u2029';
    }

    /** Unicode's property Bidi_Control. */
    private static boolean isBidiControl(char c) {
        return c == '\u061c' || c == '\u200e' || c == '\u200f' || c >= '\u202a' && c <= '\u202e' || c >= '\u2066' && c <= '\u2069';
    }
}
