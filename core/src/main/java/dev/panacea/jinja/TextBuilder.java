package dev.panacea.jinja;

import java.util.Arrays;

/** Puts a {@link Str} together, on a budget. */
final class TextBuilder {
    private final Budget budget;
    private final StringBuilder text = new StringBuilder();
    private byte same;
    /** Null as long as all characters have the same mark. */
    private byte[] marks;

    TextBuilder(Budget budget) {
        this.budget = budget;
    }

    int length() {
        return text.length();
    }

    TextBuilder append(String s, byte mark) {
        budget.memory(2L * s.length());
        budget.work(s.length() >> 3);
        mark(s.length(), mark);
        text.append(s);
        return this;
    }

    /** A character that the template or Python wrote. */
    TextBuilder append(char c) {
        return append(String.valueOf(c), Str.OWN);
    }

    TextBuilder append(String s) {
        return append(s, Str.OWN);
    }

    TextBuilder append(int codePoint, byte mark) {
        return append(Character.toString(codePoint), mark);
    }

    TextBuilder append(Str s) {
        return append(s, 0, s.length());
    }

    TextBuilder append(Str s, int from, int to) {
        if (s.isUniform()) {
            return append(from == 0 && to == s.length() ? s.text : s.text.substring(from, to), s.mark());
        }
        for (int i = from; i < to;) {
            int end = i + 1;
            while (end < to && s.mark(end) == s.mark(i)) {
                end++;
            }
            append(s.text.substring(i, end), s.mark(i));
            i = end;
        }
        return this;
    }

    /** Adds bits to the marks of all that was written since. */
    void markFrom(int start, byte bits) {
        if (start == 0 && marks == null) {
            same |= bits;
        } else if (start < text.length()) {
            spread(text.length());
            for (int i = start; i < text.length(); i++) {
                marks[i] |= bits;
            }
        }
    }

    private void mark(int more, byte mark) {
        if (more == 0) {
            return;
        }
        if (text.isEmpty()) {
            same = mark;
        } else if (marks != null || mark != same) {
            int end = text.length() + more;
            spread(end);
            Arrays.fill(marks, text.length(), end, mark);
        }
    }

    private void spread(int room) {
        if (marks == null) {
            budget.memory(room);
            marks = new byte[room];
            Arrays.fill(marks, 0, text.length(), same);
        } else if (marks.length < room) {
            budget.memory(room);
            marks = Arrays.copyOf(marks, Math.max(room, marks.length * 2));
        }
    }

    Str toStr() {
        budget.memory(40L + text.length());
        return marks == null ? new Str(text.toString(), same) : new Str(text.toString(), Arrays.copyOf(marks, text.length()));
    }
}
