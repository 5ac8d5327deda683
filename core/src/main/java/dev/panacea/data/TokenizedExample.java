package dev.panacea.data;

/**
 * One training sequence.
 *
 * @param inputIds the tokens
 * @param labels the same tokens where the loss counts them as targets, {@link #IGNORED} elsewhere; not shifted: position t is predicted from
 *     the tokens before t
 */
public record TokenizedExample(int[] inputIds, int[] labels) {
    /** The label of a position that is not trained, as PyTorch and Hugging Face have it. */
    public static final int IGNORED = -100;

    public TokenizedExample {
        if (inputIds.length != labels.length) {
            throw new IllegalArgumentException(inputIds.length + " tokens but " + labels.length + " labels");
        }
    }

    public int length() {
        return inputIds.length;
    }

    /** Targets after the shift: labelled positions other than the first. */
    public int targetTokens() {
        int n = 0;
        for (int t = 1; t < labels.length; t++) {
            if (labels[t] != IGNORED) {
                n++;
            }
        }
        return n;
    }
}
