package dev.panacea.examples;

import dev.panacea.llama.LlamaConfig;
import java.util.Comparator;

/** Checks of settings that take the model's shape, made before its weights are touched. */
final class ModelLimits {
    private ModelLimits() {}

    static void check(FinetuneSettings s, LlamaConfig c) {
        Comparator<String> bySide = Comparator.comparingInt(module -> smallerSide(module, c));
        String smallest = s.lora().targetModules().stream().min(bySide).orElseThrow();
        int most = smallerSide(smallest, c);
        if (s.lora().r() > most) {
            throw new BadOption("--rank", s.lora().r(), "larger than the layer " + smallest + " of this model; at most " + most + " is possible");
        }
        int longest = c.maxPositionEmbeddings();
        if (s.training().maxSeqLength() > longest) {
            throw new BadOption("--max-seq-length", s.training().maxSeqLength(), "this model takes at most " + longest + " tokens");
        }
        if (s.answers() > 0 && s.answerTokens() >= longest) {
            throw new BadOption("--answer-tokens", s.answerTokens(), "this model takes at most " + longest + " tokens, question and answer together");
        }
    }

    /** The lesser of a linear layer's inputs and outputs. */
    private static int smallerSide(String module, LlamaConfig c) {
        int queries = c.numAttentionHeads() * c.headDim();
        int keys = c.numKeyValueHeads() * c.headDim();
        return switch (module) {
            case "q_proj", "o_proj" -> Math.min(c.hiddenSize(), queries);
            case "k_proj", "v_proj" -> Math.min(c.hiddenSize(), keys);
            default -> Math.min(c.hiddenSize(), c.intermediateSize());
        };
    }
}
