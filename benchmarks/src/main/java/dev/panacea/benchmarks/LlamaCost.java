package dev.panacea.benchmarks;

import dev.panacea.llama.LlamaConfig;

/** What a Llama's arithmetic comes to, from its shape. Only products with frozen weights are counted; LoRA, attention and the rest come on top. */
final class LlamaCost {
    private LlamaCost() {}

    /** Values of all linear layers but the head. */
    static double linearValues(LlamaConfig c) {
        double h = c.hiddenSize();
        double q = (double) c.numAttentionHeads() * c.headDim();
        double kv = (double) c.numKeyValueHeads() * c.headDim();
        return c.numHiddenLayers() * (2 * q * h + 2 * kv * h + 3 * h * c.intermediateSize());
    }

    private static double headValues(LlamaConfig c) {
        return (double) c.vocabSize() * c.hiddenSize();
    }

    /** Operations per token of a training step in which every token is a target: forward and input gradient, two per value each. 0.54 G for SmolLM2-135M. */
    static double trainingFlops(LlamaConfig c) {
        return 4 * (linearValues(c) + headValues(c));
    }

    /** Operations of a prompt, whose last token alone goes through the head. */
    static double promptFlops(LlamaConfig c, int tokens) {
        return 2 * (linearValues(c) * tokens + headValues(c));
    }

    /**
     * Bytes read for one more token: every weight once, and the keys and values of the context.
     *
     * @param weightBytes of the whole model; an embedding that is not the head too is not read
     */
    static double decodeBytes(LlamaConfig c, long weightBytes, int context) {
        double embedding = c.tieWordEmbeddings() ? 0 : 2 * headValues(c);
        return weightBytes - embedding + 2.0 * 2 * c.numHiddenLayers() * context * c.numKeyValueHeads() * c.headDim();
    }
}
