package dev.panacea.eval;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;

/**
 * chrF (Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation") and chrF++ (Popović 2017, "chrF++: words helping character
 * n-grams") with the conventions of sacreBLEU: character n-grams up to six without white space, recall weighted by beta = 2, case kept, orders
 * that a side is too short for left out. {@code references.get(k).get(i)} is the k-th reference of hypothesis i.
 */
public enum ChrF {
    /** Character n-grams only. */
    CHRF2(0),
    /** With single words and pairs of words. */
    CHRF2_PLUS_PLUS(2);

    private static final int CHARACTER_ORDER = 6;
    private static final double BETA_SQUARED = 4;

    private final int wordOrder;

    ChrF(int wordOrder) {
        this.wordOrder = wordOrder;
    }

    /**
     * The score of all hypotheses together, 0 to 100: the counts are added before the F-score is taken; with several references, those of the
     * reference that fits the hypothesis best.
     *
     * @throws dev.panacea.kernels.PanaceaException if there is nothing to score or a list of references has another length
     */
    public double corpus(List<String> hypotheses, List<List<String>> references) {
        References.check(hypotheses, references);
        Counts sum = new Counts(orders());
        for (int i = 0; i < hypotheses.size(); i++) {
            sum.add(bestCounts(hypotheses.get(i), references, i));
        }
        return sum.fScore();
    }

    /** The score of one text against one or more references, 0 to 100. */
    public double sentence(String hypothesis, List<String> references) {
        return corpus(List.of(hypothesis), References.ofOne(references));
    }

    /** The settings in sacreBLEU's notation. */
    public String signature(int references) {
        return "nrefs:" + references + "|case:mixed|eff:yes|nc:" + CHARACTER_ORDER + "|nw:" + wordOrder + "|space:no";
    }

    private int orders() {
        return CHARACTER_ORDER + wordOrder;
    }

    private Counts bestCounts(String hypothesis, List<List<String>> references, int i) {
        List<Map<String, Integer>> grams = grams(hypothesis);
        Counts best = null;
        double bestScore = -1;
        for (List<String> stream : references) {
            Counts counts = count(grams, grams(stream.get(i)));
            double score = counts.fScore();
            if (score > bestScore) {
                bestScore = score;
                best = counts;
            }
        }
        return best;
    }

    private Counts count(List<Map<String, Integer>> hypothesis, List<Map<String, Integer>> reference) {
        Counts counts = new Counts(orders());
        for (int n = 0; n < orders(); n++) {
            long inReference = NGrams.total(reference.get(n));
            // An order that the reference is too short for says nothing against the hypothesis.
            counts.hypothesis[n] = inReference == 0 ? 0 : NGrams.total(hypothesis.get(n));
            counts.reference[n] = inReference;
            counts.matches[n] = NGrams.matches(hypothesis.get(n), reference.get(n));
        }
        return counts;
    }

    private List<Map<String, Integer>> grams(String text) {
        List<Map<String, Integer>> grams = new ArrayList<>();
        List<String> words = Whitespace.split(text);
        int[] codePoints = String.join("", words).codePoints().toArray();
        for (int n = 1; n <= CHARACTER_ORDER; n++) {
            grams.add(NGrams.ofCharacters(codePoints, n));
        }
        List<String> tokens = wordOrder == 0 ? List.of() : separatePunctuation(words);
        for (int n = 1; n <= wordOrder; n++) {
            grams.add(NGrams.ofWords(tokens, n));
        }
        return grams;
    }

    /** One ASCII punctuation mark is cut off the end of a word, or else off its beginning: "(hi)" becomes "(hi" and ")". */
    private static List<String> separatePunctuation(List<String> words) {
        List<String> tokens = new ArrayList<>();
        for (String word : words) {
            int last = word.length() - 1;
            if (last > 0 && isPunctuation(word.charAt(last))) {
                tokens.add(word.substring(0, last));
                tokens.add(word.substring(last));
            } else if (last > 0 && isPunctuation(word.charAt(0))) {
                tokens.add(word.substring(0, 1));
                tokens.add(word.substring(1));
            } else {
                tokens.add(word);
            }
        }
        return tokens;
    }

    private static boolean isPunctuation(char c) {
        return c > ' ' && c < 0x7f && !(c >= '0' && c <= '9') && !(c >= 'A' && c <= 'Z') && !(c >= 'a' && c <= 'z');
    }

    /** How many n-grams of each order the hypothesis and the reference have, and how many match. */
    private record Counts(long[] hypothesis, long[] reference, long[] matches) {
        Counts(int orders) {
            this(new long[orders], new long[orders], new long[orders]);
        }

        void add(Counts other) {
            for (int n = 0; n < matches.length; n++) {
                hypothesis[n] += other.hypothesis[n];
                reference[n] += other.reference[n];
                matches[n] += other.matches[n];
            }
        }

        /** F-score of the mean precision and the mean recall over the orders that both sides have. */
        double fScore() {
            double precision = 0;
            double recall = 0;
            int orders = 0;
            for (int n = 0; n < matches.length; n++) {
                if (hypothesis[n] > 0 && reference[n] > 0) {
                    precision += (double) matches[n] / hypothesis[n];
                    recall += (double) matches[n] / reference[n];
                    orders++;
                }
            }
            if (precision + recall == 0) {
                return 0;
            }
            precision /= orders;
            recall /= orders;
            return 100 * (1 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall);
        }
    }
}
