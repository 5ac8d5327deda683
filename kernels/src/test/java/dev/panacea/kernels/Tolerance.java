package dev.panacea.kernels;

/**
 * How close a kernel must come to exact arithmetic (the reference on the same inputs, in single precision).
 *
 * <p>F32 results: the largest error within 1e-5 of the largest value, the sum of squared errors within 1e-10 of the sum of squares. BF16
 * results: both within twice the error of a naive BF16 implementation (the rule of FlashAttention's tests), or one rounding of the result.
 */
final class Tolerance {
    private static final double F32 = 1e-5;
    /** Half a unit in the last of BF16's 8 significant bits, and a little for the rounding to F32 before it. */
    private static final double BF16 = 1.01 / 256;
    /** The terms of a result are of the order of one: a smaller result is so by cancellation, and no more exact than they are. */
    private static final double LEAST = 1;

    private Tolerance() {}

    /** An empty string, or what is wrong. */
    static String violation(DType type, double[] exact, double[] naive, double[] actual) {
        double least = type == DType.BF16 ? BF16 : F32;
        double largest = LEAST;
        double worst = 0;
        int worstAt = 0;
        double naiveWorst = 0;
        double squares = LEAST * LEAST;
        double errors = 0;
        double naiveErrors = 0;
        for (int i = 0; i < exact.length; i++) {
            double error = Math.abs(actual[i] - exact[i]);
            if (!Double.isFinite(error)) {
                return "element %d is %s, exactly it is %s".formatted(i, actual[i], exact[i]);
            }
            double naiveError = Math.abs(naive[i] - exact[i]);
            largest = Math.max(largest, Math.abs(exact[i]));
            if (error > worst) {
                worst = error;
                worstAt = i;
            }
            naiveWorst = Math.max(naiveWorst, naiveError);
            squares += exact[i] * exact[i];
            errors += error * error;
            naiveErrors += naiveError * naiveError;
        }
        double limit = Math.max(2 * naiveWorst, least * largest);
        if (worst > limit) {
            return "element %d of %d is %s, exactly it is %s: the error %.3g exceeds %.3g (naive BF16: %.3g; largest value: %.3g)"
                    .formatted(worstAt, exact.length, actual[worstAt], exact[worstAt], worst, limit, naiveWorst, largest);
        }
        double rootLimit = Math.max(2 * Math.sqrt(naiveErrors), least * Math.sqrt(squares));
        if (Math.sqrt(errors) > rootLimit) {
            return "the root of the summed squared errors %.3g exceeds %.3g (naive BF16: %.3g)".formatted(Math.sqrt(errors), rootLimit, Math.sqrt(naiveErrors));
        }
        return "";
    }
}
