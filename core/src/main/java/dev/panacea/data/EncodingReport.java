package dev.panacea.data;

import java.util.Locale;

/**
 * What became of a data set on its way to tokens.
 *
 * @param rows rows of the data set
 * @param dropped rows with no target left after truncation
 * @param truncated rows cut at the maximum length, those dropped among them
 * @param tokens tokens of the rows that remain
 * @param targetTokens those that are trained
 */
public record EncodingReport(int rows, int dropped, int truncated, long tokens, long targetTokens, int maxSeqLength) {
    /** The share of the tokens that is trained, from 0 to 1. */
    public double trainedFraction() {
        return tokens == 0 ? 0 : (double) targetTokens / tokens;
    }

    @Override
    public String toString() {
        return String.format(Locale.ROOT, "%,d of %,d examples, %,d tokens, %.1f %% of them trained; %,d cut at %,d tokens, %,d left out as no answer remained", rows - dropped,
                rows, tokens, 100 * trainedFraction(), truncated, maxSeqLength, dropped);
    }
}
