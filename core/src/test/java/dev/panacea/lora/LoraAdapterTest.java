package dev.panacea.lora;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.panacea.io.LoraTensors;
import dev.panacea.io.PeftAdapter;
import dev.panacea.io.PeftConfig;
import dev.panacea.kernels.Backends;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.Quantization;
import dev.panacea.testing.TestBackend;
import dev.panacea.testing.TinyModel;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.io.TempDir;

class LoraAdapterTest {
    private static final int[] TEXT = {1, 7, 300, 12, 9, 44};
    private static final String Q1 = "model.layers.1.self_attn.q_proj";
    private static final int WIDE = 700;

    @TempDir
    Path folder;

    @Test
    void anIncompleteAdapterOrOneForAnotherModelIsRefusedWithFileTensorAndBothModels() {
        try (Kernels kernels = Backends.open(); LlamaModel model = TinyModel.load(kernels, Quantization.NONE, DType.F32); LoraAdapter whole = TinyModel.adapter(model)) {
            PeftAdapter peft = whole.toPeft("owner/other-base");
            LoraTensors q = peft.modules().get(Q1);

            Map<String, LoraTensors> one = Map.of(Q1, q);
            refused(model, peft.config(), one, "lacks base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", "2 of 28 tensors");
            Map<String, LoraTensors> modules = new LinkedHashMap<>(peft.modules());
            modules.remove(Q1);
            refused(model, peft.config(), modules, "lacks base_model.model." + Q1 + ".lora_A.weight", "26 of 28 tensors");

            modules.put(Q1, tensors(q.rank(), q.in() + 2, q.out()));
            refused(model, peft.config(), modules, "base_model.model." + Q1 + ".lora_A.weight of shape [4, " + (q.in() + 2) + "]", "[4, " + q.in() + "]");
            modules.put(Q1, tensors(q.rank(), q.in(), q.out() + 2));
            refused(model, peft.config(), modules, "base_model.model." + Q1 + ".lora_B.weight of shape [" + (q.out() + 2) + ", 4]", "[" + q.out() + ", 4]");
            modules.put(Q1, q);
            modules.put("model.layers.2.self_attn.q_proj", q);
            refused(model, peft.config(), modules, "adapts model.layers.2.self_attn.q_proj, which the model lacks");

            PeftConfig withHead = PeftConfig.of(peft.config().baseModel(), 4, 8, 0, Stream.concat(LoraConfig.ALL_LINEAR.stream(), Stream.of("lm_head")).toList(), false);
            modules.remove("model.layers.2.self_attn.q_proj");
            refused(model, withHead, modules, "lacks base_model.model.lm_head.lora_A.weight", "28 of 30 tensors");
            modules.put("lm_head", tensors(4, model.config().hiddenSize(), TinyModel.VOCAB + 3));
            refused(model, withHead, modules, "a vocabulary of 515", "but the model's are 512");
            modules.put("lm_head", tensors(4, model.config().hiddenSize(), TinyModel.VOCAB));
            new PeftAdapter(withHead, modules).write(folder);
            assertThatThrownBy(() -> LoraAdapter.fromPeft(model, PeftAdapter.read(folder))).isInstanceOf(PanaceaException.class)
                    .hasMessageContainingAll("adapter_model.safetensors adapts lm_head, the output head", "merge_and_unload").hasMessageNotContaining("another model");
        }
    }

    private void refused(LlamaModel model, PeftConfig config, Map<String, LoraTensors> modules, String... parts) {
        new PeftAdapter(config, modules).write(folder);
        assertThatThrownBy(() -> LoraAdapter.fromPeft(model, PeftAdapter.read(folder)).close()).isInstanceOf(PanaceaException.class)
                .hasMessageStartingWith(folder.resolve("adapter_model.safetensors") + " ").hasMessageContainingAll(parts)
                .hasMessageContaining("it names owner/other-base; this is lora-gqa (safetensors ");
    }

    private static LoraTensors tensors(int rank, int in, int out) {
        return new LoraTensors(rank, in, out, new float[rank * in], new float[out * rank]);
    }

    /** A pair that is padded with zeros to a rank above every side of the model computes, and learns, what the small one does. */
    @TestFactory
    Stream<DynamicTest> aRankAboveTheLayersSidesIsComputed() {
        return TestBackend.all().stream().map(b -> DynamicTest.dynamicTest(b.name(), () -> {
            try (Kernels kernels = b.open().get(); LlamaModel model = TinyModel.load(kernels, Quantization.NONE, DType.F32); LoraAdapter narrow = TinyModel.adapter(model);
                    LoraAdapter wide = LoraAdapter.fromPeft(model, widened(narrow.toPeft("tiny")))) {
                assertThat(WIDE).isGreaterThan(model.config().intermediateSize());
                float[][] results = new float[2][];
                Map<String, float[]> gradients = null;
                for (LoraAdapter adapter : List.of(narrow, wide)) {
                    adapter.attachTo(model);
                    results[adapter == narrow ? 0 : 1] = model.logits(TEXT);
                    adapter.parameters().clearGradients();
                    model.losses(List.of(TEXT), IntStream.range(0, 5).toArray(), Arrays.copyOfRange(TEXT, 1, 6), 0.2f, true);
                    gradients = adapter == narrow ? adapter.gradients() : gradients;
                }
                for (int i = 0; i < results[0].length; i++) {
                    assertThat(Math.abs(results[0][i] - results[1][i])).isLessThan(1e-4f);
                }
                // The first rows of A are those of the narrow pair.
                gradients.forEach((name, g) -> {
                    if (name.endsWith("lora_A.weight")) {
                        float[] w = wide.gradients().get(name);
                        for (int i = 0; i < g.length; i++) {
                            assertThat(Math.abs(g[i] - w[i])).as(name).isLessThan(1e-4f);
                        }
                    }
                });
            }
        }));
    }

    private static PeftAdapter widened(PeftAdapter narrow) {
        Map<String, LoraTensors> modules = new LinkedHashMap<>();
        narrow.modules().forEach((name, t) -> {
            float[] a = Arrays.copyOf(t.a(), WIDE * t.in());
            float[] b = new float[t.out() * WIDE];
            for (int row = 0; row < t.out(); row++) {
                System.arraycopy(t.b(), row * t.rank(), b, row * WIDE, t.rank());
            }
            modules.put(name, new LoraTensors(WIDE, t.in(), t.out(), a, b));
        });
        PeftConfig config = PeftConfig.of(Optional.of("tiny"), WIDE, 2.0 * WIDE, 0, LoraConfig.ALL_LINEAR, false);
        return new PeftAdapter(config, modules);
    }

    @Test
    void aFreshPairMayHaveSuchARankButNotAnyNumber() {
        try (Kernels kernels = Backends.open(); LlamaModel model = TinyModel.load(kernels, Quantization.NONE, DType.F32)) {
            try (LoraAdapter adapter = LoraAdapter.create(model, new LoraConfig(WIDE, 8, List.of("k_proj"), false), 1)) {
                assertThat(adapter.parameterCount()).isGreaterThan(2L * WIDE * 64);
            }
            assertThatThrownBy(() -> LoraAdapter.create(model, new LoraConfig(1 << 24, 8, List.of("k_proj"), false), 1)).isInstanceOf(PanaceaException.class).hasMessageContaining("16777216");
        }
    }
}
