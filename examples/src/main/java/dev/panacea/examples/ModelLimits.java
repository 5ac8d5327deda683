package dev.panacea.examples;

import dev.panacea.llama.LlamaConfig;
import dev.panacea.lora.LoraConfig;
import java.util.Comparator;
import java.util.Optional;

/** Checks of settings that take the model's shape, made before its weights are touched. */
final class ModelLimits {
    private ModelLimits() {}

    static void check(FinetuneSettings s, LlamaConfig c) {
        int longest = c.maxPositionEmbeddings();
        if (s.training().maxSeqLength() > longest) {
            throw new BadOption("--max-seq-length", s.training().maxSeqLength(), "this model takes at most " + longest + " tokens");
        }
        if (s.answers() > 0 && s.answerTokens() >= longest) {
            throw new BadOption("--answer-tokens", s.answerTokens(), "this model takes at most " + longest + " tokens, question and answer together");
        }
    }

    /** A rank above a layer's smaller side is allowed, as in PEFT, but of no more use than that side. */
    static Optional<String> rankRemark(LoraConfig lora, LlamaConfig c) {
        String smallest = lora.targetModules().stream().min(Comparator.comparingInt(module -> smallerSide(module, c))).orElseThrow();
        int side = smallerSide(smallest, c);
        return lora.r() <= side ? Optional.empty() : Optional.of("Note: rank " + lora.r() + " is more than the " + side + " that " + smallest
                + " can make use of in this model; a lower one does the same with less memory");
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
