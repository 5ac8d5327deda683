package dev.panacea.jinja;

import java.util.Arrays;

/**
 * A string of a template. Beside its text it knows where each character comes from; that takes no part in equality. Lengths and places are in UTF-16
 * units unless a name says code points, which is what a template counts in.
 */
final class Str {
    /** Written by the template. */
    static final byte OWN = 0;
    /** Bit: comes from data. */
    static final byte DATA = 1;
    /** Bit: written inside of {@code {% generation %}}. */
    static final byte GENERATED = 2;
    private static final byte[][] SAME = {{0}, {1}, {2}, {3}};
    static final Str EMPTY = new Str("");

    final String text;
    /** One for each unit, or a single one for all. */
    private final byte[] marks;
    /** Python's Markup: not escaped again. */
    final boolean safe;

    private Str(String text, byte[] marks, boolean safe) {
        this.text = text;
        this.marks = marks;
        this.safe = safe;
    }

    Str(String text) {
        this(text, OWN);
    }

    Str(String text, byte mark) {
        this(text, SAME[mark], false);
    }

    /** @param marks one for each unit of the text */
    Str(String text, byte[] marks) {
        this(text, marks, false);
    }

    Str asSafe(boolean isSafe) {
        return isSafe == safe ? this : new Str(text, marks, isSafe);
    }

    byte mark(int unit) {
        return marks.length == 1 ? marks[0] : marks[unit];
    }

    /** Whether all characters have the mark of the first. */
    boolean isUniform() {
        return marks.length == 1;
    }

    /** The mark of all; that of the first where they differ. */
    byte mark() {
        return marks[0];
    }

    boolean isEmpty() {
        return text.isEmpty();
    }

    int length() {
        return text.length();
    }

    int codePoints() {
        return text.codePointCount(0, text.length());
    }

    /** The unit at which a code point begins. */
    int unit(int codePoint) {
        return text.offsetByCodePoints(0, codePoint);
    }

    Str sub(int from, int to) {
        if (from == 0 && to == text.length()) {
            return this;
        }
        if (from >= to) {
            return EMPTY.asSafe(safe);
        }
        return new Str(text.substring(from, to), marks.length == 1 ? marks : Arrays.copyOfRange(marks, from, to), safe);
    }

    @Override
    public boolean equals(Object o) {
        return o instanceof Str s && s.text.equals(text);
    }

    @Override
    public int hashCode() {
        return text.hashCode();
    }

    @Override
    public String toString() {
        return text;
    }
}
