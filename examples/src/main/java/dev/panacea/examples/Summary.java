package dev.panacea.examples;

import dev.panacea.io.ByteCount;
import java.util.OptionalDouble;
import java.util.OptionalLong;

/** The end of a run, for a person at a terminal: what changed, how the model answers now, and where everything lies. */
final class Summary {
    private Summary() {}

    static void print(RunRecord run, Console console) {
        samples(run, console);
        console.heading("Result on held-out data");
        boolean requantized = run.model().requantized();
        console.paragraph(Verdict.of(run).sentence(), "  ");
        console.line("");
        console.dimLine(Figures.format("%-22s %8s %12s %8s", "", "loss", "perplexity", "BLEU"));
        if (requantized) {
            run.asLoaded().ifPresent(s -> console.line(row("weights as loaded", s)));
        }
        run.before().ifPresent(s -> console.line(row(requantized ? "in NF4, before" : "before", s)));
        console.boldLine(row("after", run.after()));
        console.line("");
        boolean onDevice = run.training().plan().onDevice();
        OptionalLong peak = onDevice ? run.training().peakBytes() : run.peakResidentBytes();
        console.line(Figures.format("%.0f training tokens per second, peak %s %s, %s in all", run.training().tokensPerSecond(), onDevice ? "GPU memory"
                : "memory",
                peak.isPresent() ? ByteCount.text(peak.getAsLong()) : "not known", Figures.duration(run.total())));
        console.line("Adapter:  " + run.settings().output().adapter() + "  (PEFT format)");
        console.line("Metrics:  " + run.settings().output().metrics());
        console.line("Report:   " + run.settings().output().report() + "  (open it in a browser)");
        console.line("");
        console.line("Ask it:   " + FinetuneCommand.invocation() + " --chat " + ShellWord.of(run.data().question()) + run.settings().output().option()
                + (onDevice ? " --device " + run.settings().device() : ""));
    }

    private static void samples(RunRecord run, Console console) {
        for (RunRecord.Sample s : run.samples()) {
            console.heading("A held-out question");
            console.paragraph(s.question(), "  ");
            s.before().ifPresent(answer -> {
                console.boldLine("Before");
                console.paragraph(answer, "    ");
            });
            console.boldLine("After");
            console.paragraph(s.after(), "    ");
        }
        if (!run.samples().isEmpty()) {
            console.line("");
            console.paragraph("These questions were chosen by their place in the data. The answers show a style; they are no advice, least of all "
                    + "medical.", "  ");
        }
    }

    private static String row(String name, RunRecord.Score s) {
        return Figures.format("%-22s %8s %12s %8s", name, Figures.loss(s.loss().loss()), Figures.perplexity(s.loss().perplexity()), bleu(s.bleu()));
    }

    private static String bleu(OptionalDouble bleu) {
        return bleu.isPresent() ? Figures.format("%.2f", bleu.getAsDouble()) : "-";
    }
}
