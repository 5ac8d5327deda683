package dev.panacea.data;

import java.util.ArrayList;
import java.util.List;
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

    /** Without what did not happen: {@code 287 examples, 45,120 tokens, 61.2 % of them trained; 3 cut at 512 tokens, 1 left out as nothing to train remained}. */
    @Override
    public String toString() {
        int used = rows - dropped;
        String examples = used == rows ? String.format(Locale.ROOT, "%,d", rows) : String.format(Locale.ROOT, "%,d of %,d", used, rows);
        List<String> lost = new ArrayList<>();
        if (truncated > 0) {
            lost.add(String.format(Locale.ROOT, "%,d cut at %,d tokens", truncated, maxSeqLength));
        }
        if (dropped > 0) {
            lost.add(String.format(Locale.ROOT, "%,d left out as nothing to train remained", dropped));
        }
        return examples + (rows == 1 ? " example" : " examples") + (tokens == 0 ? "" : String.format(Locale.ROOT, ", %,d tokens, %.1f %% of them trained", tokens, 100 * trainedFraction()))
                + (lost.isEmpty() ? "" : "; " + String.join(", ", lost));
    }
}
