package dev.panacea.text;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * The tokens that stand beside the vocabulary of BPE, such as {@code <|im_end|>}, and the search for their names in a text. The leftmost name
 * wins, then the longest, as in Hugging Face tokenizers.
 *
 * <p>A text may carry an <em>escape character</em>: the character after it is plain text wherever a name begins there, and the escape itself
 * is not part of the text. {@link #escape} puts it before every name in somebody else's words, so that these words cannot forge a token.
 */
final class AddedTokens {
    /** The text carries no escape character. */
    static final int NO_ESCAPE = -1;
    /** The {@link Piece#token} of plain text. */
    static final int PLAIN = -1;

    /**
     * @param special left out when decoding without special tokens
     * @param leftStrip the white space before the name belongs to the token
     * @param rightStrip the white space after the name belongs to the token
     */
    record Token(int id, String text, boolean special, boolean leftStrip, boolean rightStrip) {}

    /**
     * A part of a text.
     *
     * @param token the id, or {@link #PLAIN}
     * @param text the plain text without escapes; the name of a token
     * @param start where it begins in the text that was split
     * @param end where it ends there
     */
    record Piece(int token, String text, int start, int end) {}

    private final List<Token> tokens;
    private final Map<Character, List<Token>> byFirst = new HashMap<>();
    private boolean[] firsts = new boolean[0];

    AddedTokens(List<Token> tokens) {
        this.tokens = List.copyOf(tokens);
        for (Token t : tokens) {
            if (!t.text.isEmpty()) {
                char first = t.text.charAt(0);
                firsts = first < firsts.length ? firsts : Arrays.copyOf(firsts, first + 1);
                firsts[first] = true;
                byFirst.computeIfAbsent(first, c -> new ArrayList<>()).add(t);
            }
        }
        byFirst.values().forEach(l -> l.sort(Comparator.comparingInt((Token t) -> t.text.length()).reversed()));
    }

    List<Token> tokens() {
        return tokens;
    }

    /** Whether a name begins with this character. Most begin none: asked first of every one. */
    boolean begins(char c) {
        return c < firsts.length && firsts[c];
    }

    private Optional<Token> at(String text, int i) {
        if (begins(text.charAt(i))) {
            for (Token t : byFirst.get(text.charAt(i))) {
                if (text.startsWith(t.text, i)) {
                    return Optional.of(t);
                }
            }
        }
        return Optional.empty();
    }

    /** The text with the escape before every place where the name of a token begins. The text must not hold the escape. */
    String escape(String text, char escape) {
        StringBuilder out = new StringBuilder();
        int copied = 0;
        for (int i = 0; i < text.length(); i++) {
            if (begins(text.charAt(i)) && at(text, i).isPresent()) {
                out.append(text, copied, i).append(escape);
                copied = i;
            }
        }
        return copied == 0 && out.isEmpty() ? text : out.append(text, copied, text.length()).toString();
    }

    /**
     * Splits at the names of tokens.
     *
     * @param escape the escape character, or {@link #NO_ESCAPE}
     * @param cuts places in the text, ascending, at which plain text is split too
     */
    List<Piece> split(String text, int escape, int... cuts) {
        List<Piece> pieces = new ArrayList<>();
        StringBuilder plain = new StringBuilder();
        int plainStart = 0;
        int cut = 0;
        int i = 0;
        while (i < text.length()) {
            while (cut < cuts.length && cuts[cut] <= i) {
                if (cuts[cut++] == i) {
                    flush(pieces, plain, plainStart, i);
                    plainStart = i;
                }
            }
            int limit = cut < cuts.length ? Math.min(cuts[cut], text.length()) : text.length();
            int run = i;
            while (run < limit && text.charAt(run) != escape && !begins(text.charAt(run))) {
                run++;
            }
            if (run > i) {
                plain.append(text, i, run);
                i = run;
                continue;
            }
            char c = text.charAt(i);
            if (c == escape && i + 1 < text.length()) {
                plain.append(text.charAt(i + 1));
                i += 2;
                continue;
            }
            Optional<Token> match = at(text, i);
            if (match.isEmpty()) {
                plain.append(c);
                i++;
                continue;
            }
            Token t = match.get();
            int start = i;
            if (t.leftStrip) {
                while (!plain.isEmpty() && Character.isWhitespace(plain.charAt(plain.length() - 1))) {
                    plain.setLength(plain.length() - 1);
                    start--;
                }
            }
            flush(pieces, plain, plainStart, start);
            i += t.text.length();
            if (t.rightStrip) {
                while (i < text.length() && Character.isWhitespace(text.charAt(i))) {
                    i++;
                }
            }
            pieces.add(new Piece(t.id, t.text, start, i));
            plainStart = i;
        }
        flush(pieces, plain, plainStart, text.length());
        return pieces;
    }

    private static void flush(List<Piece> pieces, StringBuilder plain, int start, int end) {
        if (!plain.isEmpty()) {
            pieces.add(new Piece(PLAIN, plain.toString(), start, end));
            plain.setLength(0);
        }
    }
}
