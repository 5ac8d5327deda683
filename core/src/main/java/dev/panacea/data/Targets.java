package dev.panacea.data;

import java.util.List;

/**
 * The targets of a micro-batch after the shift: the row before a labelled token predicts it.
 *
 * @param sequences the tokens
 * @param rows rows of the concatenated sequences
 * @param ids the tokens that those rows should predict
 */
public record Targets(List<int[]> sequences, int[] rows, int[] ids) {

    public static Targets of(List<TokenizedExample> batch) {
        int n = batch.stream().mapToInt(TokenizedExample::targetTokens).sum();
        int[] rows = new int[n];
        int[] ids = new int[n];
        int at = 0;
        int start = 0;
        for (TokenizedExample e : batch) {
            for (int t = 1; t < e.length(); t++) {
                if (e.labels()[t] != TokenizedExample.IGNORED) {
                    rows[at] = start + t - 1;
                    ids[at++] = e.labels()[t];
                }
            }
            start += e.length();
        }
        return new Targets(batch.stream().map(TokenizedExample::inputIds).toList(), rows, ids);
    }
}
