package dev.panacea.eval;

import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Counts of n-grams. */
final class NGrams {
    private NGrams() {
    }

    /** Words joined by a space, which no word contains. */
    static Map<String, Integer> ofWords(List<String> words, int n) {
        Map<String, Integer> counts = new HashMap<>();
        for (int i = 0; i + n <= words.size(); i++) {
            counts.merge(String.join(" ", words.subList(i, i + n)), 1, Integer::sum);
        }
        return counts;
    }

    /** Characters are code points: a character outside the basic plane counts once. */
    static Map<String, Integer> ofCharacters(int[] codePoints, int n) {
        Map<String, Integer> counts = new HashMap<>();
        for (int i = 0; i + n <= codePoints.length; i++) {
            counts.merge(new String(codePoints, i, n), 1, Integer::sum);
        }
        return counts;
    }

    static long matches(Map<String, Integer> hypothesis, Map<String, Integer> reference) {
        long sum = 0;
        for (Map.Entry<String, Integer> gram : hypothesis.entrySet()) {
            sum += Math.min(gram.getValue(), reference.getOrDefault(gram.getKey(), 0));
        }
        return sum;
    }

    static long total(Map<String, Integer> counts) {
        long sum = 0;
        for (int count : counts.values()) {
            sum += count;
        }
        return sum;
    }
}
