package dev.panacea.train;

import static org.assertj.core.api.Assertions.assertThat;

import dev.panacea.data.Batches;
import dev.panacea.data.Targets;
import dev.panacea.data.TokenizedExample;
import dev.panacea.kernels.Backends;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.Kernels;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.Pass;
import dev.panacea.llama.Quantization;
import dev.panacea.lora.LoraAdapter;
import dev.panacea.optim.AdamW;
import dev.panacea.testing.KernelsProxy;
import dev.panacea.testing.TestBackend;
import dev.panacea.testing.TinyModel;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

/** Checkpointing changes the memory of a step and nothing else; and a step needs exactly what was planned. */
class GradientCheckpointingTest {
    private static final List<TokenizedExample> EXAMPLES = TinyModel.examples(7, 31);

    private record Gradients(double loss, Map<String, float[]> values) {}

    private static Gradients gradients(Kernels kernels, Quantization quantization, DType type, boolean checkpointing) {
        try (LlamaModel model = TinyModel.load(kernels, quantization, type);
                LoraAdapter adapter = TinyModel.adapter(model);
                AdamW optimizer = new AdamW(kernels, adapter.parameters(), 0.9, 0.999, 1e-8, 0)) {
            adapter.attachTo(model);
            OptimizerStep step = new OptimizerStep(model, adapter.parameters(), optimizer, 1, checkpointing);
            double loss = step.gradients(new Batches.Step(List.of(EXAMPLES.subList(0, 4), EXAMPLES.subList(4, 7)))).loss();
            return new Gradients(loss, adapter.gradients());
        }
    }

    @ParameterizedTest
    @MethodSource("dev.panacea.testing.TestBackend#all")
    void theGradientsAreTheSameBits(TestBackend backend) {
        try (Kernels kernels = backend.open().get()) {
            for (Quantization q : List.of(Quantization.NF4, Quantization.NONE)) {
                for (DType type : List.of(DType.BF16, DType.F32)) {
                    Gradients kept = gradients(kernels, q, type, false);
                    Gradients again = gradients(kernels, q, type, true);
                    assertThat(again.loss()).isEqualTo(kept.loss());
                    assertThat(again.values().keySet()).isEqualTo(kept.values().keySet());
                    kept.values().forEach((name, g) -> assertThat(again.values().get(name)).as(name + " " + q + " " + type).isEqualTo(g));
                    assertThat(kept.values().get("model.layers.0.self_attn.q_proj.lora_A.weight")[0]).as("a gradient that went through all layers").isNotZero();
                }
            }
        }
    }

    @ParameterizedTest
    @EnumSource(Pass.class)
    void aStepNeedsWhatItsPlanSaysToTheByte(Pass pass) {
        try (Kernels kernels = Backends.open()) {
            for (List<TokenizedExample> batch : List.of(EXAMPLES, EXAMPLES.subList(0, 1), EXAMPLES.subList(2, 5), TinyModel.examples(40, 3))) {
                try (LlamaModel model = TinyModel.load(kernels, Quantization.NF4, DType.BF16); LoraAdapter adapter = TinyModel.adapter(model)) {
                    adapter.attachTo(model);
                    Targets t = Targets.of(batch);
                    long planned = model.stepBytes(t.sequences(), t.rows(), t.ids(), pass);
                    assertThat(model.peakStepBytes()).as("a plan uses no memory").isZero();
                    model.losses(t.sequences(), t.rows(), t.ids(), 1, pass);
                    assertThat(model.peakStepBytes()).isEqualTo(planned);
                }
            }
        }
    }

    @Test
    void checkpointingSavesMemoryAndAnAdapterCostsSome() {
        try (Kernels kernels = Backends.open(); LlamaModel model = TinyModel.load(kernels, Quantization.NF4, DType.BF16); LoraAdapter adapter = TinyModel.adapter(model)) {
            Targets t = Targets.of(TinyModel.examples(40, 3));
            long bare = model.stepBytes(t.sequences(), t.rows(), t.ids(), Pass.TRAINING);
            adapter.attachTo(model);
            long kept = model.stepBytes(t.sequences(), t.rows(), t.ids(), Pass.TRAINING);
            assertThat(kept).as("the plan knows of the adapter").isGreaterThan(bare);
            assertThat(model.stepBytes(t.sequences(), t.rows(), t.ids(), Pass.TRAINING_CHECKPOINTED)).isLessThan(kept);
            assertThat(model.stepBytes(t.sequences(), t.rows(), t.ids(), Pass.EVALUATION)).isLessThan(kept);
        }
    }

    @ParameterizedTest
    @EnumSource(value = GradientCheckpointing.class, names = {"ON", "OFF"})
    void noMemoryIsAllocatedOnceTrainingHasBegun(GradientCheckpointing checkpointing) {
        AtomicInteger allocations = new AtomicInteger();
        List<Integer> after = new ArrayList<>();
        try (Kernels kernels = KernelsProxy.watching(Backends.open(), call -> allocations.addAndGet(call.equals("allocate") ? 1 : 0)); LlamaModel model = TinyModel.load(kernels, Quantization.NF4, DType.BF16); LoraAdapter adapter = TinyModel.adapter(model)) {
            SftConfig config = SftConfig.builder().numTrainEpochs(3).perDeviceTrainBatchSize(2).gradientAccumulationSteps(2).seed(4).gradientCheckpointing(checkpointing).build();
            int[] before = new int[1];
            TrainingResult result = new SftTrainer(model, adapter, config).train(EXAMPLES, new TrainingListener() {
                @Override
                public void onPlan(MemoryPlan plan) {
                    before[0] = allocations.get();
                }

                @Override
                public void onStep(StepReport step) {
                    after.add(allocations.get() - before[0]);
                }
            });
            assertThat(before[0]).isPositive();
            assertThat(after).hasSize(6).containsOnly(0);
            assertThat(result.plan().checkpointing()).isEqualTo(checkpointing == GradientCheckpointing.ON);
            assertThat(model.peakStepBytes()).isEqualTo(result.plan().step());
        }
    }
}
