package dev.panacea.examples;

import static org.assertj.core.api.Assertions.assertThat;

import dev.panacea.eval.HeldOutLoss;
import java.util.Optional;
import java.util.OptionalDouble;
import org.junit.jupiter.api.Test;

/** "Did it help?", answered honestly. */
class VerdictTest {
    private static RunRecord.Score score(double perplexity, double bleu) {
        return new RunRecord.Score(new HeldOutLoss(Math.log(perplexity), 100), Double.isNaN(bleu) ? OptionalDouble.empty() : OptionalDouble.of(bleu));
    }

    private static Verdict verdict(RunRecord.Score before, RunRecord.Score after) {
        return Verdict.of(Optional.empty(), Optional.of(before), after);
    }

    @Test
    void saysThatItHelpedAndWhichWayEachMeasurePoints() {
        Verdict v = verdict(score(47.93, 1.3), score(17.93, 7.82));
        assertThat(v.kind()).isEqualTo(Verdict.Kind.HELPED);
        assertThat(v.sentence()).isEqualTo("It helped: perplexity 47.9 → 17.9, lower is better; BLEU 1.30 → 7.82, higher is better.");
        assertThat(verdict(score(47.93, Double.NaN), score(17.93, Double.NaN)).sentence()).isEqualTo("It helped: perplexity 47.9 → 17.9, lower is better.");
    }

    @Test
    void saysThatItGotWorse() {
        assertThat(verdict(score(17.93, 7.82), score(1247.9, 1.3)).sentence()).isEqualTo("It got worse: perplexity 17.9 → 1,248, lower is better; BLEU 7.82 "
                + "→ 1.30, higher is better.");
        assertThat(verdict(score(17.93, 7.82), score(17.93, 5)).kind()).isEqualTo(Verdict.Kind.WORSE);
    }

    @Test
    void measuresThatDisagreeAreMixed() {
        Verdict v = verdict(score(47.9, 7.82), score(17.9, 1.3));
        assertThat(v.kind()).isEqualTo(Verdict.Kind.MIXED);
        assertThat(v.sentence()).startsWith("Mixed, perplexity got better and BLEU worse: perplexity 47.9 → 17.9, lower is better; BLEU");
        assertThat(verdict(score(17.9, 1.3), score(47.9, 7.8)).sentence()).startsWith("Mixed, perplexity got worse and BLEU better: ");
    }

    /** A change that the next seed would undo is none. */
    @Test
    void aHairsBreadthIsNoDifference() {
        assertThat(verdict(score(47.93, 1.3), score(47.9, 1.5)).sentence()).startsWith("It made next to no difference: perplexity 47.9 → 47.9");
        assertThat(verdict(score(47.93, 1.3), score(47.9, 1.0)).kind()).isEqualTo(Verdict.Kind.NO_DIFFERENCE);
        assertThat(verdict(score(1.02, 100), score(1.01, 100)).sentence()).contains("It helped: perplexity 1.02 → 1.01");
    }

    @Test
    void withNothingMeasuredBeforeNothingIsClaimed() {
        Verdict v = Verdict.of(Optional.empty(), Optional.empty(), score(17.93, 7.82));
        assertThat(v.kind()).isEqualTo(Verdict.Kind.UNKNOWN);
        assertThat(v.sentence()).isEqualTo("Whether it helped is not known, since the model was measured after the training only: perplexity 17.9, lower is "
                + "better; BLEU 7.82, higher is better.");
    }

    @Test
    void aModelThatIsBrokenIsNoSuccess() {
        for (double loss : new double[] {Double.NaN, Double.POSITIVE_INFINITY}) {
            Verdict v = verdict(score(47.93, 1.3), new RunRecord.Score(new HeldOutLoss(loss, 100), OptionalDouble.of(0)));
            assertThat(v.kind()).isEqualTo(Verdict.Kind.WORSE);
            assertThat(v.sentence()).startsWith("It failed: ").contains("lower learning rate").doesNotContain("NaN");
        }
        assertThat(verdict(new RunRecord.Score(new HeldOutLoss(Double.NaN, 100), OptionalDouble.empty()), score(17.9, Double.NaN)).sentence())
                .isEqualTo("It helped: perplexity not a number → 17.9, lower is better.");
        assertThat(verdict(score(Math.exp(700), 0), score(Math.exp(20), 0)).sentence()).contains("perplexity 1.01e+304 → 4.85e+08");
    }

    @Test
    void whatQuantizationTookIsNotHidden() {
        RunRecord.Score loaded = score(40, 2);
        assertThat(Verdict.of(Optional.of(loaded), Optional.of(score(60, 1)), score(50, 3)).sentence())
                .startsWith("It helped, but by less than quantization had cost (perplexity 40.0 as loaded): perplexity 60.0 → 50.0");
        assertThat(Verdict.of(Optional.of(loaded), Optional.of(score(60, 1)), score(30, 3)).sentence()).startsWith("It helped: perplexity 60.0 → 30.0");
        assertThat(Figures.quantizationCost(0.2371)).isEqualTo("quantization to 4 bits costs 0.237 in loss");
        assertThat(Figures.quantizationCost(-0.076)).isEqualTo("quantization to 4 bits costs nothing here: the loss is even 0.076 lower");
        assertThat(Figures.quantizationCost(-0.0001)).isEqualTo("quantization to 4 bits costs nothing here: the loss is the same");
    }
}
