package dev.panacea.eval;

import java.util.List;
import java.util.Locale;

/**
 * A BLEU score with what it was computed from.
 *
 * @param score 0 to 100
 * @param precisions the smoothed precision of 1- to 4-grams, 0 to 100 each
 * @param brevityPenalty 0 to 1, below 1 where the hypotheses are shorter than their references
 * @param hypothesisLength tokens in all hypotheses
 * @param referenceLength tokens in all references; with several, those of the reference nearest in length
 * @param signature the settings in sacreBLEU's notation, so that others can compute the same score
 */
public record BleuScore(double score, List<Double> precisions, double brevityPenalty, long hypothesisLength, long referenceLength,
        String signature) {
    public BleuScore {
        precisions = List.copyOf(precisions);
    }

    /** One line in the manner of sacreBLEU: score, precisions, brevity penalty and lengths. */
    @Override
    public String toString() {
        StringBuilder line = new StringBuilder(String.format(Locale.ROOT, "BLEU = %.2f ", score));
        for (int n = 0; n < precisions.size(); n++) {
            line.append(n == 0 ? "" : "/").append(String.format(Locale.ROOT, "%.1f", precisions.get(n)));
        }
        double ratio = referenceLength == 0 ? 0 : (double) hypothesisLength / referenceLength;
        return line.append(String.format(Locale.ROOT, " (BP = %.3f ratio = %.3f hyp_len = %d ref_len = %d)", brevityPenalty, ratio,
                hypothesisLength, referenceLength)).toString();
    }
}
