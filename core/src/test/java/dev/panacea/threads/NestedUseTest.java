package dev.panacea.threads;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.panacea.eval.LossEvaluator;
import dev.panacea.generate.GenerationConfig;
import dev.panacea.generate.Generator;
import dev.panacea.io.BlockLlama;
import dev.panacea.io.Checkpoint;
import dev.panacea.io.Checkpoints;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.GgmlType;
import dev.panacea.kernels.Kernels;
import dev.panacea.llama.KvCache;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.LoadOptions;
import dev.panacea.llama.Quantization;
import dev.panacea.lora.LoraAdapter;
import dev.panacea.optim.LrScheduleType;
import dev.panacea.optim.OptimizerType;
import dev.panacea.testing.TestBackend;
import dev.panacea.testing.TinyModel;
import dev.panacea.train.GradientCheckpointing;
import dev.panacea.train.SftConfig;
import dev.panacea.train.SftTrainer;
import dev.panacea.train.StepReport;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.IntConsumer;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.io.TempDir;

/** A model that is used by a listener, in the midst of an answer or a training run, or at the end of a thread's stack. */
class NestedUseTest {
    private static final int[] PROMPT = {3, 141, 59, 26, 5};

    @TempDir
    static Path folder;

    private interface Case {
        void test(LlamaModel model, LoraAdapter adapter) throws Exception;
    }

    private static Stream<DynamicTest> each(Case test) {
        return TestBackend.all().stream().map(b -> DynamicTest.dynamicTest(b.name(), () -> {
            try (Kernels kernels = b.open().get(); LlamaModel model = TinyModel.load(kernels, Quantization.NONE, DType.F32); LoraAdapter adapter = TinyModel.adapter(model)) {
                test.test(model, adapter);
            }
        }));
    }

    private static int[] generate(LlamaModel model, IntConsumer listener) {
        return new Generator(model).generate(PROMPT, GenerationConfig.greedy(4), new int[0], listener);
    }

    @TestFactory
    Stream<DynamicTest> aListenerMayUseTheModelThatAnswers() {
        return each((model, adapter) -> {
            int[] expected = generate(model, id -> {});
            for (IntConsumer listener : List.<IntConsumer>of(id -> model.logits(PROMPT), id -> generate(model, nested -> {}), id -> model.releaseStepBytes(), id -> {
                adapter.attachTo(model);
                model.logits(PROMPT);
                model.detach();
            })) {
                assertThat(generate(model, listener)).isEqualTo(expected);
            }
        });
    }

    @TestFactory
    Stream<DynamicTest> anAnswerKeepsItsAdapter() {
        return each((model, adapter) -> {
            assertThatThrownBy(() -> generate(model, id -> adapter.attachTo(model))).isInstanceOf(IllegalStateException.class).hasMessageContaining("another adapter");
            assertThatThrownBy(() -> generate(model, id -> model.detach())).isInstanceOf(IllegalStateException.class).hasMessageContaining("another adapter");
            assertThat(generate(model, id -> {})).hasSize(4);
        });
    }

    @TestFactory
    Stream<DynamicTest> aSlotIsOfOneModelAndAdapter() {
        return each((model, adapter) -> {
            try (LlamaModel other = TinyModel.load(model.kernels(), Quantization.NONE, DType.F32); KvCache cache = model.newCache(2, 8)) {
                int[] best = model.next(cache, new int[] {0}, List.of(PROMPT)).best();
                assertThatThrownBy(() -> other.next(cache, new int[] {0}, List.of(best))).isInstanceOf(IllegalStateException.class).hasMessageContaining("another model");
                adapter.attachTo(model);
                assertThatThrownBy(() -> model.next(cache, new int[] {0}, List.of(best))).isInstanceOf(IllegalStateException.class).hasMessageContaining("slot 0");
                model.next(cache, new int[] {1}, List.of(PROMPT));
                model.detach();
                assertThat(model.next(cache, new int[] {0}, List.of(best)).best()).hasSize(1);
                assertThat(cache.length(0)).isEqualTo(PROMPT.length + 1);
            }
        });
    }

    @TestFactory
    Stream<DynamicTest> aListenerMayUseTheModelThatIsTrained() {
        return each((model, adapter) -> {
            List<Double> expected = train(model, step -> {});
            for (Runnable use : List.<Runnable>of(() -> LossEvaluator.evaluate(model, TinyModel.examples(2, 9)), () -> generate(model, id -> {}))) {
                assertThat(train(model, step -> use.run())).isEqualTo(expected);
            }
            assertThatThrownBy(() -> train(model, step -> model.detach())).isInstanceOf(IllegalStateException.class).hasMessageContaining("not attached");
            assertThatThrownBy(() -> train(model, step -> adapter.attachTo(model))).isInstanceOf(IllegalStateException.class).hasMessageContaining("not attached");
        });
    }

    private interface Listener {
        void onStep(StepReport step);
    }

    /** The losses of two steps of a fresh adapter. */
    private static List<Double> train(LlamaModel model, Listener listener) {
        SftConfig config = new SftConfig(1, 2, 2, 1, 1e-2, LrScheduleType.CONSTANT, 0, 0, 0.9, 0.999, 1e-8, OptimizerType.ADAMW_TORCH, 1, 32, 3, GradientCheckpointing.OFF);
        try (LoraAdapter adapter = TinyModel.adapter(model)) {
            return new SftTrainer(model, adapter, config).train(TinyModel.examples(4, 4), listener::onStep).steps().stream().map(StepReport::loss).toList();
        }
    }

    @TestFactory
    Stream<DynamicTest> aStackThatEndsLeavesNothingInUse() {
        Path file = new BlockLlama(8, true).write(folder.resolve("model.gguf"), name -> GgmlType.Q4_1);
        return TestBackend.all().stream().map(b -> DynamicTest.dynamicTest(b.name(), () -> {
            Kernels kernels = b.open().get();
            Checkpoint checkpoint = Checkpoints.open(file);
            LlamaModel model = LlamaModel.load(kernels, checkpoint, new LoadOptions(Quantization.KEEP, DType.F32));
            LoraAdapter adapter = TinyModel.adapter(model);
            adapter.attachTo(model);
            float[] expected = model.logits(new int[] {3});
            AtomicInteger right = new AtomicInteger();
            Thread deep = new Thread(null, () -> upFromTheEnd(() -> {
                if (right.get() < 3) {
                    assertThat(model.logits(new int[] {3})).isEqualTo(expected);
                    right.incrementAndGet();
                }
            }), "deep", 256 << 10);
            deep.start();
            deep.join();
            assertThat(right).hasValue(3);
            for (AutoCloseable c : List.of(adapter, model, checkpoint, kernels)) {
                elsewhere(c::close);
            }
        }));
    }

    /** Fills the stack, and then does something at every depth from its end upwards. */
    private static void upFromTheEnd(Runnable use) {
        try {
            upFromTheEnd(use);
        } catch (StackOverflowError end) {
            // As wanted.
        }
        try {
            use.run();
        } catch (StackOverflowError tooLittleRoom) {
            // As it may be.
        }
    }

    private interface Action {
        void run() throws Exception;
    }

    private static void elsewhere(Action action) throws Exception {
        CompletableFuture<Void> done = new CompletableFuture<>();
        Thread.ofPlatform().daemon().start(() -> {
            try {
                action.run();
                done.complete(null);
            } catch (Throwable fault) {
                done.completeExceptionally(fault);
            }
        });
        done.get(2, TimeUnit.MINUTES);
    }

    @Test
    void aVirtualThreadThatHoldsTheModelIsToldByItsNumber() throws Exception {
        try (Kernels kernels = TestBackend.all().getFirst().open().get(); LlamaModel model = TinyModel.load(kernels, Quantization.NONE, DType.F32)) {
            CompletableFuture<Throwable> second = new CompletableFuture<>();
            Thread.ofVirtual().start(() -> {
                try {
                    second.complete(generateWhile(model));
                } catch (Throwable fault) {
                    second.completeExceptionally(fault);
                }
            });
            assertThat(second.get(2, TimeUnit.MINUTES)).isInstanceOf(IllegalStateException.class).hasMessageMatching("the model is in use by thread #\\d+, and .*");
        }
    }

    /** What a second thread gets while this one generates. */
    private static Throwable generateWhile(LlamaModel model) {
        CompletableFuture<Throwable> said = new CompletableFuture<>();
        generate(model, id -> {
            try {
                elsewhere(() -> model.logits(PROMPT));
            } catch (ExecutionException e) {
                said.complete(e.getCause());
            } catch (Exception e) {
                said.complete(e);
            }
        });
        return said.getNow(null);
    }
}
