package dev.panacea.benchmarks;

import dev.panacea.io.Checkpoint;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.kernels.Q4Weight;
import dev.panacea.kernels.QuantType;
import dev.panacea.llama.LlamaConfig;
import dev.panacea.llama.RopeConfig;
import dev.panacea.quant.DoubleQuantization;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.SplittableRandom;

/**
 * A model of a given shape with random weights: its speed is that of the real one. Linear layers are there in NF4 too, as parts of one piece of random
 * bytes, so that a large model costs no time for quantization and no memory beyond its own.
 */
public final class RandomCheckpoint implements Checkpoint {
    private static final int BLOCK = 64;

    private final LlamaConfig config;
    private final Map<String, long[]> shapes = new LinkedHashMap<>();
    private final Arena arena = Arena.ofShared();
    private MemorySegment codes = MemorySegment.NULL;

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

    /**
     * A shape by its short name.
     *
     * @param name {@code 135m} (SmolLM2), {@code 1b} (Llama 3.2), {@code 8b} (Llama 3), or {@code tiny}, for tests
     */
    public static LlamaConfig named(String name) {
        return switch (name) {
            case "135m" -> smolLm2();
            case "1b" -> llama1b();
            case "8b" -> llama8b();
            case "tiny" -> new LlamaConfig(512, 64, 128, 2, 4, 2, 16, 2048, 1e-5f, true, new RopeConfig(10000, Optional.empty()));
            default -> throw new IllegalArgumentException("no shape " + name + "; there are 135m, 1b, 8b and tiny");
        };
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

    /** Random codes with scales of some hundredths; the segments live as long as this checkpoint. */
    @Override
    public Optional<Stored4Bit> stored4Bit(String name) {
        long[] shape = shape(name);
        if (shape.length != 2 || !name.contains(".layers.")) {
            return Optional.empty();
        }
        long elements = shape[0] * shape[1];
        long scales = Math.ceilDiv(elements, (long) BLOCK);
        MemorySegment nestedScales = arena.allocate(ValueLayout.JAVA_FLOAT, Math.ceilDiv(scales, (long) Q4Weight.NESTED_BLOCK));
        for (long i = 0; i < nestedScales.byteSize() / 4; i++) {
            nestedScales.setAtIndex(ValueLayout.JAVA_FLOAT, i, 0.02f);
        }
        MemorySegment levels = arena.allocateFrom(ValueLayout.JAVA_FLOAT, DoubleQuantization.levels());
        return Optional.of(new Stored4Bit(QuantType.NF4, BLOCK, codes().asSlice(0, Math.ceilDiv(elements, 2L)), codes().asSlice(0, scales),
                Optional.of(new Stored4Bit.Nested(levels, nestedScales, 0.05f))));
    }

    /** As many random bytes as the codes of the largest layer. */
    private MemorySegment codes() {
        if (codes.byteSize() == 0) {
            long largest = shapes.entrySet().stream().filter(e -> e.getKey().contains(".layers.") && e.getValue().length == 2).mapToLong(e -> e.getValue()[0] * e.getValue()[1])
                    .max().orElseThrow();
            codes = arena.allocate(Math.ceilDiv(largest, 2L) + 8);
            SplittableRandom random = new SplittableRandom(7);
            for (long at = 0; at + 8 <= codes.byteSize(); at += 8) {
                codes.set(ValueLayout.JAVA_LONG_UNALIGNED, at, random.nextLong());
            }
        }
        return codes;
    }

    @Override
    public void close() {
        arena.close();
    }
}
