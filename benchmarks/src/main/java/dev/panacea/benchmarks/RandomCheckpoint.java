package dev.panacea.benchmarks;

import dev.panacea.io.Checkpoint;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.llama.LlamaConfig;
import dev.panacea.llama.RopeConfig;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/** A model of a given shape with random weights: its speed is that of the real one. */
public final class RandomCheckpoint implements Checkpoint {
    private final LlamaConfig config;
    private final Map<String, long[]> shapes = new LinkedHashMap<>();

    public RandomCheckpoint(LlamaConfig config) {
        this.config = config;
        long h = config.hiddenSize();
        long q = (long) config.numAttentionHeads() * config.headDim();
        long kv = (long) config.numKeyValueHeads() * config.headDim();
        shapes.put("model.embed_tokens.weight", new long[] {config.vocabSize(), h});
        if (!config.tieWordEmbeddings()) {
            shapes.put("lm_head.weight", new long[] {config.vocabSize(), h});
        }
        shapes.put("model.norm.weight", new long[] {h});
        for (int i = 0; i < config.numHiddenLayers(); i++) {
            String p = "model.layers." + i + ".";
            shapes.put(p + "input_layernorm.weight", new long[] {h});
            shapes.put(p + "post_attention_layernorm.weight", new long[] {h});
            shapes.put(p + "self_attn.q_proj.weight", new long[] {q, h});
            shapes.put(p + "self_attn.k_proj.weight", new long[] {kv, h});
            shapes.put(p + "self_attn.v_proj.weight", new long[] {kv, h});
            shapes.put(p + "self_attn.o_proj.weight", new long[] {h, q});
            shapes.put(p + "mlp.gate_proj.weight", new long[] {config.intermediateSize(), h});
            shapes.put(p + "mlp.up_proj.weight", new long[] {config.intermediateSize(), h});
            shapes.put(p + "mlp.down_proj.weight", new long[] {h, config.intermediateSize()});
        }
    }

    /** The shape of SmolLM2-135M. */
    public static LlamaConfig smolLm2() {
        return new LlamaConfig(49152, 576, 1536, 30, 9, 3, 64, 8192, 1e-5f, true, new RopeConfig(100000, Optional.empty()));
    }

    /** The shape of Llama 3.2 1B. */
    public static LlamaConfig llama1b() {
        return new LlamaConfig(128256, 2048, 8192, 16, 32, 8, 64, 131072, 1e-5f, true,
                new RopeConfig(500000, Optional.of(new RopeConfig.Llama3Scaling(32, 1, 4, 8192))));
    }

    /** The shape of Llama 3 8B. */
    public static LlamaConfig llama8b() {
        return new LlamaConfig(128256, 4096, 14336, 32, 32, 8, 128, 8192, 1e-5f, false, new RopeConfig(500000, Optional.empty()));
    }

    @Override
    public LlamaConfig config() {
        return config;
    }

    @Override
    public String description() {
        return "random weights";
    }

    @Override
    public Set<String> names() {
        return shapes.keySet();
    }

    @Override
    public long[] shape(String name) {
        long[] shape = shapes.get(name);
        if (shape == null) {
            throw new PanaceaException("random weights have no tensor " + name);
        }
        return shape.clone();
    }

    @Override
    public String storedType(String name) {
        return "F32";
    }

    /** Values like those of a trained model: roughly normal, deviation 0.04; 1 for norms. */
    @Override
    public void read(String name, long offset, int count, float[] destination) {
        boolean norm = shape(name).length == 1;
        long state = name.hashCode() * 0x9E3779B97F4A7C15L + offset;
        for (int i = 0; i < count; i++) {
            state = state * 6364136223846793005L + 1442695040888963407L;
            int sum = (int) (state >>> 56) + (int) (state >>> 48 & 255) + (int) (state >>> 40 & 255) + (int) (state >>> 32 & 255);
            destination[i] = norm ? 1 : (sum - 510) * (0.04f / 148);
        }
    }

    @Override
    public Optional<Stored4Bit> stored4Bit(String name) {
        return Optional.empty();
    }

    @Override
    public void close() {}
}
