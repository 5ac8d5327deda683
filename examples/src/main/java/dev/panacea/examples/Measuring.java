package dev.panacea.examples;

import dev.panacea.data.TokenizedExample;
import dev.panacea.eval.Bleu;
import dev.panacea.eval.HeldOutLoss;
import dev.panacea.eval.LossEvaluator;
import dev.panacea.generate.GenerationConfig;
import dev.panacea.generate.Generator;
import dev.panacea.llama.LlamaModel;
import dev.panacea.text.BpeTokenizer;
import java.util.List;
import java.util.OptionalDouble;
import java.util.stream.IntStream;

/** Measures a model on the held-out data: loss of the answers there, and BLEU of its own answers against them. */
final class Measuring {
    private static final String LOSS = "Held-out loss";
    /** Examples between two signs of life. */
    private static final int PART = 64;

    private final LlamaModel model;
    private final BpeTokenizer tokenizer;
    private final Console console;
    private final PhaseClock clock;

    Measuring(LlamaModel model, BpeTokenizer tokenizer, Console console, PhaseClock clock) {
        this.model = model;
        this.tokenizer = tokenizer;
        this.console = console;
        this.clock = clock;
    }

    /** @param when for the names of the phases, such as {@code before} */
    Measurement measure(RunData data, FinetuneSettings settings, String when) {
        console.doing(LOSS);
        HeldOutLoss loss = clock.time("evaluate_" + when, () -> loss(data.heldOut()));
        console.done(Figures.loss(loss.loss()) + ", perplexity " + Figures.perplexity(loss.perplexity()));
        if (data.questions().isEmpty()) {
            return new Measurement(new RunRecord.Score(loss, OptionalDouble.empty()), List.of());
        }
        console.doing("Answering " + Figures.count(data.questions().size(), "held-out question"));
        List<int[]> ids = clock.time("answer_" + when, () -> answers(data.questions(), settings.answerTokens()));
        List<String> texts = ids.stream().map(a -> tokenizer.decode(a, true).strip()).toList();
        double bleu = Bleu.corpus(texts, List.of(data.questions().stream().map(Question::reference).toList())).score();
        console.done(Figures.format("BLEU %.2f", bleu));
        List<String> shown = IntStream.range(0, texts.size()).mapToObj(i -> texts.get(i) + (ids.get(i).length == settings.answerTokens() ? " [...]" : "")).toList();
        return new Measurement(new RunRecord.Score(loss, OptionalDouble.of(bleu)), shown);
    }

    /** The loss over all examples; large data take minutes, so a terminal shows how far it is. */
    private HeldOutLoss loss(List<TokenizedExample> examples) {
        double sum = 0;
        long targets = 0;
        for (int from = 0; from < examples.size(); from += PART) {
            HeldOutLoss part = LossEvaluator.evaluate(model, examples.subList(from, Math.min(examples.size(), from + PART)));
            sum += part.loss() * part.targetTokens();
            targets += part.targetTokens();
            if (console.terminal() && examples.size() > PART) {
                boolean last = from + PART >= examples.size();
                console.progress(LOSS + " ... " + (last ? "" : (from + PART) + " of " + examples.size() + " examples"));
            }
        }
        return new HeldOutLoss(sum / targets, targets);
    }

    private List<int[]> answers(List<Question> questions, int most) {
        return new Generator(model).generate(questions.stream().map(Question::prompt).toList(), GenerationConfig.greedy(most), questions.getFirst().stopTokens());
    }
}
