package dev.panacea.eval;

import dev.panacea.autograd.LinearCrossEntropy;
import dev.panacea.data.Targets;
import dev.panacea.data.TokenizedExample;
import dev.panacea.llama.LlamaModel;
import java.util.ArrayList;
import java.util.List;

/** Loss and perplexity over a set of examples, weighted by tokens, with no more memory than a training step. */
public final class LossEvaluator {
    /** Tokens that go through the model at a time. */
    private static final int TOKENS_PER_BATCH = 1024;

    private LossEvaluator() {}

    /**
     * Nobody else can use the model meanwhile; see {@link LlamaModel}.
     *
     * @throws IllegalArgumentException if no example has a target token
     */
    public static HeldOutLoss evaluate(LlamaModel model, List<TokenizedExample> examples) {
        return model.exclusively(() -> loss(model, examples));
    }

    private static HeldOutLoss loss(LlamaModel model, List<TokenizedExample> examples) {
        double sum = 0;
        long targets = 0;
        List<TokenizedExample> batch = new ArrayList<>();
        int tokens = 0;
        for (int i = 0; i <= examples.size(); i++) {
            boolean full = i == examples.size() || tokens + examples.get(i).length() > TOKENS_PER_BATCH;
            if (full && !batch.isEmpty()) {
                Targets t = Targets.of(batch);
                if (t.ids().length > 0) {
                    sum += LinearCrossEntropy.sum(model.losses(t.sequences(), t.rows(), t.ids(), 1, false));
                    targets += t.ids().length;
                }
                batch.clear();
                tokens = 0;
            }
            if (i < examples.size()) {
                batch.add(examples.get(i));
                tokens += examples.get(i).length();
            }
        }
        if (targets == 0) {
            throw new IllegalArgumentException("no example has a target token");
        }
        return new HeldOutLoss(sum / targets, targets);
    }
}
