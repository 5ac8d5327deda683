package dev.panacea.eval;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * BLEU (Papineni et al., 2002, "BLEU: a Method for Automatic Evaluation of Machine Translation") with the conventions of sacreBLEU (Post,
 * 2018, "A Call for Clarity in Reporting BLEU Scores"), so that scores can be compared with published ones: tokenizer 13a, n-grams up to
 * four words, case kept. References come as lists of the length of the hypotheses, one list per set of references:
 * {@code references.get(k).get(i)} is the k-th reference of hypothesis i.
 */
public final class Bleu {
    private static final int MAX_ORDER = 4;

    /** What becomes of an n-gram order without a match, after Chen and Cherry (2014). */
    public enum Smoothing {
        /** The precision stays 0. */
        NONE("none"),
        /** The count of matches becomes 0.1. */
        FLOOR("floor[0.10]"),
        /** One is added to matches and totals of every order above the first, whether it has a match or not. */
        ADD_K("add-k[1.00]"),
        /** The count of matches becomes 1/2, 1/4, ... from one order without a match to the next: the default. */
        EXP("exp");

        private final String label;

        Smoothing(String label) {
            this.label = label;
        }
    }

    private Bleu() {
    }

    /** Corpus BLEU with the default smoothing {@link Smoothing#EXP}. */
    public static BleuScore corpus(List<String> hypotheses, List<List<String>> references) {
        return corpus(hypotheses, references, Smoothing.EXP);
    }

    /**
     * Corpus BLEU: the counts of all hypotheses are added before the precisions are taken. An order longer than every hypothesis counts as
     * precision 0 (sacreBLEU's effective order off).
     *
     * @throws dev.panacea.kernels.PanaceaException if there is nothing to score or a list of references has another length
     */
    public static BleuScore corpus(List<String> hypotheses, List<List<String>> references, Smoothing smoothing) {
        return score(hypotheses, references, smoothing, false);
    }

    /** BLEU of one text with the default smoothing {@link Smoothing#EXP}. */
    public static BleuScore sentence(String hypothesis, List<String> references) {
        return sentence(hypothesis, references, Smoothing.EXP);
    }

    /**
     * BLEU of one text. Orders longer than the hypothesis are left out (sacreBLEU's effective order on), or short texts would get no credit.
     *
     * @throws dev.panacea.kernels.PanaceaException if there is no reference
     */
    public static BleuScore sentence(String hypothesis, List<String> references, Smoothing smoothing) {
        return score(List.of(hypothesis), References.ofOne(references), smoothing, true);
    }

    private static BleuScore score(List<String> hypotheses, List<List<String>> references, Smoothing smoothing, boolean effectiveOrder) {
        References.check(hypotheses, references);
        long[] matches = new long[MAX_ORDER];
        long[] totals = new long[MAX_ORDER];
        long hypothesisLength = 0;
        long referenceLength = 0;
        for (int i = 0; i < hypotheses.size(); i++) {
            List<String> hypothesis = Tokenizer13a.tokenize(hypotheses.get(i));
            List<List<String>> targets = new ArrayList<>();
            for (List<String> stream : references) {
                targets.add(Tokenizer13a.tokenize(stream.get(i)));
            }
            hypothesisLength += hypothesis.size();
            referenceLength += nearestLength(hypothesis.size(), targets);
            for (int n = 1; n <= MAX_ORDER; n++) {
                totals[n - 1] += Math.max(0, hypothesis.size() - n + 1);
                matches[n - 1] += matches(hypothesis, targets, n);
            }
        }
        double brevityPenalty = brevityPenalty(hypothesisLength, referenceLength);
        double[] precisions = new double[MAX_ORDER];
        double score = 0;
        if (anyMatch(matches)) {
            int orders = smoothedPrecisions(matches, totals, smoothing, effectiveOrder, precisions);
            score = brevityPenalty * geometricMean(precisions, orders);
        }
        List<Double> listed = new ArrayList<>();
        for (double precision : precisions) {
            listed.add(precision);
        }
        String signature = "nrefs:" + references.size() + "|case:mixed|eff:" + (effectiveOrder ? "yes" : "no") + "|tok:13a|smooth:" + smoothing.label;
        return new BleuScore(score, listed, brevityPenalty, hypothesisLength, referenceLength, signature);
    }

    /** The length nearest to the hypothesis', the smaller of two that are equally near. */
    private static int nearestLength(int hypothesisLength, List<List<String>> references) {
        int nearest = references.getFirst().size();
        for (List<String> reference : references) {
            int difference = Math.abs(reference.size() - hypothesisLength);
            int best = Math.abs(nearest - hypothesisLength);
            if (difference < best || (difference == best && reference.size() < nearest)) {
                nearest = reference.size();
            }
        }
        return nearest;
    }

    /** Matching n-grams, each counted at most as often as in the reference that has it most often ("clipped"). */
    private static long matches(List<String> hypothesis, List<List<String>> references, int n) {
        Map<String, Integer> most = new HashMap<>();
        for (List<String> reference : references) {
            NGrams.ofWords(reference, n).forEach((gram, count) -> most.merge(gram, count, Math::max));
        }
        return NGrams.matches(NGrams.ofWords(hypothesis, n), most);
    }

    private static double brevityPenalty(long hypothesisLength, long referenceLength) {
        if (hypothesisLength >= referenceLength) {
            return 1;
        }
        return hypothesisLength == 0 ? 0 : Math.exp(1 - (double) referenceLength / hypothesisLength);
    }

    private static boolean anyMatch(long[] matches) {
        for (long count : matches) {
            if (count > 0) {
                return true;
            }
        }
        return false;
    }

    /** Fills {@code precisions} (0 to 100) and returns over how many orders the mean is to be taken. */
    private static int smoothedPrecisions(long[] matches, long[] totals, Smoothing smoothing, boolean effectiveOrder, double[] precisions) {
        int orders = MAX_ORDER;
        double halving = 1;
        for (int n = 0; n < MAX_ORDER; n++) {
            int added = smoothing == Smoothing.ADD_K && n > 0 ? 1 : 0;
            double match = matches[n] + added;
            double total = totals[n] + added;
            if (total == 0) {
                break;
            }
            if (effectiveOrder) {
                orders = n + 1;
            }
            if (match == 0 && smoothing == Smoothing.EXP) {
                halving *= 2;
                match = 1 / halving;
            } else if (match == 0 && smoothing == Smoothing.FLOOR) {
                match = 0.1;
            }
            precisions[n] = 100 * match / total;
        }
        return orders;
    }

    /** 0 if one of the precisions is 0. */
    private static double geometricMean(double[] precisions, int orders) {
        double sum = 0;
        for (int n = 0; n < orders; n++) {
            sum += Math.log(precisions[n]);
        }
        return Math.exp(sum / orders);
    }
}
