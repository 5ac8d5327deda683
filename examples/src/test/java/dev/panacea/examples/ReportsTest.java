package dev.panacea.examples;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import dev.panacea.data.DatasetReader;
import dev.panacea.eval.HeldOutLoss;
import dev.panacea.llama.Quantization;
import dev.panacea.lora.LoraConfig;
import dev.panacea.train.MemoryPlan;
import dev.panacea.train.SftConfig;
import dev.panacea.train.StepReport;
import dev.panacea.train.TrainingResult;
import java.io.IOException;
import java.io.StringReader;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.OptionalLong;
import java.util.stream.Stream;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.Test;
import org.xml.sax.InputSource;

/** metrics.json and report.html of runs made up for the purpose. */
class ReportsTest {
    private static final MemoryPlan PLAN = new MemoryPlan(false, 112_000_000, 20_000_000, 20_000_000, 430_000_000, 75_000_000, 8_000_000, 120_000_000, 460_000_000,
            OptionalLong.of(4_000_000_000L), false, "enough is there");

    private static StepReport step(int step, int total, double loss) {
        return new StepReport(step, total, step / 10.0, loss, 0.5, 1e-4 * step, 100 + step, 60, 400, Duration.ZERO);
    }

    private static RunRecord run(List<StepReport> steps, double after, OptionalDouble bleu, OptionalLong memory, String text) {
        return run(steps, after, bleu, memory, new RunRecord.Model(text, "local path", "m.gguf (GGUF Q4_1, 98 MB)", Quantization.NF4, 112_000_000, 0), text);
    }

    private static RunRecord run(List<StepReport> steps, double after, OptionalDouble bleu, OptionalLong memory, RunRecord.Model model, String text) {
        FinetuneSettings settings = new FinetuneSettings("cpu", Optional.empty(), Optional.of(Path.of("rows.csv")), Optional.empty(),
                DatasetReader.Options.DETECT.withColumns(Map.of("question", "Frage")), new OutputFolder(Path.of("out")),
                new LoraConfig(8, 16, List.of("q_proj", "v_proj"), false), Optional.empty(), SftConfig.builder().maxSteps(steps.size()).build(), true, 16, 128);
        Map<String, Duration> phases = new LinkedHashMap<>();
        phases.put("find_model", Duration.ofMillis(1500));
        phases.put("train", Duration.ofSeconds(90));
        return new RunRecord(Instant.parse("2026-01-02T03:04:05Z"), settings, model,
                new RunRecord.Data("rows.csv", "a tenth of rows.csv", 90, 10, 0.6, true, "what is this?"), 1234, Optional.of(new RunRecord.Score(new HeldOutLoss(3.174, 4000), bleu)),
                Optional.of(new RunRecord.Score(new HeldOutLoss(3.383, 4000), bleu)), new RunRecord.Score(new HeldOutLoss(after, 4000), bleu),
                new TrainingResult(steps, 12_000, Duration.ofSeconds(30), PLAN, OptionalLong.of(700_000_000)), List.of(new RunRecord.Sample(text, text, Optional.of(text), text)), memory, phases,
                new RunRecord.Machine("1.0", "cpu AVX2, 2 threads", "25", "Linux"));
    }

    private static RunRecord ordinary(String text) {
        List<StepReport> steps = new ArrayList<>();
        for (int s = 1; s <= 40; s++) {
            steps.add(step(s, 40, 3.4 - 0.02 * s));
        }
        return run(steps, 2.9, OptionalDouble.of(4.25), OptionalLong.of(1_100_000_000), text);
    }

    @Test
    void metricsHoldEveryFigure() throws IOException {
        JsonNode m = new JsonMapper().readTree(MetricsFile.json(ordinary("tiny")));
        assertThat(m.at("/evaluation/as_loaded/loss").asDouble()).isEqualTo(3.174);
        assertThat(m.at("/evaluation/before/perplexity").asDouble()).isEqualTo(Math.exp(3.383));
        assertThat(m.at("/evaluation/after/bleu").asDouble()).isEqualTo(4.25);
        assertThat(m.at("/evaluation/after/target_tokens").asInt()).isEqualTo(4000);
        assertThat(m.at("/steps")).hasSize(40);
        assertThat(m.at("/steps/4/step").asInt()).isEqualTo(5);
        assertThat(m.at("/steps/4/loss").asDouble()).isEqualTo(3.4 - 0.02 * 5);
        assertThat(m.at("/steps/4/grad_norm").asDouble()).isEqualTo(0.5);
        assertThat(m.at("/steps/4/learning_rate").asDouble()).isEqualTo(5e-4);
        assertThat(m.at("/steps/4/tokens").asInt()).isEqualTo(105);
        assertThat(m.at("/tokens_per_second").asDouble()).isCloseTo(400, within(1e-6));
        assertThat(m.at("/peak_resident_bytes").asLong()).isEqualTo(1_100_000_000);
        assertThat(m.at("/training_memory/planned_bytes").asLong()).isEqualTo(710_000_000);
        assertThat(m.at("/training_memory/step_bytes").asLong()).isEqualTo(430_000_000);
        assertThat(m.at("/training_memory/measured_bytes").asLong()).isEqualTo(700_000_000);
        assertThat(m.at("/training_memory/available_bytes").asLong()).isEqualTo(4_000_000_000L);
        assertThat(m.at("/training_memory/gradient_checkpointing").asBoolean()).isFalse();
        assertThat(m.at("/settings/gradient_checkpointing").asText()).isEqualTo("auto");
        assertThat(m.at("/phase_seconds/train").asDouble()).isEqualTo(90);
        assertThat(m.at("/total_seconds").asDouble()).isEqualTo(91.5);
        assertThat(m.at("/model/origin").asText()).isEqualTo("local path");
        assertThat(m.at("/kernels").asText()).isEqualTo("cpu AVX2, 2 threads");
        assertThat(m.at("/panacea_version").asText()).isEqualTo("1.0");
        assertThat(m.at("/settings/max_steps").asInt()).isEqualTo(40);
        assertThat(m.at("/settings/device").asText()).isEqualTo("cpu");
        assertThat(m.at("/settings/num_train_epochs").isNull()).isTrue();
        assertThat(m.at("/settings/columns/question").asText()).isEqualTo("Frage");
        assertThat(m.at("/settings/encoding").isNull()).isTrue();
        assertThat(m.at("/settings/separator").isNull()).isTrue();
        assertThat(m.at("/settings/target_modules/1").asText()).isEqualTo("v_proj");
    }

    @Test
    void metricsAreValidJsonWhateverTheFigures() throws IOException {
        RunRecord odd = run(List.of(step(1, 1, Double.NaN)), 1000, OptionalDouble.empty(), OptionalLong.empty(), "\u0000\"\\\u2028");
        JsonNode m = new JsonMapper().readTree(MetricsFile.json(odd));
        assertThat(m.at("/evaluation/after/perplexity").isNull()).isTrue();
        assertThat(m.at("/evaluation/after/bleu").isNull()).isTrue();
        assertThat(m.at("/steps/0/loss").isNull()).isTrue();
        assertThat(m.at("/peak_resident_bytes").isNull()).isTrue();
        assertThat(m.at("/samples/0/question").asText()).isEqualTo("\u0000\"\\\u2028");
    }

    @Test
    void reportShowsWhatMatters() {
        String html = ReportFile.html(ordinary("tiny"));
        assertThat(html).contains("Fine-tuning of tiny", "2 January 2026, 03:04 UTC", "3.174", "3.383", "2.900", "4.25", "1.1 GB", "cpu AVX2, 2 threads", "q_proj, v_proj",
                "Quantization to 4 bits costs 0.209 in loss.", "It helped: perplexity 29.5 → 18.2, lower is better", "from 29.46, lower is better",
                "linear layers quantized to NF4", "40 steps", "<svg", "planned 710 MB, measured 700 MB; one step 430 MB, without gradient checkpointing", "12,000 at 400 per second");
    }

    /** 3 % of 40 steps are two begun steps, of one step none. */
    @Test
    void reportTellsTheWarmUpThatThereWas() {
        assertThat(ReportFile.html(ordinary("tiny"))).contains("cosine schedule after a warm-up of 2 steps");
        assertThat(ReportFile.html(run(List.of(step(1, 1, 3)), 2.9, OptionalDouble.empty(), OptionalLong.empty(), "tiny"))).contains("cosine schedule, no warm-up");
    }

    @Test
    void oneIsNotPlural() {
        String html = ReportFile.html(run(List.of(step(1, 1, 3)), 2.9, OptionalDouble.empty(), OptionalLong.empty(), "tiny"));
        assertThat(html).contains("<dd>1 step</dd>").doesNotContain("1 steps", "1 examples");
        assertThat(Figures.count(1, "example") + ", " + Figures.count(0, "step") + ", " + Figures.count(1234, "step")).isEqualTo("1 example, 0 steps, 1,234 steps");
        assertThat(Stream.of(0, 1e-3, 2.5e-4, 1e-4, 2e-5, 1e-12, 1).map(r -> Figures.rate(r.doubleValue()))).containsExactly("0", "0.001", "0.00025", "0.0001", "2e-5", "1e-12", "1");
    }

    /** What a wide table and a scaled drawing were unreadable for. */
    @Test
    void telephonesAndPaperGetLayoutsOfTheirOwn() {
        assertThat(ReportFile.html(ordinary("tiny"))).contains("@media screen and (max-width: 719px)", "<svg class=\"narrow\"", "<svg class=\"wide\"", "@media print",
                "@media screen and (prefers-color-scheme: dark)", "<th scope=\"col\">", "<th scope=\"row\">");
    }

    @Test
    void weightsThatAreKeptHaveNothingToCompareWith() throws IOException {
        RunRecord.Model model = new RunRecord.Model("tiny", "local path", "m.gguf (GGUF Q4_1, 98 MB)", Quantization.KEEP, 98_140_000, 98_000_000);
        RunRecord kept = run(List.of(step(1, 1, 3)), 2.9, OptionalDouble.of(4.25), OptionalLong.empty(), model, "tiny");
        assertThat(ReportFile.html(kept)).contains("as the file holds them: 98 MB mapped, 140 kB in memory", "Before training").doesNotContain("NF4", "Quantiz", "as loaded");
        JsonNode m = new JsonMapper().readTree(MetricsFile.json(kept));
        assertThat(m.at("/settings/quantization").asText()).isEqualTo("keep");
        assertThat(m.at("/model/weight_bytes").asLong()).isEqualTo(98_140_000);
        assertThat(m.at("/model/mapped_weight_bytes").asLong()).isEqualTo(98_000_000);
    }

    @Test
    void reportNeedsNothingBesideItself() {
        assertThat(ReportFile.html(ordinary("tiny"))).doesNotContain("http:", "https:", "src=", "href=", "@import", "url(", "<script");
    }

    @Test
    void reportEscapesEveryTextFromOutside() {
        String html = ReportFile.html(ordinary("<script>alert('x')</script>&\"\u0007"));
        assertThat(html).doesNotContain("<script", "\u0007").contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;\uFFFD");
        assertThat(ReportFile.escape("\uD83D\uDE00 \uD800 é")).isEqualTo("\uD83D\uDE00 \uFFFD é");
    }

    @Test
    void chartIsWellFormedForRunsOfEveryLength() throws Exception {
        Stream<List<StepReport>> runs = Stream.of(List.of(), List.of(step(1, 1, 2)), List.of(step(1, 2, 2), step(2, 2, 2)), List.of(step(1, 1, Double.NaN)),
                ordinary("x").training().steps(), longRun());
        for (List<StepReport> steps : runs.toList()) {
            for (LossChart.Size size : LossChart.Size.values()) {
                String svg = LossChart.svg(steps, size);
                DocumentBuilderFactory.newInstance().newDocumentBuilder().parse(new InputSource(new StringReader(svg)));
                assertThat(svg).doesNotContain("NaN", "Infinity").contains("role=\"img\" aria-label=\"Training loss").hasSizeLessThan(120_000);
            }
        }
    }

    private static List<StepReport> longRun() {
        List<StepReport> steps = new ArrayList<>();
        for (int s = 1; s <= 20_000; s++) {
            steps.add(step(s, 20_000, 2 + Math.sin(s)));
        }
        return steps;
    }

    @Test
    void peakMemoryComesFromTheSystem() {
        assertThat(PeakMemory.highWaterMark(Stream.of("VmPeak:\t 999 kB", "VmHWM:\t  123456 kB", "VmRSS:\t 1 kB"))).hasValue(123456L * 1024);
        assertThat(PeakMemory.highWaterMark(Stream.of("VmRSS:\t 1 kB"))).isEmpty();
        assertThat(new PeakMemory().bytes().orElseThrow()).isGreaterThan(20_000_000);
    }
}
