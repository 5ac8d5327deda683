package dev.panacea.llama;

import dev.panacea.kernels.PanaceaException;

/** The shape of a Llama model, by the names of Hugging Face's config.json. */
public record LlamaConfig(
        int vocabSize,
        int hiddenSize,
        int intermediateSize,
        int numHiddenLayers,
        int numAttentionHeads,
        int numKeyValueHeads,
        int headDim,
        int maxPositionEmbeddings,
        float rmsNormEps,
        boolean tieWordEmbeddings,
        RopeConfig rope) {

    public LlamaConfig {
        positive("vocab_size", vocabSize, 1 << 24);
        positive("hidden_size", hiddenSize, 1 << 20);
        positive("intermediate_size", intermediateSize, 1 << 22);
        positive("num_hidden_layers", numHiddenLayers, 4096);
        positive("num_attention_heads", numAttentionHeads, 1 << 16);
        positive("num_key_value_heads", numKeyValueHeads, 1 << 16);
        positive("head_dim", headDim, 1 << 14);
        positive("max_position_embeddings", maxPositionEmbeddings, 1 << 26);
        if (numAttentionHeads % numKeyValueHeads != 0) {
            throw new PanaceaException("num_attention_heads " + numAttentionHeads + " is not a multiple of num_key_value_heads " + numKeyValueHeads);
        }
        if (headDim % 2 != 0) {
            throw new PanaceaException("head_dim " + headDim + " is odd; rotary embedding needs an even one");
        }
        if (!(rmsNormEps > 0 && rmsNormEps < 1)) {
            throw new PanaceaException("rms_norm_eps " + rmsNormEps + " is not between 0 and 1");
        }
    }

    private static void positive(String name, int value, int limit) {
        if (value <= 0 || value > limit) {
            throw new PanaceaException(name + " is " + value + "; a Llama model has between 1 and " + limit);
        }
    }
}
