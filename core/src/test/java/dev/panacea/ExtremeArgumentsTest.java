package dev.panacea;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.catchThrowable;

import dev.panacea.data.Batches;
import dev.panacea.data.Splits;
import dev.panacea.data.TokenizedExample;
import dev.panacea.eval.Bleu;
import dev.panacea.eval.ChrF;
import dev.panacea.eval.LossEvaluator;
import dev.panacea.generate.GenerationConfig;
import dev.panacea.generate.Generator;
import dev.panacea.io.LoraTensors;
import dev.panacea.io.PeftAdapter;
import dev.panacea.kernels.Backends;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.llama.LlamaConfig;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.Pass;
import dev.panacea.llama.Quantization;
import dev.panacea.llama.RopeConfig;
import dev.panacea.lora.LoraAdapter;
import dev.panacea.lora.LoraConfig;
import dev.panacea.optim.AdamW;
import dev.panacea.optim.AdamW8bit;
import dev.panacea.optim.LrSchedule;
import dev.panacea.optim.LrScheduleType;
import dev.panacea.optim.OptimizerType;
import dev.panacea.testing.KernelsProxy;
import dev.panacea.testing.TinyModel;
import dev.panacea.train.GradientCheckpointing;
import dev.panacea.train.SftConfig;
import dev.panacea.train.SftTrainer;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** Arguments that make no sense: each is an error in words, or has its right result, and the model can be used afterwards. */
class ExtremeArgumentsTest {
    private static final int[] NO_STOP = {};
    private static final double[] NO_NUMBERS = {Double.NaN, Double.POSITIVE_INFINITY, Double.NEGATIVE_INFINITY, -1};
    private static Kernels kernels;
    private static LlamaModel model;

    private final Map<String, Runnable> cases = new LinkedHashMap<>();

    @BeforeAll
    static void open() {
        kernels = Backends.open();
        model = TinyModel.load(kernels, Quantization.NONE, DType.F32);
    }

    @AfterAll
    static void close() {
        model.close();
        kernels.close();
    }

    @Test
    void generation() {
        Generator generator = new Generator(model);
        GenerationConfig greedy = GenerationConfig.greedy(4);
        for (int[] prompt : new int[][] {{}, {-1}, {TinyModel.VOCAB}, {5, Integer.MAX_VALUE}, {Integer.MIN_VALUE}, new int[model.config().maxPositionEmbeddings()],
            new int[model.config().maxPositionEmbeddings() + 1]}) {
            refused("prompt of " + prompt.length, () -> generator.generate(prompt, greedy, NO_STOP, id -> {}));
            refused("prompts, one of " + prompt.length, () -> generator.generate(List.of(new int[] {5}, prompt), greedy, NO_STOP));
            refused("logits of " + prompt.length, () -> model.logits(prompt.length <= model.config().maxPositionEmbeddings() && prompt.length > 2 ? new int[0] : prompt));
        }
        refused("no prompt", () -> generator.generate((int[]) null, greedy, NO_STOP, id -> {}));
        refused("no prompts", () -> generator.generate((List<int[]>) null, greedy, NO_STOP));
        refused("no settings", () -> generator.generate(new int[] {5}, null, NO_STOP, id -> {}));
        refused("no stop tokens", () -> generator.generate(new int[] {5}, greedy, null, id -> {}));
        refused("no listener", () -> generator.generate(new int[] {5}, greedy, NO_STOP, null));
        refused("no model", () -> new Generator(null));
        for (int n : new int[] {0, -1, Integer.MIN_VALUE}) {
            refused("maxNewTokens " + n, () -> GenerationConfig.greedy(n));
            refused("topK " + (n - 1), () -> new GenerationConfig(1, 1, n - 1 < 0 ? n - 1 : -1, 1, 1, 0));
        }
        for (double x : NO_NUMBERS) {
            refused("temperature " + x, () -> GenerationConfig.sampling(1, x, 1, 0));
            refused("topP " + x, () -> GenerationConfig.sampling(1, 1, x, 0));
            refused("repetitionPenalty " + x, () -> new GenerationConfig(1, 1, 0, 1, x, 0));
        }
        refused("topP 0", () -> GenerationConfig.sampling(1, 1, 0, 0));
        refused("topP 1.1", () -> GenerationConfig.sampling(1, 1, 1.1, 0));
        refused("repetitionPenalty 0", () -> new GenerationConfig(1, 1, 0, 1, 0, 0));
        refused("repetitionPenalty 1e300", () -> new GenerationConfig(1, 1, 0, 1, 1e300, 0));
        assertThatThrownBy(() -> GenerationConfig.greedy(-3)).hasMessage("maxNewTokens is -3; it must be positive");
        check();
        assertThat(generator.generate(List.of(), greedy, NO_STOP)).isEmpty();
    }

    /** The answer ends where the context does, however long it may be. */
    @Test
    void theLongestAnswerFillsTheContext() {
        int context = model.config().maxPositionEmbeddings();
        int[] prompt = new int[context - 5];
        Arrays.fill(prompt, 7);
        for (int n : new int[] {Integer.MAX_VALUE, Integer.MAX_VALUE - context + 4, 6}) {
            assertThat(new Generator(model).generate(prompt, GenerationConfig.greedy(n), NO_STOP, id -> {})).hasSize(5);
        }
    }

    /** In the limit of cold, sampling is greedy; in that of heat, anything may come, and comes. */
    @Test
    void extremeTemperatures() {
        Generator generator = new Generator(model);
        int[] prompt = {5, 9, 11};
        int[] greedy = generator.generate(prompt, GenerationConfig.greedy(12), NO_STOP, id -> {});
        for (double cold : new double[] {Double.MIN_VALUE, 1e-310, 1e-300, 1e-30}) {
            for (double topP : new double[] {1, 0.5, Double.MIN_VALUE}) {
                assertThat(generator.generate(prompt, GenerationConfig.sampling(12, cold, topP, 3), NO_STOP, id -> {})).as(cold + " " + topP).isEqualTo(greedy);
            }
            assertThat(generator.generate(prompt, new GenerationConfig(12, cold, Integer.MAX_VALUE, 1, 1, 3), NO_STOP, id -> {})).isEqualTo(greedy);
        }
        assertThat(generator.generate(prompt, GenerationConfig.sampling(12, Double.MAX_VALUE, 1, 3), NO_STOP, id -> {})).hasSize(12).isNotEqualTo(greedy);
    }

    @Test
    void predictionsThatAreNoNumbers() {
        try (LoraAdapter fresh = LoraAdapter.create(model, new LoraConfig(1, 1, List.of("down_proj"), false), 1)) {
            PeftAdapter damaged = fresh.toPeft("x");
            for (LoraTensors t : damaged.modules().values()) {
                Arrays.fill(t.a(), 1e38f);
                Arrays.fill(t.b(), 1e38f);
            }
            Kernels far = KernelsProxy.answering(kernels, call -> {}, Map.of("readsHostMemory", arguments -> false));
            for (Kernels k : List.of(kernels, far)) {
                try (LlamaModel m = TinyModel.load(k, Quantization.NONE, DType.F32); LoraAdapter adapter = LoraAdapter.fromPeft(m, damaged)) {
                    adapter.attachTo(m);
                    for (GenerationConfig config : List.of(GenerationConfig.greedy(3), GenerationConfig.sampling(3, 0.7, 0.9, 1), GenerationConfig.sampling(3, 1, 1, 1),
                            new GenerationConfig(3, 0, 0, 1, 1.1, 0), new GenerationConfig(3, 1, 40, 1, 1, 0))) {
                        assertThatThrownBy(() -> new Generator(m).generate(new int[] {5, 6}, config, NO_STOP, id -> {})).as(config.toString()).isInstanceOf(PanaceaException.class)
                                .hasMessageContaining("where a number is needed").hasMessageContaining("adapter");
                    }
                }
            }
        }
    }

    @Test
    void settingsOfTraining() {
        for (double x : NO_NUMBERS) {
            refused("epochs " + x, () -> SftConfig.builder().numTrainEpochs(x).build());
            refused("rate " + x, () -> SftConfig.builder().learningRate(x).build());
            refused("warm-up " + x, () -> SftConfig.builder().warmupRatio(x).build());
            refused("weight decay " + x, () -> SftConfig.builder().weightDecay(x).build());
            refused("beta 1 " + x, () -> SftConfig.builder().adamBetas(x, 0.9).build());
            refused("beta 2 " + x, () -> SftConfig.builder().adamBetas(0.9, x).build());
            refused("epsilon " + x, () -> SftConfig.builder().adamEpsilon(x).build());
            refused("alpha " + x, () -> new LoraConfig(1, x, LoraConfig.ALL_LINEAR, false));
            refused("peak " + x, () -> new LrSchedule(LrScheduleType.COSINE, x, 1, 10));
        }
        refused("clipping NaN", () -> SftConfig.builder().maxGradNorm(Double.NaN).build());
        for (int n : new int[] {0, -1, Integer.MIN_VALUE}) {
            refused("batch " + n, () -> SftConfig.builder().perDeviceTrainBatchSize(n).build());
            refused("accumulation " + n, () -> SftConfig.builder().gradientAccumulationSteps(n).build());
            refused("length " + n, () -> SftConfig.builder().maxSeqLength(n).build());
            refused("rank " + n, () -> new LoraConfig(n, 1, LoraConfig.ALL_LINEAR, false));
            refused("batches of " + n, () -> new Batches(List.of(), n, 1, 0));
        }
        refused("steps -1", () -> SftConfig.builder().maxSteps(-1).build());
        refused("no schedule", () -> SftConfig.builder().lrSchedulerType(null).build());
        refused("no optimizer", () -> SftConfig.builder().optim(null).build());
        refused("no checkpointing", () -> SftConfig.builder().gradientCheckpointing(null).build());
        refused("no schedule type", () -> new LrSchedule(null, 1, 1, 10));
        refused("warm-up of -1", () -> new LrSchedule(LrScheduleType.LINEAR, 1, -1, 10));
        refused("step -1", () -> new LrSchedule(LrScheduleType.LINEAR, 1, 0, 10).at(-1));
        refused("no modules", () -> new LoraConfig(1, 1, List.of(), false));
        refused("wrong module", () -> new LoraConfig(1, 1, List.of("x"), false));
        check();
        assertThat(new LrSchedule(LrScheduleType.COSINE, 1, 0, Integer.MAX_VALUE).at(Integer.MAX_VALUE)).isLessThan(1e-9);
        assertThat(new LrSchedule(LrScheduleType.LINEAR, 1, Integer.MAX_VALUE, 0).at(0)).isZero();
        assertThat(new LoraConfig(1, 1, List.of("q_proj", "q_proj"), false).targetModules()).containsExactly("q_proj");
        try (LoraAdapter adapter = TinyModel.adapter(model)) {
            List<TokenizedExample> few = TinyModel.examples(3, 1);
            for (double x : new double[] {Double.NaN, -1, 1, 2}) {
                refused("AdamW's beta " + x, () -> new AdamW(kernels, adapter.parameters(), x, 0.9, 1e-8, 0).close());
                refused("AdamW8bit's beta " + x, () -> new AdamW8bit(kernels, adapter.parameters(), 0.9, x, 1e-8, 0).close());
                refused("AdamW's epsilon " + x, () -> new AdamW(kernels, adapter.parameters(), 0.9, 0.9, x, 0).close());
                refused("AdamW8bit's weight decay " + x, () -> new AdamW8bit(kernels, adapter.parameters(), 0.9, 0.9, 1e-8, x).close());
            }
            refused("no examples", () -> trainer(adapter, 1).train(List.of(), report -> {}));
            refused("no target", () -> trainer(adapter, 1).train(List.of(withoutTarget()), report -> {}));
            refused("more epochs than an int has steps", () -> trainer(adapter, 1e12).train(few, report -> {}));
            refused("rank beyond the layers", () -> LoraAdapter.create(model, new LoraConfig(Integer.MAX_VALUE, 1, LoraConfig.ALL_LINEAR, false), 1));
            check();
            SftConfig largest = SftConfig.builder().maxSteps(1).perDeviceTrainBatchSize(Integer.MAX_VALUE).gradientAccumulationSteps(Integer.MAX_VALUE)
                    .maxSeqLength(Integer.MAX_VALUE).seed(Long.MIN_VALUE).optim(OptimizerType.ADAMW_8BIT).gradientCheckpointing(GradientCheckpointing.ON).build();
            assertThat(new SftTrainer(model, adapter, largest).train(few, report -> {}).steps()).hasSize(1);
            model.detach();
        }
    }

    private static SftTrainer trainer(LoraAdapter adapter, double epochs) {
        return new SftTrainer(model, adapter, SftConfig.builder().numTrainEpochs(epochs).build());
    }

    private static TokenizedExample withoutTarget() {
        return new TokenizedExample(new int[] {5, 6, 7}, new int[] {-100, -100, -100});
    }

    @Test
    void evaluation() {
        refused("no examples", () -> LossEvaluator.evaluate(model, List.of()));
        refused("no target", () -> LossEvaluator.evaluate(model, List.of(withoutTarget(), withoutTarget())));
        refused("empty example", () -> LossEvaluator.evaluate(model, List.of(new TokenizedExample(new int[0], new int[0]))));
        refused("label out of the vocabulary", () -> LossEvaluator.evaluate(model, List.of(new TokenizedExample(new int[] {5, 6}, new int[] {-100, TinyModel.VOCAB}))));
        refused("negative label", () -> LossEvaluator.evaluate(model, List.of(new TokenizedExample(new int[] {5, 6}, new int[] {-100, -7}))));
        refused("row that is not there", () -> model.losses(List.of(new int[] {5, 6}), new int[] {2}, new int[] {6}, 1, false));
        refused("row -1", () -> model.losses(List.of(new int[] {5, 6}), new int[] {-1}, new int[] {6}, 1, false));
        refused("more rows than targets", () -> model.losses(List.of(new int[] {5, 6}), new int[] {0, 1}, new int[] {6}, 1, false));
        refused("no sequences", () -> model.losses(List.of(), new int[] {0}, new int[] {6}, 1, false));
        for (Bleu.Smoothing s : Bleu.Smoothing.values()) {
            refused("BLEU of nothing", () -> Bleu.corpus(List.of(), List.of(List.of()), s));
            refused("BLEU without references", () -> Bleu.corpus(List.of("a"), List.of(), s));
            assertThat(Bleu.corpus(List.of(""), List.of(List.of("")), s).score()).isZero();
            assertThat(Bleu.sentence("", List.of("a b"), s).score()).isZero();
        }
        for (ChrF c : ChrF.values()) {
            refused("chrF of nothing", () -> c.corpus(List.of(), List.of(List.of())));
            refused("chrF without references", () -> c.sentence("a", List.of()));
            assertThat(c.sentence("", List.of(""))).isZero();
        }
        for (double x : new double[] {Double.NaN, 0, 1, -1, Double.POSITIVE_INFINITY}) {
            refused("fraction " + x, () -> Splits.heldOut(List.of(1, 2), x, 1, any -> true));
        }
        check();
        assertThat(model.losses(List.of(new int[] {5, 6}), new int[0], new int[0], 1, Pass.EVALUATION)).isEmpty();
        assertThat(Splits.heldOut(List.of(), 0.5, 1, any -> true)).isEqualTo(new Splits<>(List.of(), List.of()));
        // A batch without a target among others does not matter.
        List<TokenizedExample> some = TinyModel.examples(2, 4);
        List<TokenizedExample> mixed = List.of(new TokenizedExample(new int[1000], ignored(1000)), some.get(0), some.get(1), new TokenizedExample(new int[1020], ignored(1020)));
        if (model.config().maxPositionEmbeddings() >= 1020) {
            assertThat(LossEvaluator.evaluate(model, mixed)).isEqualTo(LossEvaluator.evaluate(model, some));
        }
    }

    private static int[] ignored(int length) {
        int[] labels = new int[length];
        Arrays.fill(labels, TokenizedExample.IGNORED);
        return labels;
    }

    @Test
    void shapesOfAModel() {
        int[] good = {512, 64, 128, 2, 4, 2, 16, 128};
        for (int i = 0; i < good.length; i++) {
            for (int n : new int[] {0, -1, Integer.MIN_VALUE, Integer.MAX_VALUE}) {
                int[] shape = good.clone();
                shape[i] = n;
                refused("number " + i + " is " + n, () -> config(shape, 1e-5f));
            }
        }
        for (int headDim : new int[] {15, 258, 512}) {
            refused("head_dim " + headDim, () -> config(new int[] {512, 64, 128, 2, 4, 2, headDim, 128}, 1e-5f));
        }
        refused("heads not shared", () -> config(new int[] {512, 64, 128, 2, 4, 3, 16, 128}, 1e-5f));
        for (float eps : new float[] {0, -1, Float.NaN, Float.POSITIVE_INFINITY}) {
            refused("epsilon " + eps, () -> config(good, eps));
        }
        check();
        assertThat(config(good, 1e-5f).headDim()).isEqualTo(16);
        assertThat(config(new int[] {512, 64, 128, 2, 4, 2, 256, 128}, 1e-5f).headDim()).isEqualTo(256);
    }

    private static LlamaConfig config(int[] n, float eps) {
        return new LlamaConfig(n[0], n[1], n[2], n[3], n[4], n[5], n[6], n[7], eps, false, new RopeConfig(10000, Optional.empty()));
    }

    private void refused(String what, Runnable call) {
        cases.put(what, call);
    }

    /** Each in words of ours: not one that Java found by itself. */
    private void check() {
        assertThat(cases).isNotEmpty();
        cases.forEach((what, call) -> {
            Throwable e = catchThrowable(call::run);
            assertThat(e).as(what).isInstanceOfAny(PanaceaException.class, IllegalArgumentException.class, IllegalStateException.class, NullPointerException.class);
            assertThat(e.getMessage()).as(what).isNotBlank().doesNotContain("because");
            assertThat(e.getClass().getSimpleName()).as(what).isNotIn("NumberFormatException", "IllegalFormatException");
        });
        cases.clear();
        assertThat(model.logits(new int[] {5})).as("still usable").hasSize(TinyModel.VOCAB);
    }
}
