package dev.panacea.jinja;

import java.util.ArrayList;
import java.util.List;

/**
 * What a template wrote, and where each part of it comes from.
 *
 * @param text the output
 * @param data the parts that come from data ({@link FromData}), ascending, none touching the next; what is outside of them the template wrote itself
 * @param generated the parts inside of {@code {% generation %}}, ascending, none touching the next: what the model is to learn
 */
public record Rendering(String text, List<Range> data, List<Range> generated) {
    public Rendering {
        data = List.copyOf(data);
        generated = List.copyOf(generated);
    }

    /**
     * A part of the text, in UTF-16 units.
     *
     * @param start the first
     * @param end after the last
     */
    public record Range(int start, int end) {}

    static Rendering of(Str output) {
        return new Rendering(output.text, ranges(output, Str.DATA), ranges(output, Str.GENERATED));
    }

    private static List<Range> ranges(Str s, byte bit) {
        List<Range> ranges = new ArrayList<>();
        int start = -1;
        for (int i = 0; i <= s.text.length(); i++) {
            boolean set = i < s.text.length() && (s.mark(i) & bit) != 0;
            if (set && start < 0) {
                start = i;
            } else if (!set && start >= 0) {
                ranges.add(new Range(start, i));
                start = -1;
            }
        }
        return ranges;
    }
}
