package dev.panacea.examples;

import dev.panacea.eval.HeldOutLoss;
import dev.panacea.io.ByteCount;
import dev.panacea.llama.Quantization;
import dev.panacea.optim.OptimizerType;
import dev.panacea.train.MemoryPlan;
import dev.panacea.train.SftConfig;
import dev.panacea.train.StepReport;
import java.time.Duration;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.Locale;
import java.util.Map;
import java.util.OptionalLong;
import java.util.OptionalDouble;
import java.util.function.Function;

/** A run as one page for people: report.html, which needs nothing beside itself. Every text from outside is escaped. */
final class ReportFile {
    private static final DateTimeFormatter DATE = DateTimeFormatter.ofPattern("d MMMM yyyy, HH:mm 'UTC'", Locale.ENGLISH).withZone(ZoneOffset.UTC);
    private static final String NONE = "–";

    private final RunRecord run;
    private final StringBuilder html = new StringBuilder();

    private ReportFile(RunRecord run) {
        this.run = run;
    }

    static String html(RunRecord run) {
        return new ReportFile(run).page();
    }

    static String escape(String text) {
        StringBuilder s = new StringBuilder(text.length() + 16);
        text.codePoints().forEach(c -> {
            switch (c) {
                case '&' -> s.append("&amp;");
                case '<' -> s.append("&lt;");
                case '>' -> s.append("&gt;");
                case '"' -> s.append("&quot;");
                case '\'' -> s.append("&#39;");
                // Control characters have no place in HTML, not even as references.
                default -> s.appendCodePoint(c < ' ' && c != '\n' && c != '\t' || c >= 0xD800 && c <= 0xDFFF || c == 0x7F ? 0xFFFD : c);
            }
        });
        return s.toString();
    }

    private String page() {
        html.append("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, "
                + "initial-scale=1\">\n<title>Fine-tuning of ")
                .append(escape(run.model().name())).append("</title>\n<style>\n").append(STYLE).append("</style>\n</head>\n<body>\n<main>\n");
        header();
        verdict();
        tiles();
        chart();
        comparison();
        samples();
        details();
        html.append("<footer>Made by Panacea ").append(escape(run.machine().version()))
                .append(". The same figures, and those of every step, are in metrics.json beside this page.</footer>\n</main>\n</body>\n</html>\n");
        return html.toString();
    }

    private static String bytes(OptionalLong bytes, String unknown) {
        return bytes.isPresent() ? ByteCount.text(bytes.getAsLong()) : unknown;
    }

    private void header() {
        html.append("<header>\n<h1>Fine-tuning of ").append(escape(run.model().name())).append("</h1>\n<p>").append(escape(DATE.format(run.started())))
                .append(" · ")
                .append(Figures.count(run.data().trainingExamples(), "example")).append(" from ").append(escape(run.data().source())).append(" · LoRA rank ")
                .append(run.settings().lora().r()).append(", ").append(Figures.count(run.adapterParameters())).append(" trained parameters</p>\n</header>\n");
    }

    private void verdict() {
        Verdict verdict = Verdict.of(run);
        html.append("<p class=\"card verdict ").append(verdict.kind().name().toLowerCase(Locale.ROOT).replace('_', '-')).append("\">")
                .append(escape(verdict.sentence())).append("</p>\n");
    }

    private void tiles() {
        html.append("<section class=\"tiles\">\n");
        HeldOutLoss after = run.after().loss();
        tile("Held-out loss", Figures.loss(after.loss()), from(b -> "from " + Figures.loss(b.loss().loss()) + ", lower is better"));
        tile("Perplexity", Figures.perplexity(after.perplexity()), from(b -> "from " + Figures.perplexity(b.loss().perplexity()) + ", lower is better"));
        tile("BLEU", bleu(run.after().bleu()), run.after().bleu().isEmpty() ? "not measured" : from(b -> "from " + bleu(b.bleu()) + ", higher is better"));
        tile("Training speed", Figures.format("%.0f", run.training().tokensPerSecond()), "tokens per second");
        if (run.training().plan().onDevice()) {
            tile("Peak GPU memory", bytes(run.training().peakBytes(), NONE), "while training");
        } else {
            tile("Peak memory", bytes(run.peakResidentBytes(), NONE), "resident, whole process");
        }
        tile("Time", Figures.clock(run.total()), "of it training " + Figures.clock(run.training().duration()));
        html.append("</section>\n");
    }

    private String from(Function<RunRecord.Score, String> text) {
        return run.before().map(text).orElse("not measured before the training");
    }

    private void tile(String name, String value, String note) {
        html.append("<div class=\"tile\"><div class=\"name\">").append(name).append("</div><div class=\"value\">").append(escape(value))
                .append("</div><div class=\"note\">")
                .append(escape(note)).append("</div></div>\n");
    }

    private void chart() {
        html.append("<section class=\"card\">\n<h2>Training loss</h2>\n<p class=\"legend\"><span><i class=\"key smooth\"></i>loss, smoothed</span> <span><i "
                + "class=\"key raw\"></i>loss of each step</span> ")
                .append("<span><i class=\"key rate\"></i>learning rate, right axis</span></p>\n");
        for (LossChart.Size size : LossChart.Size.values()) {
            html.append(LossChart.svg(run.training().steps(), size));
        }
        html.append("</section>\n");
    }

    private void comparison() {
        boolean requantized = run.model().requantized();
        html.append("<section class=\"card\">\n<h2>").append(run.before().isPresent() ? "Before and after" : "Measured")
                .append("</h2>\n<table>\n<thead><tr><th scope=\"col\">On held-out data</th>")
                .append("<th scope=\"col\">Loss <small>lower is better</small></th><th scope=\"col\">Perplexity <small>lower is better</small></th>")
                .append("<th scope=\"col\">BLEU <small>higher is better</small></th></tr></thead>\n<tbody>\n");
        if (requantized) {
            run.asLoaded().ifPresent(s -> score("Weights as loaded", s, ""));
        }
        run.before().ifPresent(s -> score(requantized ? "Quantized to NF4, before training" : "Before training", s, ""));
        score("After training", run.after(), " class=\"after\"");
        html.append("</tbody></table>\n<p class=\"note\">");
        if (requantized && run.before().isPresent() && run.asLoaded().isPresent()) {
            double before = run.before().get().loss().loss();
            String cost = Figures.quantizationCost(before - run.asLoaded().get().loss().loss());
            html.append(Character.toUpperCase(cost.charAt(0))).append(cost.substring(1)).append(". ");
        }
        html.append("Loss is the mean negative log-likelihood per token of the answers, in nats; BLEU is sacreBLEU's, of greedy answers of at most ")
                .append(run.settings().answerTokens()).append(" tokens. Held-out data: ").append(escape(run.data().heldOutSource())).append(", ")
                .append(Figures.count(run.data().heldOutExamples(), "example")).append(" with ")
                .append(Figures.count(run.after().loss().targetTokens(), "token"))
                .append(" to predict.</p>\n</section>\n");
    }

    private void score(String name, RunRecord.Score s, String attributes) {
        html.append("<tr").append(attributes).append("><th scope=\"row\">").append(name).append("</th><td>").append(Figures.loss(s.loss().loss()))
                .append("</td><td>")
                .append(Figures.perplexity(s.loss().perplexity())).append("</td><td>").append(bleu(s.bleu())).append("</td></tr>\n");
    }

    private static String bleu(OptionalDouble bleu) {
        return bleu.isPresent() ? Figures.format("%.2f", bleu.getAsDouble()) : NONE;
    }

    private void samples() {
        if (run.samples().isEmpty()) {
            return;
        }
        html.append("<section class=\"card\">\n<h2>Answers to held-out questions</h2>\n");
        for (RunRecord.Sample s : run.samples()) {
            html.append("<article>\n<p class=\"question\" dir=\"auto\">").append(escape(s.question())).append("</p>\n<div class=\"answers\">\n");
            s.before().ifPresent(text -> answer("Before", text));
            answer("After", s.after());
            answer("In the data", s.reference());
            html.append("</div>\n</article>\n");
        }
        html.append("<p class=\"note\">Answers of a language model, chosen by their place in the data and not by their quality. They are no advice, least of "
                + "all medical.</p>\n</section>\n");
    }

    private void answer(String name, String text) {
        html.append("<div><h3>").append(name).append("</h3><p dir=\"auto\">").append(escape(text)).append("</p></div>\n");
    }

    private void details() {
        FinetuneSettings s = run.settings();
        SftConfig t = s.training();
        html.append("<section class=\"card\">\n<h2>Settings and machine</h2>\n<div class=\"columns\">\n<dl>\n");
        row("Model", run.model().description());
        row("Model from", run.model().origin());
        row("Weights trained on", switch (run.model().quantization()) {
            case KEEP -> "as the file holds them";
            case NF4 -> "linear layers quantized to NF4 with double quantization";
            case NONE -> "bf16";
        } + ": " + Figures.weights(run.model().weightBytes(), run.model().mappedBytes()));
        row("Training data", run.data().source() + ", " + Figures.count(run.data().trainingExamples(), "example"));
        row("Tokens trained on", Figures.format("%.0f %% of the training tokens", 100 * run.data().trainedShare()));
        row("LoRA", "rank " + s.lora().r() + ", alpha " + trimmed(s.lora().loraAlpha()) + " on " + String.join(", ", s.lora().targetModules()));
        row("Length of the run", (t.maxSteps() > 0 ? "" : trimmed(t.numTrainEpochs()) + (t.numTrainEpochs() == 1 ? " epoch, " : " epochs, "))
                + Figures.count(run.training().steps().size(), "step"));
        row("Batch", Figures.batch(t) + ", up to " + Figures.count(t.maxSeqLength(), "token") + " each");
        int warmup = t.warmupSteps(run.training().steps().stream().mapToInt(StepReport::totalSteps).max().orElse(0));
        row("Learning rate", Figures.rate(t.learningRate()) + ", " + t.lrSchedulerType().name().toLowerCase(Locale.ROOT) + " schedule"
                + (warmup > 0 ? " after a warm-up of " + Figures.count(warmup, "step") : ", no warm-up"));
        row("AdamW", "β " + trimmed(t.adamBeta1()) + " and " + trimmed(t.adamBeta2()) + ", weight decay " + trimmed(t.weightDecay()) + ", clipping at "
                + trimmed(t.maxGradNorm())
                + (t.optim() == OptimizerType.ADAMW_8BIT ? ", moments in 8 bits" : ""));
        row("Seed", Long.toString(t.seed()));
        html.append("</dl>\n<dl>\n");
        row("Device", run.settings().device());
        row("Kernels", run.machine().kernels());
        row("Java", run.machine().java());
        row("System", run.machine().system());
        row("Tokens trained", Figures.count(run.training().tokens()) + " at " + Figures.format("%.0f", run.training().tokensPerSecond()) + " per second");
        row("Peak resident memory", bytes(run.peakResidentBytes(), "not known on this system"));
        MemoryPlan plan = run.training().plan();
        row(plan.onDevice() ? "GPU memory of training" : "Memory of training", "planned " + ByteCount.text(plan.total()) + ", measured "
                + bytes(run.training().peakBytes(), "nothing on this system")
                + "; one step " + ByteCount.text(plan.step()) + (plan.checkpointing() ? ", with" : ", without")
                + " gradient checkpointing");
        for (Map.Entry<String, Duration> phase : run.phases().entrySet()) {
            row("Time: " + phase.getKey().replace('_', ' '), Figures.duration(phase.getValue()));
        }
        html.append("</dl>\n</div>\n</section>\n");
    }

    private static String trimmed(double x) {
        return x == Math.rint(x) && Math.abs(x) < 1e9 ? Long.toString((long) x) : Double.toString(x);
    }

    private void row(String name, String value) {
        html.append("<div><dt>").append(escape(name)).append("</dt><dd>").append(escape(value)).append("</dd></div>\n");
    }

    private static final String STYLE = """
            :root { color-scheme: light; --page: #f6f7f9; --card: #ffffff; --line: #e2e5ea; --text: #1b2330; --soft: #566172; --loss: #2463c9; --rate: #b5622b; --good: #16794a; --bad: #b3372f; }
            @media screen and (prefers-color-scheme: dark) {
              :root { color-scheme: dark; --page: #12161c; --card: #1b2129; --line: #303844; --text: #e6eaf0; --soft: #9aa5b5; --loss: #6ea4f5; --rate: #e0955f; --good: #5fc592; --bad: #f08a80; }
            }
            * { box-sizing: border-box; }
            body { margin: 0; background: var(--page); color: var(--text); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
              overflow-wrap: anywhere; -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
            main { max-width: 980px; margin: 0 auto; padding: 32px 20px 48px; }
            h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; letter-spacing: -0.01em; }
            h2 { font-size: 17px; margin: 0 0 12px; }
            h3 { font-size: 12px; margin: 0 0 4px; color: var(--soft); text-transform: uppercase; letter-spacing: 0.05em; }
            header p, .note, footer { color: var(--soft); }
            header p { margin: 0 0 20px; }
            .tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 12px; margin-bottom: 16px; }
            .tile, .card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
            .tile { padding: 14px 16px; }
            .tile .name { color: var(--soft); font-size: 13px; }
            .tile .value { font-size: 25px; font-weight: 650; line-height: 1.3; font-variant-numeric: tabular-nums; }
            .tile .note { font-size: 12.5px; line-height: 1.4; }
            .card { padding: 20px 22px; margin: 0 0 16px; }
            .card > .note { margin: 14px 0 0; font-size: 13.5px; }
            .verdict { font-size: 18px; line-height: 1.45; font-weight: 600; border-left: 5px solid var(--soft); }
            .verdict.helped { border-left-color: var(--good); }
            .verdict.worse { border-left-color: var(--bad); }
            svg { display: block; width: 100%; height: auto; margin: 0 auto; }
            svg.narrow { display: none; max-width: 480px; }
            svg .grid { stroke: var(--line); stroke-width: 1; }
            svg .tick, svg .axis { fill: var(--soft); font-size: 14px; font-variant-numeric: tabular-nums; }
            svg path { fill: none; stroke-linejoin: round; stroke-linecap: round; }
            svg .raw { stroke: var(--loss); stroke-width: 1; opacity: 0.45; }
            svg .smooth { stroke: var(--loss); stroke-width: 2.5; }
            svg .rate { stroke: var(--rate); stroke-width: 1.5; stroke-dasharray: 5 4; }
            svg .point { fill: var(--loss); opacity: 0.45; }
            svg .point:hover { opacity: 1; }
            .legend { color: var(--soft); font-size: 13px; margin: 0 0 8px; display: flex; flex-wrap: wrap; gap: 2px 16px; }
            .legend span { white-space: nowrap; }
            .key { display: inline-block; width: 22px; vertical-align: middle; margin: 0 6px 2px 0; border-top: 2.5px solid var(--loss); }
            .key.raw { border-top-width: 1px; opacity: 0.7; }
            .key.rate { border-top: 1.5px dashed var(--rate); }
            table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
            td, th { padding: 7px 0 7px 12px; border-bottom: 1px solid var(--line); text-align: right; vertical-align: baseline; font-weight: 400; overflow-wrap: normal; }
            th:first-child { text-align: left; padding-left: 0; }
            thead th { color: var(--soft); }
            thead small { display: block; font-size: 12px; line-height: 1.3; }
            tbody tr:last-child > * { border-bottom: 0; }
            .after > * { font-weight: 650; }
            .columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(340px, 100%), 1fr)); gap: 0 36px; align-items: start; font-size: 13.5px; }
            dl { margin: 0; }
            dl > div { display: grid; grid-template-columns: 38% 1fr; gap: 0 12px; padding: 7px 0; border-bottom: 1px solid var(--line); }
            dl > div:last-child { border-bottom: 0; }
            dt { color: var(--soft); }
            dd { margin: 0; }
            article + article { border-top: 1px solid var(--line); margin-top: 18px; padding-top: 18px; }
            .question { margin: 0 0 12px; font-weight: 600; white-space: pre-line; }
            .answers { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(240px, 100%), 1fr)); gap: 18px; }
            .answers p { margin: 0; font-size: 14px; white-space: pre-line; }
            footer { font-size: 13px; margin-top: 24px; }
            @media screen and (max-width: 719px) {
              main { padding: 20px 12px 32px; }
              h1 { font-size: 22px; }
              .card { padding: 16px 14px; }
              .verdict { font-size: 16.5px; }
              .tile { padding: 11px 12px; }
              svg.wide { display: none; }
              svg.narrow { display: block; }
              svg .tick, svg .axis { font-size: 13px; }
              td, th { padding-left: 8px; font-size: 14px; }
              dl > div { grid-template-columns: 1fr; }
            }
            @page { margin: 14mm; }
            @media print {
              body { background: none; font-size: 10pt; line-height: 1.4; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
              main { max-width: none; padding: 0 1px; }
              h1 { font-size: 18pt; }
              .tiles { grid-template-columns: repeat(3, 1fr); gap: 8px; }
              .tile { padding: 8px 12px; }
              .tile .value { font-size: 16pt; }
              .card { padding: 12px 16px; margin-bottom: 10px; }
              .verdict { font-size: 12.5pt; }
              svg { max-width: 165mm; }
              .answers { grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); }
              .answers p { font-size: 9pt; }
              .columns { grid-template-columns: 1fr 1fr; gap: 0 24px; font-size: 8.5pt; }
              dl > div { padding: 3px 0; }
              .tile, .verdict, article, tr, dl > div, svg { break-inside: avoid; }
              h2, h3 { break-after: avoid; }
            }
            """;
}
