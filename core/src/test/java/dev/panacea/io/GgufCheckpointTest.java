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

    /** llama.cpp's rules: the factor alone is linear, type none takes it away, the older key counts where the newer one is missing, and 0 is none. */
    @Test
    void stretchesPositionsAsLlamaCppDoes() {
        assertThat(factor(model.gguf().f32("llama.rope.scaling.factor", 2))).isEqualTo(2);
        assertThat(factor(model.gguf().f32("llama.rope.scaling.factor", 2).string("llama.rope.scaling.type", "linear"))).isEqualTo(2);
        assertThat(factor(model.gguf().f32("llama.rope.scaling.factor", 2).string("llama.rope.scaling.type", "none"))).isEqualTo(1);
        assertThat(factor(model.gguf().f32("llama.rope.scale_linear", 4))).isEqualTo(4);
        assertThat(factor(model.gguf().f32("llama.rope.scale_linear", 4).f32("llama.rope.scaling.factor", 2))).isEqualTo(2);
        assertThat(factor(model.gguf().f32("llama.rope.scaling.factor", 0))).isEqualTo(1);
        assertThat(factor(model.gguf())).isEqualTo(1);
        double[] plain = new RopeConfig(10000, Optional.empty()).frequencies(8);
        double[] halved = new RopeConfig(10000, 2, Optional.empty(), List.of()).frequencies(8);
        for (int j = 0; j < plain.length; j++) {
            assertThat(halved[j]).isEqualTo(plain[j] / 2);
        }
    }

    private double factor(GgufBuilder builder) {
        try (Checkpoint c = Checkpoints.open(builder.write(folder.resolve("factor.gguf")))) {
            return c.config().rope().factor();
        }
    }

    @Test
    void aKeyThatWouldChangeTheArithmeticIsRefusedUnlessItDoesNothing() {
        for (String[] key : new String[][] {{"rope.scaling.attn_factor", "1", "1.5"}, {"logit_scale", "1", "0.25"}, {"embedding_scale", "0", "12"}, {"residual_scale", "1", "0.22"},
            {"attention.scale", "0.35355338", "0.5"}, {"rope.scaling.yarn_ext_factor", "-1", "1"}, {"attn_logit_softcapping", "0", "50"}, {"an_invention_of_2031", "0", "3"}}) {
            try (Checkpoint c = Checkpoints.open(model.gguf().f32("llama." + key[0], Float.parseFloat(key[1])).write(folder.resolve("neutral.gguf")))) {
                assertThat(c.config()).isEqualTo(TinyLlama.CONFIG);
            }
            refused(model.gguf().f32("llama." + key[0], Float.parseFloat(key[2])), "llama." + key[0] + " is " + key[2] + ", which would change the arithmetic");
        }
        refused(model.gguf().u32("llama.attention.sliding_window", 64), "llama.attention.sliding_window is 64");
        refused(model.gguf().key("llama.attention.causal", 7, b -> b.u8(0)), "llama.attention.causal is 0");
        refused(model.gguf().string("llama.attention.kind", "flash"), "llama.attention.kind is set");
        refused(model.gguf().f32("llama.rope.scaling.factor", -2), "llama.rope.scaling.factor is -2");
        refused(model.gguf().key("split.count", 2, b -> b.raw(new byte[] {3, 0})), "one of the 3 parts", "split.count", "llama-gguf-split");
        try (Checkpoint c = Checkpoints.open(model.gguf().key("split.count", 2, b -> b.raw(new byte[] {0, 0})).string("llama.tensor_data_layout", "Meta AI original pth")
                .write(folder.resolve("joined.gguf")))) {
            assertThat(c.config()).isEqualTo(TinyLlama.CONFIG);
        }
    }

    @Test
    void namesTheFileOnce() {
        Path bad = folder.resolve("once.gguf");
        GgufBuilder array = new GgufBuilder().string("general.architecture", "llama").u32("llama.embedding_length", 32)
                .key("llama.feed_forward_length", 9, b -> b.u32(4).u64(2).u32(64).u32(64));
        assertThatThrownBy(() -> Checkpoints.open(model.ggufTensors(array, List.of()).write(bad)).close())
                .hasMessage(bad + ": llama.feed_forward_length is an array of U32; a whole number is expected. Convert the model again with a current llama.cpp");
    }

    @Test
    void refusesByNameWhatItCannotRun() {
        refused(model.ggufTensors(TinyLlama.ggufKeys(), List.of("model.layers.1.mlp.up_proj.weight")), "lacks the tensor blk.1.ffn_up.weight");
        refused(model.gguf().u32("llama.attention.value_length", 4), "only equal numbers are supported");
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
        refused(model.ggufTensors(TinyLlama.ggufKeys(), List.of("model.norm.weight")), "lacks the tensor output_norm.weight");
        refused(model.ggufTensors(TinyLlama.ggufKeys(), List.of("model.norm.weight")).tensor("output_norm.weight", new long[] {16}, new float[16]), "tensor output_norm.weight has the shape [16]", "[32]");
        refused(model.ggufTensors(TinyLlama.ggufKeys(), List.of("model.embed_tokens.weight")), "token_embd.weight is missing");
        refused(model.gguf().tensor("blk.2.attn_norm.weight", new long[] {32}, new float[32]), "has the tensor blk.2.attn_norm.weight");
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
