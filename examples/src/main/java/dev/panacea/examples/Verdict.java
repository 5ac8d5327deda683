package dev.panacea.examples;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalDouble;

/**
 * "Did it help?" in one sentence, by the held-out data, with each measure's direction.
 *
 * @param sentence with its full stop
 */
record Verdict(Kind kind, String sentence) {
    /** A loss that moves by less than this, half a percent in perplexity, says nothing. */
    private static final double LOSS_MOVES = 0.005;
    /** So does a BLEU that moves by less than this. */
    private static final double BLEU_MOVES = 0.5;

    /** What the measures say together; {@link #MIXED}: one got better and the other worse. */
    enum Kind { HELPED, MIXED, NO_DIFFERENCE, WORSE, UNKNOWN }

    static Verdict of(RunRecord run) {
        return of(run.model().requantized() ? run.asLoaded() : Optional.empty(), run.before(), run.after());
    }

    /**
     * @param asLoaded of the weights before they were quantized; empty where they were not
     * @param before empty where nothing was measured before the training
     */
    static Verdict of(Optional<RunRecord.Score> asLoaded, Optional<RunRecord.Score> before, RunRecord.Score after) {
        if (!Double.isFinite(after.loss().loss())) {
            return new Verdict(Kind.WORSE, "It failed: after the training the model's loss is not a number any more. A lower learning rate may help.");
        }
        if (before.isEmpty()) {
            return new Verdict(Kind.UNKNOWN, "Whether it helped is not known, since the model was measured after the training only: "
                    + String.join("; ", measures(Optional.empty(), after)) + ".");
        }
        double loss = moved(before.get().loss().loss() - after.loss().loss(), LOSS_MOVES);
        double bleu = before.get().bleu().isPresent() && after.bleu().isPresent()
                ? moved(after.bleu().getAsDouble() - before.get().bleu().getAsDouble(), BLEU_MOVES) : 0;
        String figures = String.join("; ", measures(before, after)) + ".";
        if (loss * bleu < 0) {
            return new Verdict(Kind.MIXED, (loss > 0 ? "Mixed, perplexity got better and BLEU worse: " : "Mixed, perplexity got worse and BLEU better: ")
                    + figures);
        }
        if (loss + bleu == 0) {
            return new Verdict(Kind.NO_DIFFERENCE, "It made next to no difference: " + figures);
        }
        if (loss + bleu < 0) {
            return new Verdict(Kind.WORSE, "It got worse: " + figures);
        }
        // Who had the weights as loaded may have lost more by the quantization than the training brought.
        Optional<RunRecord.Score> better = asLoaded.filter(s -> s.loss().loss() < after.loss().loss());
        return new Verdict(Kind.HELPED, better.map(s -> "It helped, but by less than quantization had cost (perplexity " + perplexity(s)
                + " as loaded): ").orElse("It helped: ") + figures);
    }

    /** 1 for better, -1 for worse, 0 for neither. A loss that was no number can only have got better. */
    private static double moved(double gain, double least) {
        return Double.isNaN(gain) ? 1 : Math.abs(gain) < least ? 0 : Math.signum(gain);
    }

    private static List<String> measures(Optional<RunRecord.Score> before, RunRecord.Score after) {
        List<String> measures = new ArrayList<>();
        measures.add("perplexity " + before.map(b -> perplexity(b) + " → ").orElse("") + perplexity(after) + ", lower is better");
        OptionalDouble bleu = before.map(RunRecord.Score::bleu).orElse(OptionalDouble.empty());
        after.bleu().ifPresent(a -> measures.add("BLEU " + (bleu.isPresent() ? brief(bleu.getAsDouble()) + " → " : "") + brief(a) + ", higher is better"));
        return measures;
    }

    private static String perplexity(RunRecord.Score s) {
        double p = s.loss().perplexity();
        return Double.isNaN(p) ? "not a number" : p < 1e6 ? brief(p) : Figures.perplexity(p);
    }

    /** 1.23, 47.9, 1,234. */
    private static String brief(double x) {
        return Figures.format(x < 10 ? "%.2f" : x < 1000 ? "%.1f" : "%,.0f", x);
    }
}
