package dev.panacea.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.panacea.data.TokenizedExample;
import dev.panacea.eval.LossEvaluator;
import dev.panacea.io.PeftAdapter;
import dev.panacea.kernels.Backends;
import dev.panacea.kernels.CpuKernels;
import dev.panacea.kernels.CpuTier;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.Quantization;
import dev.panacea.lora.LoraAdapter;
import dev.panacea.lora.LoraConfig;
import dev.panacea.testing.TinyModel;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.Supplier;
import java.util.stream.Stream;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class SftTrainerTest {
    private static final List<TokenizedExample> EXAMPLES = TinyModel.examples(10, 21);

    private record Run(List<StepReport> steps, double before, double after, List<float[]> adapter) {}

    private static Run train(Supplier<Kernels> open, Quantization quantization, SftConfig config) {
        try (Kernels kernels = open.get();
                LlamaModel model = TinyModel.load(kernels, quantization, DType.BF16);
                LoraAdapter adapter = LoraAdapter.create(model, new LoraConfig(8, 16, LoraConfig.ALL_LINEAR, false), 9)) {
            double before = LossEvaluator.evaluate(model, EXAMPLES).loss();
            TrainingResult result = new SftTrainer(model, adapter, config).train(EXAMPLES, s -> {});
            double after = LossEvaluator.evaluate(model, EXAMPLES).loss();
            return new Run(result.steps(), before, after, adapter.toPeft("tiny").modules().values().stream().flatMap(t -> Stream.of(t.a(), t.b())).toList());
        }
    }

    private static SftConfig config(int steps) {
        return SftConfig.builder().maxSteps(steps).perDeviceTrainBatchSize(2).gradientAccumulationSteps(2).learningRate(1e-2).seed(4).build();
    }

    @Test
    void learnsWhatItIsShown() {
        Run run = train(Backends::open, Quantization.NF4, config(40));
        assertThat(run.after()).isLessThan(run.before() - 1);
    }

    @ParameterizedTest
    @MethodSource("dev.panacea.kernels.CpuTier#supported")
    void sameSeedSameBitsAtAnyNumberOfThreads(CpuTier tier) {
        Run one = train(() -> CpuKernels.open(tier, 1), Quantization.NF4, config(6));
        for (int threads : new int[] {1, 2, 3}) {
            Run again = train(() -> CpuKernels.open(tier, threads), Quantization.NF4, config(6));
            assertThat(again.adapter()).usingRecursiveComparison().isEqualTo(one.adapter());
            assertThat(again.steps().stream().map(StepReport::loss)).isEqualTo(one.steps().stream().map(StepReport::loss).toList());
        }
    }

    @Test
    void lastPartialStepOfAnEpochIsTakenAndCounted() {
        SftConfig config = SftConfig.builder().numTrainEpochs(2).perDeviceTrainBatchSize(4).gradientAccumulationSteps(2).seed(1).build();
        Run run = train(Backends::open, Quantization.NONE, config);
        assertThat(run.steps()).hasSize(4);
        long perEpoch = EXAMPLES.stream().mapToLong(TokenizedExample::length).sum();
        assertThat(run.steps().get(0).tokens() + run.steps().get(1).tokens()).isEqualTo(perEpoch);
        assertThat(run.steps().get(3).epoch()).isEqualTo(2);
    }

    @Test
    void reportsComeForEveryStepWithTheScheduledRate() {
        List<StepReport> heard = new ArrayList<>();
        SftConfig config = SftConfig.builder().maxSteps(10).perDeviceTrainBatchSize(2).warmupRatio(0.2).learningRate(1e-3).build();
        try (Kernels kernels = Backends.open();
                LlamaModel model = TinyModel.load(kernels, Quantization.NONE, DType.F32);
                LoraAdapter adapter = LoraAdapter.create(model, new LoraConfig(2, 4, List.of("q_proj"), true), 9)) {
            new SftTrainer(model, adapter, config).train(EXAMPLES, heard::add);
        }
        assertThat(heard).extracting(StepReport::step).containsExactly(1, 2, 3, 4, 5, 6, 7, 8, 9, 10);
        assertThat(heard.getFirst().learningRate()).isZero();
        assertThat(heard.get(2).learningRate()).isEqualTo(1e-3);
        assertThat(heard.getLast().remaining()).isZero();
    }

    @Test
    void aLossThatIsNoNumberIsAnErrorWithARemedy() {
        try (Kernels kernels = Backends.open(); LlamaModel model = TinyModel.load(kernels, Quantization.NONE, DType.F32); LoraAdapter good = TinyModel.adapter(model)) {
            PeftAdapter peft = good.toPeft("tiny");
            Arrays.fill(peft.modules().values().iterator().next().b(), Float.POSITIVE_INFINITY);
            try (LoraAdapter broken = LoraAdapter.fromPeft(model, peft)) {
                assertThatThrownBy(() -> new SftTrainer(model, broken, config(2)).train(EXAMPLES, s -> {})).isInstanceOf(PanaceaException.class)
                        .hasMessageContaining("lower the learning rate");
            }
        }
    }

    /** The first step of a warm-up changes nothing, which a run of few steps cannot afford. */
    @Test
    void aRunOfFewStepsHasNoWarmUp() {
        SftConfig config = SftConfig.builder().build();
        assertThat(IntStream.of(1, 2, 33, 34, 100, 101).map(config::warmupSteps)).containsExactly(0, 0, 0, 2, 3, 4);
        assertThat(SftConfig.builder().warmupRatio(0.9).build().warmupSteps(1)).isZero();
        assertThat(SftConfig.builder().warmupRatio(0).build().warmupSteps(1000)).isZero();
    }
}
