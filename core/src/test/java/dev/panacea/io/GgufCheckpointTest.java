package dev.panacea.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.panacea.kernels.PanaceaException;
import dev.panacea.llama.RopeConfig;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import org.assertj.core.api.ThrowableAssert;
import org.assertj.core.data.Percentage;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class GgufCheckpointTest {
    @TempDir
    Path folder;
    private final TinyLlama model = new TinyLlama(3);

    @Test
    void givesNamesShapesAndRowsOfHuggingFace() {
        try (Checkpoint c = Checkpoints.open(model.gguf().write(folder.resolve("m.gguf")))) {
            assertThat(c.config()).isEqualTo(TinyLlama.CONFIG);
            assertThat(c.names()).containsExactlyInAnyOrderElementsOf(model.weights.keySet());
            assertThat(c.description()).isEqualTo("m.gguf (GGUF F32, 83 kB)");
            model.weights.forEach((name, expected) -> {
                assertThat(c.shape(name)).containsExactly(model.shapes.get(name));
                assertThat(c.storedType(name)).isEqualTo("F32");
                assertThat(c.stored4Bit(name)).isEmpty();
                float[] values = new float[expected.length];
                c.read(name, 0, values.length, values);
                assertThat(values).as(name).isEqualTo(expected);
                c.read(name, 5, 20, values);
                assertThat(Arrays.copyOf(values, 20)).as(name).isEqualTo(Arrays.copyOfRange(expected, 5, 25));
            });
            float[] middle = new float[100];
            c.read("model.layers.1.self_attn.q_proj.weight", 41, 100, middle);
            assertThat(middle).isEqualTo(Arrays.copyOfRange(model.weights.get("model.layers.1.self_attn.q_proj.weight"), 41, 141));
            assertThatThrownBy(() -> c.shape("model.layers.2.mlp.up_proj.weight")).isInstanceOf(PanaceaException.class).hasMessageContaining("m.gguf");
            assertThatThrownBy(() -> c.read("model.norm.weight", 30, 3, middle)).isInstanceOf(IllegalArgumentException.class);
        }
    }

    @Test
    void tiesTheHeadToTheEmbeddingWhereThereIsNoOutput() {
        GgufBuilder builder = model.ggufTensors(TinyLlama.ggufKeys(), List.of("lm_head.weight"));
        try (Checkpoint c = Checkpoints.open(builder.write(folder.resolve("tied.gguf")))) {
            assertThat(c.config().tieWordEmbeddings()).isTrue();
            assertThat(c.names()).doesNotContain("lm_head.weight");
        }
    }

    @Test
    void dividesRotaryFrequenciesAsLlama3Does() {
        RopeConfig llama3 = new RopeConfig(10000, Optional.of(new RopeConfig.Llama3Scaling(8, 1, 4, 64)));
        double[] plain = new RopeConfig(10000, Optional.empty()).frequencies(8);
        double[] scaled = llama3.frequencies(8);
        float[] divisors = new float[4];
        for (int j = 0; j < 4; j++) {
            divisors[j] = (float) (plain[j] / scaled[j]);
        }
        assertThat(divisors).contains(8f);
        Path path = model.gguf().tensor("rope_freqs.weight", new long[] {4}, divisors).write(folder.resolve("rope.gguf"));
        try (Checkpoint c = Checkpoints.open(path)) {
            assertThat(c.names()).doesNotContain("rope_freqs.weight");
            double[] frequencies = c.config().rope().frequencies(8);
            for (int j = 0; j < 4; j++) {
                assertThat(frequencies[j]).isCloseTo(scaled[j], Percentage.withPercentage(1e-4));
            }
        }
    }

    @Test
    void refusesByNameWhatItCannotRun() {
        refused(new GgufBuilder().string("general.architecture", "qwen2"), "general.architecture is qwen2");
        refused(new GgufBuilder().u32("x", 1), "general.architecture is missing");
        refused(new GgufBuilder().string("general.architecture", "llama").string("general.type", "adapter"), "adapter");
        refused(model.gguf().u32("llama.expert_count", 8), "llama.expert_count 8");
        refused(model.gguf().string("llama.rope.scaling.type", "yarn"), "yarn");
        refused(model.gguf().u32("llama.attention.key_length", 16), "only equal numbers are supported");
        refused(model.gguf().u32("llama.vocab_size", 25), "llama.vocab_size is 25");
        refused(model.gguf().tensor("blk.0.attn_q.bias", new long[] {32}, new float[32]), "blk.0.attn_q.bias");
        refused(model.gguf().tensor("rope_freqs.weight", new long[] {3}, new float[] {1, 1, 1}), "rope_freqs.weight");
        refused(model.gguf().tensor("rope_freqs.weight", new long[] {4}, new float[] {1, 1, Float.NaN, 1}), "NaN");
        refused(model.ggufTensors(TinyLlama.ggufKeys(), List.of("model.norm.weight")), "lacks the tensor model.norm.weight");
        refused(model.ggufTensors(TinyLlama.ggufKeys(), List.of("model.norm.weight")).tensor("output_norm.weight", new long[] {16}, new float[16]), "[16]", "[32]");
        refused(model.ggufTensors(TinyLlama.ggufKeys(), List.of("model.embed_tokens.weight")), "token_embd.weight is missing");
        refused(model.gguf().tensor("blk.2.attn_norm.weight", new long[] {32}, new float[32]), "model.layers.2.input_layernorm.weight");
    }

    @Test
    void refusesWeightsThatAreNotFinite() {
        model.weights.get("model.layers.0.mlp.up_proj.weight")[77] = Float.NaN;
        try (Checkpoint c = Checkpoints.open(model.gguf().write(folder.resolve("nan.gguf")))) {
            float[] values = new float[100];
            c.read("model.layers.0.mlp.up_proj.weight", 0, 77, values);
            assertThatThrownBy(() -> c.read("model.layers.0.mlp.up_proj.weight", 50, 50, values)).isInstanceOf(PanaceaException.class)
                    .hasMessageContaining("nan.gguf").hasMessageContaining("model.layers.0.mlp.up_proj.weight");
        }
    }

    private void refused(GgufBuilder builder, String... parts) {
        ThrowableAssert.ThrowingCallable open = () -> Checkpoints.open(builder.write(folder.resolve("bad.gguf"))).close();
        assertThatThrownBy(open).isInstanceOf(PanaceaException.class).hasMessageContaining("bad.gguf").hasMessageContainingAll(parts);
    }
}
