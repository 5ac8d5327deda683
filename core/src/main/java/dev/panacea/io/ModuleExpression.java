package dev.panacea.io;

import dev.panacea.kernels.PanaceaException;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.List;
import java.util.function.Predicate;

/**
 * A regular expression for module paths, as Python's {@code re} reads it. Adapters come from outside, and java.util.regex can be kept busy for
 * ever by an expression that never looks at the text; here a part of the expression maps the set of places where it may begin to the set of
 * those where it may end, so there is nothing to go back to, and the work is counted.
 */
final class ModuleExpression {
    private static final int LONGEST = 4000;
    private static final int DEEPEST = 100;
    private static final int MOST_REPETITIONS = 1000;
    private static final int MOST_STEPS = 1_000_000;
    private static final int SHOWN = 100;

    private final String expression;
    private final Part whole;
    private int position;
    private int depth;

    private interface Part {
        /** Where it may end, for all the places where it may begin. */
        BitSet ends(Run run, BitSet begins);
    }

    /** One path that is compared, and the work that has gone into it. */
    private final class Run {
        private final String text;
        private int steps;

        Run(String text) {
            this.text = text;
        }

        BitSet apply(Part part, BitSet begins) {
            steps += 1 + begins.cardinality() + text.length() / Long.SIZE;
            if (steps > MOST_STEPS) {
                throw fault("takes too long");
            }
            return begins.isEmpty() ? begins : part.ends(this, begins);
        }

        BitSet apply(Part part, int begin) {
            BitSet only = new BitSet();
            only.set(begin);
            return apply(part, only);
        }
    }

    /** @throws PanaceaException with the expression and what is wrong with it */
    ModuleExpression(String expression) {
        this.expression = expression;
        if (expression.length() > LONGEST) {
            throw fault("has " + expression.length() + " characters, and at most " + LONGEST + " are allowed");
        }
        whole = alternatives();
        if (position < expression.length()) {
            throw wrong("a parenthesis is closed that was not opened");
        }
    }

    /** Whether it matches a path from its beginning to its end. */
    boolean matches(String path) {
        Run run = new Run(path);
        return run.apply(whole, 0).get(path.length());
    }

    // ---- parts -------------------------------------------------------------------------------------------------------

    private Part alternatives() {
        if (++depth > DEEPEST) {
            throw wrong("it is nested more than " + DEEPEST + " deep");
        }
        List<Part> all = new ArrayList<>(List.of(sequence()));
        while (take('|')) {
            all.add(sequence());
        }
        depth--;
        return all.size() == 1 ? all.getFirst() : (run, begins) -> {
            BitSet ends = new BitSet();
            all.forEach(part -> ends.or(run.apply(part, begins)));
            return ends;
        };
    }

    private Part sequence() {
        List<Part> all = new ArrayList<>();
        while (position < expression.length() && peek() != '|' && peek() != ')') {
            all.add(repeated(atom()));
        }
        return (run, begins) -> {
            BitSet places = begins;
            for (Part part : all) {
                places = run.apply(part, places);
            }
            return places;
        };
    }

    private Part repeated(Part part) {
        int least;
        int most = Integer.MAX_VALUE;
        int start = position;
        if (take('*')) {
            least = 0;
        } else if (take('+')) {
            least = 1;
        } else if (take('?')) {
            least = 0;
            most = 1;
        } else if (take('{')) {
            int first = number();
            int second = take(',') ? number() : first;
            if (!take('}') || first < 0 && second < 0 && expression.charAt(position - 2) != ',') {
                // As in Python, braces without numbers stand for themselves.
                position = start;
                return part;
            }
            least = Math.max(0, first);
            most = second < 0 ? Integer.MAX_VALUE : second;
            if (most < least) {
                throw wrong("the most repetitions are fewer than the least");
            }
        } else {
            return part;
        }
        if (take('+')) {
            throw wrong("possessive repetition is not supported");
        }
        // Whether the longest or the shortest match is tried first makes no difference to whether there is one.
        take('?');
        if (position < expression.length() && (peek() == '*' || peek() == '+' || peek() == '?')) {
            throw wrong("a repetition is repeated");
        }
        return times(part, least, most);
    }

    private static Part times(Part part, int least, int most) {
        return (run, begins) -> {
            BitSet places = begins;
            for (int i = 0; i < least && !places.isEmpty(); i++) {
                places = run.apply(part, places);
            }
            BitSet ends = (BitSet) places.clone();
            for (int i = least; i < most && !places.isEmpty(); i++) {
                places = (BitSet) run.apply(part, places).clone();
                places.andNot(ends);
                ends.or(places);
            }
            return ends;
        };
    }

    private Part atom() {
        char c = next();
        return switch (c) {
            case '.' -> character(x -> x != '\n');
            case '[' -> character(characterClass());
            case '(' -> group();
            case '\\' -> escape();
            case '^' -> place((text, i) -> i == 0);
            case '$' -> place((text, i) -> i == text.length() || i == text.length() - 1 && text.charAt(i) == '\n');
            case '*', '+', '?' -> throw wrong("there is nothing to repeat");
            default -> character(x -> x == c);
        };
    }

    private Part group() {
        Part part;
        if (!take('?')) {
            part = alternatives();
        } else if (take(':')) {
            part = alternatives();
        } else if (take('=')) {
            part = ahead(alternatives(), true);
        } else if (take('!')) {
            part = ahead(alternatives(), false);
        } else if (take('P')) {
            if (!take('<')) {
                throw wrong("references to groups are not supported");
            }
            while (next() != '>') {
                // The name of a group is of no use here.
                continue;
            }
            part = alternatives();
        } else {
            throw wrong("of the groups that begin with (? only (?:, (?=, (?! and (?P<name> are supported");
        }
        if (!take(')')) {
            throw wrong("a parenthesis is not closed");
        }
        return part;
    }

    private static Part ahead(Part part, boolean wanted) {
        return (run, begins) -> {
            BitSet ends = new BitSet();
            begins.stream().filter(i -> run.apply(part, i).isEmpty() != wanted).forEach(ends::set);
            return ends;
        };
    }

    private interface Place {
        boolean is(String text, int i);
    }

    private static Part place(Place place) {
        return (run, begins) -> {
            BitSet ends = new BitSet();
            begins.stream().filter(i -> place.is(run.text, i)).forEach(ends::set);
            return ends;
        };
    }

    private static Part character(Predicate<Character> fits) {
        return (run, begins) -> {
            BitSet ends = new BitSet();
            begins.stream().filter(i -> i < run.text.length() && fits.test(run.text.charAt(i))).forEach(i -> ends.set(i + 1));
            return ends;
        };
    }

    private Part escape() {
        return switch (position < expression.length() ? peek() : 0) {
            case 'A' -> skipped(place((text, i) -> i == 0));
            case 'Z' -> skipped(place((text, i) -> i == text.length()));
            case 'b' -> skipped(place((text, i) -> isWord(text, i - 1) != isWord(text, i)));
            case 'B' -> skipped(place((text, i) -> isWord(text, i - 1) == isWord(text, i)));
            default -> character(escapedCharacters());
        };
    }

    private Part skipped(Part part) {
        position++;
        return part;
    }

    private static boolean isWord(String text, int i) {
        return i >= 0 && i < text.length() && isWord(text.charAt(i));
    }

    private static boolean isWord(char c) {
        return Character.isLetterOrDigit(c) || c == '_';
    }

    private Predicate<Character> escapedCharacters() {
        char c = next();
        return switch (c) {
            case 'd' -> Character::isDigit;
            case 'D' -> x -> !Character.isDigit(x);
            case 'w' -> ModuleExpression::isWord;
            case 'W' -> x -> !isWord(x);
            case 's' -> Character::isWhitespace;
            case 'S' -> x -> !Character.isWhitespace(x);
            case 'n' -> x -> x == '\n';
            case 't' -> x -> x == '\t';
            default -> {
                if (c < 128 && Character.isLetterOrDigit(c)) {
                    throw wrong("\\" + c + " is not supported");
                }
                yield x -> x == c;
            }
        };
    }

    private Predicate<Character> characterClass() {
        boolean negated = take('^');
        Predicate<Character> all = x -> false;
        boolean first = true;
        while (first || peek() != ']') {
            first = false;
            all = all.or(classMember());
            if (position >= expression.length()) {
                throw wrong("a bracket is not closed");
            }
        }
        position++;
        return negated ? all.negate() : all;
    }

    private Predicate<Character> classMember() {
        char from = next();
        if (from == '\\') {
            return escapedCharacters();
        }
        boolean range = position + 1 < expression.length() && peek() == '-' && expression.charAt(position + 1) != ']';
        if (!range) {
            return x -> x == from;
        }
        position++;
        char to = next();
        if (to == '\\' || to < from) {
            throw wrong("a range of characters is not in order");
        }
        return x -> x >= from && x <= to;
    }

    // ---- reading -----------------------------------------------------------------------------------------------------

    /** -1 where there are no digits. */
    private int number() {
        int n = -1;
        while (position < expression.length() && peek() >= '0' && peek() <= '9') {
            n = Math.max(n, 0) * 10 + next() - '0';
            if (n > MOST_REPETITIONS) {
                throw wrong("it repeats a part more than " + MOST_REPETITIONS + " times");
            }
        }
        return n;
    }

    private char peek() {
        return expression.charAt(position);
    }

    private char next() {
        if (position >= expression.length()) {
            throw wrong("it ends too early");
        }
        return expression.charAt(position++);
    }

    private boolean take(char c) {
        boolean there = position < expression.length() && peek() == c;
        position += there ? 1 : 0;
        return there;
    }

    private PanaceaException wrong(String reason) {
        return fault("cannot be used: " + reason + " (character " + position + ")");
    }

    private PanaceaException fault(String problem) {
        String shown = expression.length() <= SHOWN ? expression : expression.substring(0, SHOWN) + "...";
        return new PanaceaException("the regular expression " + shown + " for modules " + problem + "; name the modules in a list instead");
    }
}
