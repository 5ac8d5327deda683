package dev.panacea.text;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * The tokens that stand beside the vocabulary of BPE, such as {@code <|im_end|>}, and the search for their names in a text, as Hugging Face
 * tokenizers has it: the leftmost name wins, then the longest; tokens that are matched after normalization come second.
 *
 * <p>Control tokens are recognised only in text that the program, a template or a data set wrote for the model; tokens that are not control
 * tokens, such as {@code <think>}, anywhere.
 */
final class AddedTokens {
    /** The {@link Piece#token} of plain text. */
    static final int PLAIN = -1;

    /**
     * @param special a control token: matched only where the text is not somebody else's words, and left out when decoding without special tokens
     * @param leftStrip the white space before the name belongs to the token
     * @param rightStrip the white space after the name belongs to the token
     * @param singleWord only where the name is not part of a longer word
     * @param normalized matched after the others
     */
    record Token(int id, String text, boolean special, boolean leftStrip, boolean rightStrip, boolean singleWord, boolean normalized) {
        Token(int id, String text, boolean special) {
            this(id, text, special, false, false, false, false);
        }
    }

    /**
     * A part of a text.
     *
     * @param token the id, or {@link #PLAIN}
     * @param start where it begins in the text that was split
     * @param end where it ends there
     */
    record Piece(int token, int start, int end) {}

    /** Tells which characters are somebody else's words, in which no control token is recognised. */
    @FunctionalInterface
    interface Guard {
        /** The whole text is for the model's own eyes. */
        Guard NOTHING = (start, end) -> false;
        /** The whole text is somebody else's words. */
        Guard ALL = (start, end) -> true;

        /** Whether one of the characters from start to before end is guarded. */
        boolean touches(int start, int end);
    }

    private final List<Token> tokens;
    private final Names first;
    private final Names afterNormalization;

    AddedTokens(List<Token> tokens) {
        this.tokens = List.copyOf(tokens);
        first = new Names(tokens.stream().filter(t -> !t.normalized).toList());
        afterNormalization = new Names(tokens.stream().filter(t -> t.normalized).toList());
    }

    List<Token> tokens() {
        return tokens;
    }

    /** Whether a name begins with this character. */
    boolean begins(char c) {
        return first.begins(c) || afterNormalization.begins(c);
    }

    /** Splits a part of a text at the names of tokens; what lies outside the part is not looked at. */
    List<Piece> split(String text, int from, int to, Guard guard) {
        List<Piece> pieces = first.split(text, from, to, guard);
        if (afterNormalization.none()) {
            return pieces;
        }
        List<Piece> all = new ArrayList<>();
        for (Piece p : pieces) {
            if (p.token == PLAIN) {
                all.addAll(afterNormalization.split(text, p.start, p.end, guard));
            } else {
                all.add(p);
            }
        }
        return all;
    }

    /** Unicode's White_Space, which the tokenizers library strips. */
    static boolean isWhiteSpace(char c) {
        return c == ' ' || c >= '\t' && c <= '\r' || c >= 0x80 && (c == 0x85 || c == 0xA0 || c == 0x1680 || c >= 0x2000 && c <= 0x200A || c == 0x2028 || c == 0x2029
                || c == 0x202F || c == 0x205F || c == 0x3000);
    }

    /** What a regular expression's {@code \w} is in Unicode. */
    private static boolean isWord(int c) {
        return Character.isAlphabetic(c) || Character.isDigit(c) || c == 0x200C || c == 0x200D || switch (Character.getType(c)) {
            case Character.CONNECTOR_PUNCTUATION, Character.NON_SPACING_MARK, Character.ENCLOSING_MARK, Character.COMBINING_SPACING_MARK -> true;
            default -> false;
        };
    }

    /** A set of names, found by their first characters: most characters begin none. */
    private static final class Names {
        private final Map<Character, List<Token>> byFirst = new HashMap<>();
        private boolean[] firsts = new boolean[0];

        Names(List<Token> tokens) {
            for (Token t : tokens) {
                char c = t.text.charAt(0);
                firsts = c < firsts.length ? firsts : Arrays.copyOf(firsts, c + 1);
                firsts[c] = true;
                byFirst.computeIfAbsent(c, k -> new ArrayList<>()).add(t);
            }
            byFirst.values().forEach(l -> l.sort(Comparator.comparingInt((Token t) -> t.text.length()).reversed()));
        }

        boolean none() {
            return byFirst.isEmpty();
        }

        boolean begins(char c) {
            return c < firsts.length && firsts[c];
        }

        List<Piece> split(String text, int from, int to, Guard guard) {
            List<Piece> pieces = new ArrayList<>();
            int plain = from;
            int i = from;
            while (i < to) {
                Optional<Token> match = begins(text.charAt(i)) ? at(text, i, to, guard) : Optional.empty();
                if (match.isEmpty()) {
                    i++;
                    continue;
                }
                Token t = match.get();
                int start = i;
                int end = i + t.text.length();
                i = end;
                if (t.singleWord && (start > from && isWord(text.codePointBefore(start)) || end < to && isWord(text.codePointAt(end)))) {
                    continue;
                }
                while (t.leftStrip && start > plain && isWhiteSpace(text.charAt(start - 1))) {
                    start--;
                }
                while (t.rightStrip && end < to && isWhiteSpace(text.charAt(end))) {
                    end++;
                }
                add(pieces, PLAIN, plain, start);
                add(pieces, t.id, start, end);
                plain = end;
                i = end;
            }
            add(pieces, PLAIN, plain, to);
            return pieces;
        }

        private Optional<Token> at(String text, int i, int to, Guard guard) {
            for (Token t : byFirst.get(text.charAt(i))) {
                if (t.text.length() <= to - i && text.startsWith(t.text, i) && !(t.special && guard.touches(i, i + t.text.length()))) {
                    return Optional.of(t);
                }
            }
            return Optional.empty();
        }

        private static void add(List<Piece> pieces, int token, int start, int end) {
            if (end > start) {
                pieces.add(new Piece(token, start, end));
            }
        }
    }
}
