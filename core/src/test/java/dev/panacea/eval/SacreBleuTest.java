package dev.panacea.eval;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.panacea.kernels.PanaceaException;
import java.io.IOException;
import java.io.InputStream;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/** BLEU and chrF against figures that sacreBLEU itself computed. */
public class SacreBleuTest {
    private static final Offset<Double> TOLERANCE = within(1e-6);
    private static final Map<String, Bleu.Smoothing> SMOOTHINGS = Map.of("exp", Bleu.Smoothing.EXP, "floor", Bleu.Smoothing.FLOOR,
            "add-k", Bleu.Smoothing.ADD_K, "none", Bleu.Smoothing.NONE);

    @TestFactory
    Stream<DynamicTest> everyValueOfOurCases() throws IOException {
        try (InputStream in = SacreBleuTest.class.getResourceAsStream("sacrebleu-cases.json")) {
            JsonNode cases = new ObjectMapper().readTree(in).required("cases");
            assertThat(cases.size()).isGreaterThan(20);
            return cases.valueStream().map(c -> DynamicTest.dynamicTest(c.required("name").asText(), () -> check(c)));
        }
    }

    private static void check(JsonNode c) {
        List<String> hypotheses = texts(c.required("hypotheses"));
        List<List<String>> references = lists(c.required("references"));
        for (int i = 0; i < hypotheses.size(); i++) {
            assertThat(Tokenizer13a.tokenize(hypotheses.get(i))).as("tokens of text %d", i).isEqualTo(texts(c.required("tokens").get(i)));
        }
        SMOOTHINGS.forEach((name, smoothing) -> {
            assertThat(Bleu.corpus(hypotheses, references, smoothing).score()).as("corpus %s", name)
                    .isCloseTo(c.required("bleu").required(name).asDouble(), TOLERANCE);
            for (int i = 0; i < hypotheses.size(); i++) {
                assertThat(Bleu.sentence(hypotheses.get(i), column(references, i), smoothing).score()).as("sentence %d %s", i, name)
                        .isCloseTo(c.required("sentence_bleu").required(name).get(i).asDouble(), TOLERANCE);
            }
        });
        BleuScore score = Bleu.corpus(hypotheses, references);
        checkParts(score, c);
        assertThat(score.hypothesisLength()).isEqualTo(c.required("hyp_len").asLong());
        assertThat(score.referenceLength()).isEqualTo(c.required("ref_len").asLong());
        assertThat(score.signature()).isEqualTo(c.required("signature").asText());
        for (ChrF metric : ChrF.values()) {
            String name = metric == ChrF.CHRF2 ? "chrf2" : "chrf2pp";
            assertThat(metric.corpus(hypotheses, references)).as(name).isCloseTo(c.required(name).asDouble(), TOLERANCE);
            assertThat(metric.signature(references.size())).isEqualTo(c.required(name + "_signature").asText());
            for (int i = 0; i < hypotheses.size(); i++) {
                assertThat(metric.sentence(hypotheses.get(i), column(references, i))).as("%s of text %d", name, i)
                        .isCloseTo(c.required("sentence_" + name).get(i).asDouble(), TOLERANCE);
            }
        }
    }

    /** Every case of a file of reference figures, with whatever fields it has; for the golden test. */
    public static Stream<DynamicTest> golden(JsonNode golden) {
        String signature = golden.required("signature").asText();
        List<DynamicTest> tests = new ArrayList<>();
        for (JsonNode c : golden.required("cases")) {
            tests.add(DynamicTest.dynamicTest("case " + tests.size(), () -> checkGolden(c, signature)));
        }
        assertThat(tests).isNotEmpty();
        return tests.stream();
    }

    private static void checkGolden(JsonNode c, String signature) {
        List<String> hypotheses = texts(c.required("hypotheses"));
        List<List<String>> references = c.has("references") ? List.of(texts(c.get("references"))) : lists(c.required("references_2"));
        BleuScore score = Bleu.corpus(hypotheses, references);
        assertThat(score.score()).as("bleu_exp").isCloseTo(c.required("bleu_exp").asDouble(), TOLERANCE);
        assertThat(score.signature()).isEqualTo(signature.replace("nrefs:1", "nrefs:" + references.size()));
        SMOOTHINGS.forEach((name, smoothing) -> {
            if (c.has("bleu_" + name)) {
                assertThat(Bleu.corpus(hypotheses, references, smoothing).score()).as("bleu_" + name)
                        .isCloseTo(c.get("bleu_" + name).asDouble(), TOLERANCE);
            }
        });
        if (c.has("precisions")) {
            checkParts(score, c);
        }
        if (c.has("chrf2")) {
            assertThat(ChrF.CHRF2.corpus(hypotheses, references)).as("chrf2").isCloseTo(c.get("chrf2").asDouble(), TOLERANCE);
            assertThat(ChrF.CHRF2_PLUS_PLUS.corpus(hypotheses, references)).as("chrf2pp").isCloseTo(c.required("chrf2pp").asDouble(), TOLERANCE);
        }
        if (c.has("sentence_bleu")) {
            for (int i = 0; i < hypotheses.size(); i++) {
                assertThat(Bleu.sentence(hypotheses.get(i), column(references, i)).score()).as("sentence %d", i)
                        .isCloseTo(c.get("sentence_bleu").get(i).asDouble(), TOLERANCE);
            }
        }
    }

    private static void checkParts(BleuScore score, JsonNode c) {
        assertThat(score.brevityPenalty()).as("brevity penalty").isCloseTo(c.required("bp").asDouble(), TOLERANCE);
        for (int n = 0; n < 4; n++) {
            assertThat(score.precisions().get(n)).as("precision of %d-grams", n + 1).isCloseTo(c.required("precisions").get(n).asDouble(), TOLERANCE);
        }
    }

    @Test
    void aSentenceSaysSoInItsSignature() {
        assertThat(Bleu.sentence("Rest and drink.", List.of("Rest.", "Drink."), Bleu.Smoothing.FLOOR).signature())
                .isEqualTo("nrefs:2|case:mixed|eff:yes|tok:13a|smooth:floor[0.10]");
    }

    @Test
    void aScorePrintsAsOneLine() {
        assertThat(Bleu.corpus(List.of("See a doctor today please"), List.of(List.of("See a doctor today or tomorrow please")))).hasToString(
                "BLEU = 47.40 100.0/75.0/66.7/50.0 (BP = 0.670 ratio = 0.714 hyp_len = 5 ref_len = 7)");
    }

    @Test
    void unequalOrMissingListsAreRefused() {
        List<String> two = List.of("one", "two");
        assertThatThrownBy(() -> Bleu.corpus(two, List.of(two, List.of("one")))).isInstanceOf(PanaceaException.class)
                .hasMessageContaining("Reference list 2 has 1 texts for 2 hypotheses");
        assertThatThrownBy(() -> Bleu.corpus(two, List.of())).isInstanceOf(PanaceaException.class).hasMessageContaining("no references");
        assertThatThrownBy(() -> ChrF.CHRF2.corpus(List.of(), List.of(List.of()))).isInstanceOf(PanaceaException.class)
                .hasMessageContaining("no hypothesis");
        assertThatThrownBy(() -> ChrF.CHRF2.sentence("one", List.of())).isInstanceOf(PanaceaException.class).hasMessageContaining("no references");
    }

    private static List<String> texts(JsonNode array) {
        return array.valueStream().map(JsonNode::asText).toList();
    }

    private static List<List<String>> lists(JsonNode arrays) {
        return arrays.valueStream().map(SacreBleuTest::texts).toList();
    }

    private static List<String> column(List<List<String>> references, int i) {
        return references.stream().map(stream -> stream.get(i)).toList();
    }
}
