package dev.panacea.threads;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.panacea.generate.GenerationConfig;
import dev.panacea.generate.Generator;
import dev.panacea.io.BlockLlama;
import dev.panacea.io.Checkpoint;
import dev.panacea.io.Checkpoints;
import dev.panacea.io.GgufFile;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.DenseWeight;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.DeviceMemory;
import dev.panacea.kernels.GgmlType;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.llama.KvCache;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.LoadOptions;
import dev.panacea.llama.Predictions;
import dev.panacea.llama.Quantization;
import dev.panacea.lora.LoraAdapter;
import dev.panacea.optim.AdamW;
import dev.panacea.optim.AdamW8bit;
import dev.panacea.optim.Optimizer;
import dev.panacea.testing.TestBackend;
import dev.panacea.testing.TinyModel;
import dev.panacea.train.SftConfig;
import dev.panacea.train.SftTrainer;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.FileTime;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.stream.Stream;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.io.TempDir;

/** What the model and memory say to use after closing, closing twice, use by a second thread, and arguments that make no sense. */
class UseAfterCloseTest {
    private static final int[] TEXT = {3, 141, 59, 26, 5, 35, 89, 79};

    @TempDir
    static Path folder;

    private static Stream<DynamicTest> each(Consumer<Kernels> test) {
        return TestBackend.all().stream().map(b -> DynamicTest.dynamicTest(b.name(), () -> {
            try (Kernels kernels = b.open().get()) {
                test.accept(kernels);
            }
        }));
    }

    private static LlamaModel load(Kernels kernels) {
        return TinyModel.load(kernels, Quantization.NONE, DType.F32);
    }

    private static float[] losses(LlamaModel model, boolean training) {
        return model.losses(List.of(TEXT), new int[] {1, 2}, new int[] {59, 26}, 1, training);
    }

    private static void refused(String word, ThrowingCallable call) {
        assertThatThrownBy(call).isInstanceOf(IllegalStateException.class).hasMessageContaining(word);
    }

    private static void nonsense(String word, ThrowingCallable call) {
        assertThatThrownBy(call).isInstanceOf(IllegalArgumentException.class).hasMessageContaining(word);
    }

    @TestFactory
    Stream<DynamicTest> whatIsClosedSaysSo() {
        return each(kernels -> {
            LlamaModel model = load(kernels);
            LoraAdapter adapter = TinyModel.adapter(model);
            Optimizer adamW = new AdamW(kernels, adapter.parameters(), 0.9, 0.999, 1e-8, 0);
            Optimizer adamW8bit = new AdamW8bit(kernels, adapter.parameters(), 0.9, 0.999, 1e-8, 0);
            KvCache cache = model.newCache(1, 8);
            adapter.attachTo(model);
            for (AutoCloseable c : List.of(cache, cache, adamW, adamW, adamW8bit, adamW8bit)) {
                close(c);
            }
            refused("the cache has been closed", () -> model.next(cache, new int[] {0}, List.of(TEXT)));
            refused("the optimizer has been closed", () -> adamW.step(1, 1));
            refused("the optimizer has been closed", () -> adamW8bit.step(1, 1));
            adapter.close();
            adapter.close();
            refused("the adapter has been closed", () -> losses(model, true));
            refused("the adapter has been closed", () -> adapter.attachTo(model));
            refused("the adapter has been closed", () -> adapter.toPeft("base"));
            refused("the adapter has been closed", adapter::gradients);
            refused("the adapter has been closed", () -> adapter.parameters().values());
            refused("the adapter has been closed", () -> adapter.parameters().clearGradients());
            model.detach();
            assertThat(losses(model, false)).hasSize(2);
            model.close();
            model.close();
            refused("the model has been closed", () -> losses(model, false));
            refused("the model has been closed", () -> model.logits(TEXT));
            refused("the model has been closed", () -> model.hiddenStates(TEXT));
            refused("the model has been closed", () -> model.newCache(1, 8));
            refused("the model has been closed", () -> model.roomForLosses(8));
            refused("the model has been closed", () -> model.reserveStepBytes(8));
            refused("the model has been closed", model::releaseStepBytes);
            refused("the model has been closed", model::detach);
            refused("the model has been closed", () -> new Generator(model).generate(TEXT, GenerationConfig.greedy(2), new int[0], id -> {}));
        });
    }

    @TestFactory
    Stream<DynamicTest> closedKernelsAndMemorySaySo() {
        return each(kernels -> {
            DeviceMemory memory = kernels.allocate(64);
            DeviceMemory open = kernels.allocate(64);
            DeviceBuffer late = memory.view(DType.F32);
            DeviceBuffer other = open.view(DType.F32);
            memory.close();
            memory.close();
            refused("closed", () -> memory.view(DType.F32));
            refused("closed", () -> kernels.copy(late, other, 4, false));
            refused("closed", () -> kernels.copy(other, late, 4, false));
            refused("closed", () -> kernels.clear(late));
            refused("closed", () -> kernels.upload(MemorySegment.ofArray(new float[16]), late));
            refused("closed", () -> kernels.download(late, MemorySegment.ofArray(new float[16])));
            refused("closed", () -> kernels.linear(new DenseWeight(late, 4, 4), other, 1, other.slice(8, 4), false));
            assertThatThrownBy(() -> kernels.allocate(-1)).isInstanceOf(IllegalArgumentException.class);
            kernels.close();
            kernels.close();
            refused("these kernels have been closed", () -> kernels.allocate(8));
            refused("these kernels have been closed", () -> kernels.copy(other, other, 4, false));
            refused("these kernels have been closed", () -> kernels.clear(other));
            open.close();
            open.close();
        });
    }

    @TestFactory
    Stream<DynamicTest> argumentsThatMakeNoSenseAreNamed() {
        return each(kernels -> {
            try (Kernels foreign = TestBackend.all().getFirst().open().get(); LlamaModel model = load(kernels); LlamaModel elsewhere = load(foreign);
                    LoraAdapter adapter = TinyModel.adapter(elsewhere); KvCache cache = model.newCache(2, 8); KvCache foreignCache = elsewhere.newCache(2, 8)) {
                nonsense("-1 slots", () -> model.newCache(-1, 8));
                nonsense("0 slots", () -> model.newCache(0, 8));
                nonsense("-8 tokens", () -> model.newCache(1, -8));
                nonsense("must be positive", () -> model.newCache(Integer.MAX_VALUE, 8));
                nonsense("slot 2 ", () -> model.next(cache, new int[] {2}, List.of(TEXT)));
                nonsense("slot -1 ", () -> model.next(cache, new int[] {-1}, List.of(TEXT)));
                nonsense("twice", () -> model.next(cache, new int[] {1, 1}, List.of(TEXT, TEXT)));
                nonsense("1 texts for 2 slots", () -> model.next(cache, new int[] {0, 1}, List.of(TEXT)));
                nonsense("0 texts for 0 slots", () -> model.next(cache, new int[0], List.of()));
                nonsense("does not fit", () -> model.next(cache, new int[] {0}, List.of(new int[] {1, 2, 3, 4, 5, 6, 7, 8, 9})));
                nonsense("slot 9 ", () -> cache.length(9));
                nonsense("other kernels", () -> model.next(foreignCache, new int[] {0}, List.of(TEXT)));
                nonsense("other kernels", () -> adapter.attachTo(model));
                nonsense("row 8", () -> model.losses(List.of(TEXT), new int[] {8}, new int[] {1}, 1, false));
                nonsense("row -1", () -> model.losses(List.of(TEXT), new int[] {-1}, new int[] {1}, 1, false));
                nonsense("target 512", () -> model.losses(List.of(TEXT), new int[] {1}, new int[] {512}, 1, false));
                nonsense("1 rows for 2 targets", () -> model.losses(List.of(TEXT), new int[] {1}, new int[] {1, 2}, 1, false));
                nonsense("no trained tensor", () -> adapter.parameters().value("x"));
                assertThat(cache.length(0)).as("nothing was appended").isZero();
            }
        });
    }

    @TestFactory
    Stream<DynamicTest> predictionsAreGoneWithTheNextComputation() {
        return each(kernels -> {
            try (LlamaModel model = load(kernels); KvCache cache = model.newCache(2, 20)) {
                Predictions first = model.next(cache, new int[] {0}, List.of(TEXT));
                assertThat(first.best()).isEqualTo(first.best());
                assertThatThrownBy(() -> first.logits(1)).isInstanceOf(IndexOutOfBoundsException.class);
                model.next(cache, new int[] {1}, List.of(new int[] {7, 8, 9}));
                refused("gone", first::best);
                refused("gone", () -> first.logits(0));
                refused("gone", () -> first.largest(3, 1));
            }
        });
    }

    /** What a second thread asks of a model in the middle of an answer, or of a training run, is refused, and the answer and the run are what they would have been. */
    @TestFactory
    Stream<DynamicTest> aSecondThreadIsRefusedAndTheFirstUnharmed() {
        return each(kernels -> {
            try (LlamaModel model = load(kernels); LoraAdapter adapter = TinyModel.adapter(model); KvCache cache = model.newCache(1, 20)) {
                adapter.attachTo(model);
                int[] expected = new Generator(model).generate(TEXT, GenerationConfig.greedy(3), new int[0], id -> {});
                int[] answer = new Generator(model).generate(TEXT, GenerationConfig.greedy(3), new int[0], id -> {
                    for (ThrowingCallable call : List.<ThrowingCallable>of(() -> model.logits(TEXT), () -> losses(model, false), model::close, adapter::close, model::detach,
                            () -> adapter.toPeft("base"), () -> model.next(cache, new int[] {0}, List.of(TEXT)), model::releaseStepBytes,
                            () -> new Generator(model).generate(TEXT, GenerationConfig.greedy(3), new int[0], i -> {}))) {
                        refused("in use by thread \"" + Thread.currentThread().getName() + "\"", () -> elsewhere(call));
                    }
                    refused("cannot be closed", model::close);
                    refused("cannot be closed", adapter::close);
                });
                assertThat(answer).isEqualTo(expected);

                SftConfig config = SftConfig.builder().maxSteps(2).perDeviceTrainBatchSize(2).build();
                float[][] trained = new float[2][];
                for (int i = 0; i < 2; i++) {
                    boolean disturbed = i == 1;
                    try (LoraAdapter fresh = TinyModel.adapter(model)) {
                        new SftTrainer(model, fresh, config).train(TinyModel.examples(4, 1), report -> {
                            if (disturbed) {
                                refused("in use", () -> elsewhere(() -> model.logits(TEXT)));
                                refused("in use", () -> elsewhere(fresh::close));
                                refused("in use", () -> elsewhere(model::close));
                                losses(model, false);
                            }
                        });
                        trained[i] = fresh.toPeft("base").modules().values().iterator().next().b();
                    }
                }
                assertThat(trained[1]).isEqualTo(trained[0]);
            }
        });
    }

    /** A checkpoint that a model reads is not closed under it, by whatever thread; afterwards the model says what it lacks. */
    @TestFactory
    Stream<DynamicTest> aCheckpointInUseStaysOpen() {
        Path file = new BlockLlama(8, true).write(folder.resolve("kept.gguf"), name -> GgmlType.Q4_1);
        return each(kernels -> {
            Checkpoint checkpoint = Checkpoints.open(file);
            try (LlamaModel model = LlamaModel.load(kernels, checkpoint, new LoadOptions(Quantization.KEEP, DType.F32))) {
                if (kernels.readsHostMemory()) {
                    new Generator(model).generate(TEXT, GenerationConfig.greedy(2), new int[0], id -> {
                        refused("kept.gguf is in use", checkpoint::close);
                        refused("kept.gguf is in use", () -> elsewhere(checkpoint::close));
                    });
                }
                checkpoint.close();
                checkpoint.close();
                if (kernels.readsHostMemory()) {
                    refused("kept.gguf has been closed", () -> model.logits(TEXT));
                }
                refused("kept.gguf has been closed", () -> checkpoint.read("model.norm.weight", 0, 4, new float[4]));
                refused("kept.gguf has been closed", () -> checkpoint.storedBlocks("model.embed_tokens.weight"));
            }
        });
    }

    @TestFactory
    Stream<DynamicTest> aFileThatChangesIsNamedAndOneThatIsReplacedDoesNoHarm() {
        return each(kernels -> {
            for (String how : List.of("shrunk", "emptied", "written", "replaced", "deleted")) {
                Path file = new BlockLlama(8, true).write(folder.resolve(how + ".gguf"), name -> GgmlType.Q4_1);
                try (Checkpoint checkpoint = Checkpoints.open(file);
                        LlamaModel model = LlamaModel.load(kernels, checkpoint, new LoadOptions(Quantization.KEEP, DType.F32))) {
                    float[] expected = model.logits(TEXT);
                    change(file, how);
                    if (!kernels.readsHostMemory() || how.equals("replaced") || how.equals("deleted")) {
                        assertThat(model.logits(TEXT)).as(how).isEqualTo(expected);
                    } else {
                        for (int again = 0; again < 2; again++) {
                            assertThatThrownBy(() -> model.logits(TEXT)).as(how).isInstanceOf(PanaceaException.class).hasMessageContaining(file + " was changed");
                        }
                    }
                    if (!how.equals("replaced") && !how.equals("deleted")) {
                        assertThatThrownBy(() -> checkpoint.read("model.norm.weight", 0, 256, new float[256])).as(how).isInstanceOf(PanaceaException.class)
                                .hasMessageContaining(file + " was changed");
                        assertThatThrownBy(() -> checkpoint.storedBlocks("model.embed_tokens.weight")).as(how).isInstanceOf(PanaceaException.class);
                        assertThatThrownBy(() -> LlamaModel.load(kernels, checkpoint, new LoadOptions(Quantization.NF4, DType.F32))).as(how).isInstanceOf(PanaceaException.class);
                    }
                } finally {
                    try {
                        Files.deleteIfExists(file);
                    } catch (IOException e) {
                        throw new AssertionError(e);
                    }
                }
            }
        });
    }

    /** Tokenizers are made late of a GGUF file's metadata. */
    @Test
    void metadataOfAFileThatHasChangedAreNotTheMetadataThatWereOpened() throws IOException {
        Path file = new BlockLlama(8, true).write(folder.resolve("metadata.gguf"), name -> GgmlType.Q4_1);
        try (GgufFile gguf = GgufFile.open(file)) {
            assertThat(gguf.metadata().strings("tokenizer.ggml.tokens")).hasSize(270);
            change(file, "emptied");
            for (ThrowingCallable read : List.<ThrowingCallable>of(() -> gguf.metadata().strings("tokenizer.ggml.tokens"), () -> gguf.metadata().string("general.architecture"),
                    () -> gguf.metadata().integer("llama.block_count"), () -> gguf.metadata().number("llama.rope.freq_base"))) {
                assertThatThrownBy(read).isInstanceOf(PanaceaException.class).hasMessageContaining(file + " was changed");
            }
            gguf.close();
            refused("has been closed", () -> gguf.metadata().string("general.architecture"));
        }
    }

    @Test
    void anInterruptedThreadIsToldThatItIs() {
        Path file = new BlockLlama(8, true).write(folder.resolve("interrupted.gguf"), name -> GgmlType.Q4_1);
        Thread.currentThread().interrupt();
        try {
            assertThatThrownBy(() -> Checkpoints.open(file)).isInstanceOf(PanaceaException.class).hasMessage("Cannot read " + file + ": the thread was interrupted");
        } finally {
            assertThat(Thread.interrupted()).as("still interrupted").isTrue();
        }
        Checkpoints.open(file).close();
    }

    private static void change(Path file, String how) {
        try {
            switch (how) {
                case "replaced" -> {
                    Path other = file.resolveSibling("other");
                    Files.write(other, new byte[10]);
                    Files.move(other, file, StandardCopyOption.REPLACE_EXISTING);
                }
                case "deleted" -> Files.delete(file);
                default -> {
                    FileTime before = Files.getLastModifiedTime(file);
                    try (RandomAccessFile f = new RandomAccessFile(file.toFile(), "rw")) {
                        if (how.equals("written")) {
                            f.seek(f.length() / 2);
                            f.write(1);
                        } else {
                            f.setLength(how.equals("emptied") ? 0 : f.length() / 2);
                        }
                    }
                    // As a clock that only counts seconds would have it, a second later.
                    Files.setLastModifiedTime(file, FileTime.fromMillis(before.toMillis() + 1000));
                }
            }
        } catch (IOException e) {
            throw new AssertionError(e);
        }
    }

    private static void elsewhere(ThrowingCallable call) throws Throwable {
        try {
            CompletableFuture.runAsync(() -> {
                try {
                    call.call();
                } catch (RuntimeException | Error e) {
                    throw e;
                } catch (Throwable e) {
                    throw new AssertionError(e);
                }
            }).get(1, TimeUnit.MINUTES);
        } catch (ExecutionException e) {
            throw e.getCause();
        }
    }

    private static void close(AutoCloseable c) {
        try {
            c.close();
        } catch (Exception e) {
            throw new AssertionError(e);
        }
    }
}
