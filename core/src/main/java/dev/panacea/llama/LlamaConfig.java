package dev.panacea.llama;

import dev.panacea.kernels.PanaceaException;
import java.util.Objects;

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

    /** What the attention of every backend takes. */
    private static final int MOST_HEAD_DIM = 256;

    /** @throws PanaceaException naming the key, if no such model can be, or its heads are wider than the kernels' 256 */
    public LlamaConfig {
        Objects.requireNonNull(rope, "rope");
        positive("vocab_size", vocabSize, 1 << 24);
        positive("hidden_size", hiddenSize, 1 << 20);
        positive("intermediate_size", intermediateSize, 1 << 22);
        positive("num_hidden_layers", numHiddenLayers, 4096);
        positive("num_attention_heads", numAttentionHeads, 1 << 16);
        positive("num_key_value_heads", numKeyValueHeads, 1 << 16);
        if (headDim > MOST_HEAD_DIM) {
            throw new PanaceaException("head_dim is " + headDim + "; the attention kernels take up to " + MOST_HEAD_DIM + ". Choose a model with smaller heads");
        }
        positive("head_dim", headDim, MOST_HEAD_DIM);
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
            throw new PanaceaException(name + " is " + value + "; models with 1 to " + limit + " are supported");
        }
    }
}
