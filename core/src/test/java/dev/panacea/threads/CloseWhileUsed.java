package dev.panacea.threads;

import dev.panacea.generate.GenerationConfig;
import dev.panacea.generate.Generator;
import dev.panacea.io.Checkpoint;
import dev.panacea.io.Checkpoints;
import dev.panacea.kernels.BlockWeight;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.DenseWeight;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.DeviceMemory;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.kernels.Weight;
import dev.panacea.llama.KvCache;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.LoadOptions;
import dev.panacea.llama.Quantization;
import dev.panacea.lora.LoraAdapter;
import dev.panacea.testing.TestBackend;
import dev.panacea.testing.TinyModel;
import java.io.RandomAccessFile;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;

/**
 * Programs in which one thread computes while another does what it must not. Each runs in a process of its own, since what is tested is that the
 * process survives; it ends with code 0 if every result was right or an exception that says why there is none, else with 1 and the fault.
 */
final class CloseWhileUsed {
    private static final int[] TEXT = IntStream.range(0, 96).map(i -> 3 + i * 37 % 250).toArray();

    private final TestBackend backend;
    private final Path file;
    /** Of slow backends one meets what it meets in fewer rounds: a round of theirs is longer. */
    private final int rounds;
    /** Computations of a round, of which the first is over when the other thread begins. */
    private final int computations;

    private CloseWhileUsed(TestBackend backend, Path file) {
        this.backend = backend;
        this.file = file;
        this.rounds = TestBackend.isSimulated() ? 1 : backend.name().equals("reference") ? 3 : 12;
        this.computations = TestBackend.isSimulated() ? 4 : 20;
    }

    /** @param arguments backend, model file, program */
    public static void main(String[] arguments) throws Exception {
        TestBackend backend = TestBackend.all().stream().filter(b -> b.name().equals(arguments[0])).findFirst().orElseThrow();
        CloseWhileUsed programs = new CloseWhileUsed(backend, Path.of(arguments[1]));
        switch (arguments[2]) {
            case "three-generators" -> programs.threeGenerators();
            case "models-side-by-side" -> programs.modelsSideBySide();
            case "close-model" -> programs.close(What.MODEL);
            case "close-adapter" -> programs.close(What.ADAPTER);
            case "close-checkpoint" -> programs.close(What.CHECKPOINT);
            case "close-kernels" -> programs.close(What.KERNELS);
            case "close-cache" -> programs.closeCache();
            case "free-weights" -> programs.freeWeights();
            case "shrink" -> programs.change(true);
            case "overwrite" -> programs.change(false);
            default -> throw new IllegalArgumentException(arguments[2]);
        }
        System.out.println("SURVIVED");
    }

    private enum What { MODEL, ADAPTER, CHECKPOINT, KERNELS }

    private LlamaModel load(Kernels kernels, Checkpoint checkpoint) {
        return LlamaModel.load(kernels, checkpoint, new LoadOptions(Quantization.KEEP, DType.F32));
    }

    private static float[] losses(LlamaModel model, boolean training) {
        int[] rows = IntStream.range(0, TEXT.length - 1).toArray();
        return model.losses(List.of(TEXT), rows, Arrays.copyOfRange(TEXT, 1, TEXT.length), 1, training);
    }

    /** Several threads generate on one model: each answer is right, or refused with the word that the model is in use. */
    private void threeGenerators() throws Exception {
        try (Kernels kernels = backend.open().get(); Checkpoint checkpoint = Checkpoints.open(file); LlamaModel model = load(kernels, checkpoint)) {
            Callable<int[]> generate = () -> new Generator(model).generate(Arrays.copyOf(TEXT, 7), GenerationConfig.greedy(12), new int[0], id -> {});
            int[] expected = generate.call();
            AtomicInteger right = new AtomicInteger();
            AtomicInteger refused = new AtomicInteger();
            together(IntStream.range(0, 3).<Callable<Void>>mapToObj(t -> () -> {
                for (int i = 0; i < computations * rounds / 2; i++) {
                    try {
                        require(Arrays.equals(generate.call(), expected), "wrong tokens");
                        right.incrementAndGet();
                    } catch (IllegalStateException e) {
                        require(e.getMessage().contains("in use"), "not said: " + e);
                        refused.incrementAndGet();
                    }
                }
                return null;
            }).toList());
            require(right.get() > 0, "nobody was served");
            require(Arrays.equals(generate.call(), expected), "wrong tokens afterwards");
        }
    }

    /** One model for each thread, over one file: all of them are served, and rightly. */
    private void modelsSideBySide() throws Exception {
        try (Kernels kernels = backend.open().get(); Checkpoint checkpoint = Checkpoints.open(file)) {
            float[] expected;
            try (LlamaModel model = load(kernels, checkpoint)) {
                expected = losses(model, false);
            }
            together(IntStream.range(0, 3).<Callable<Void>>mapToObj(t -> () -> {
                // Kernels of one's own, or the same ones.
                try (Kernels own = backend.open().get(); LlamaModel model = load(t == 0 ? own : kernels, checkpoint)) {
                    for (int i = 0; i < rounds; i++) {
                        require(Arrays.equals(losses(model, false), expected), "wrong losses");
                    }
                }
                return null;
            }).toList());
        }
    }

    /** One thread computes, with an adapter in training, the other closes something under it. */
    private void close(What what) throws Exception {
        for (int round = 0; round < rounds; round++) {
            int delay = round;
            Kernels kernels = backend.open().get();
            Checkpoint checkpoint = Checkpoints.open(file);
            LlamaModel model = load(kernels, checkpoint);
            LoraAdapter adapter = TinyModel.adapter(model);
            adapter.attachTo(model);
            float[] expected = losses(model, true);
            AutoCloseable victim = switch (what) {
                case MODEL -> model;
                case ADAPTER -> adapter;
                case CHECKPOINT -> checkpoint;
                case KERNELS -> kernels;
            };
            closeWhile(victim, delay, () -> require(Arrays.equals(losses(model, true), expected), "wrong losses"));
            for (AutoCloseable c : List.of(adapter, model, checkpoint, kernels, adapter, model, checkpoint, kernels)) {
                c.close();
            }
        }
    }

    private void closeCache() throws Exception {
        try (Kernels kernels = backend.open().get(); Checkpoint checkpoint = Checkpoints.open(file); LlamaModel model = load(kernels, checkpoint)) {
            int best;
            try (KvCache cache = model.newCache(1, TEXT.length)) {
                best = model.next(cache, new int[] {0}, List.of(TEXT)).best()[0];
            }
            for (int round = 0; round < rounds; round++) {
                KvCache cache = model.newCache(20, TEXT.length);
                AtomicInteger slot = new AtomicInteger();
                closeWhile(cache, round, () -> require(model.next(cache, new int[] {slot.getAndIncrement()}, List.of(TEXT)).best()[0] == best, "another token"));
                cache.close();
            }
        }
    }

    /** Without a model that could refuse: memory that only the addresses in a weight's struct point to, of other kernels than those that compute, and of a mapped file. */
    private void freeWeights() throws Exception {
        int rows = 256;
        int cols = 1024;
        for (int round = 0; round < 4 * rounds; round++) {
            try (Kernels owner = backend.open().get(); Kernels kernels = owner.readsHostMemory() ? backend.open().get() : owner;
                    DeviceMemory x = kernels.allocate(4L * cols * 16); DeviceMemory y = kernels.allocate(4L * rows * 1024)) {
                DeviceMemory memory = owner.allocate(4L * rows * cols);
                Weight weight = new DenseWeight(memory.view(DType.F32), rows, cols);
                closeWhile(memory, round % 3, () -> kernels.linear(weight, x.view(DType.F32), 16, y.view(DType.F32), false));
                memory.close();
                if (kernels.readsHostMemory()) {
                    Checkpoint checkpoint = Checkpoints.open(file);
                    Checkpoint.StoredBlocks blocks = checkpoint.storedBlocks("model.layers.0.mlp.up_proj.weight").orElseThrow();
                    Weight mapped = new BlockWeight(blocks.type(), DeviceBuffer.ofHost(DType.U8, blocks.data()), 512, 256, 0);
                    closeWhile(checkpoint, round % 3, () -> kernels.linear(mapped, x.view(DType.F32), 16, y.view(DType.F32), false));
                    checkpoint.close();
                }
            }
        }
    }

    /**
     * Computes until that fails, while another thread closes {@code victim}, again and again where it is refused.
     * What ends the computation, if anything does, is an {@link IllegalStateException}.
     */
    private void closeWhile(AutoCloseable victim, int delay, Runnable computation) throws Exception {
        AtomicBoolean over = new AtomicBoolean();
        CountDownLatch begun = new CountDownLatch(1);
        together(List.of(() -> {
            try {
                for (int i = 0; i < computations && !over.get(); i++) {
                    computation.run();
                    begun.countDown();
                }
            } catch (IllegalStateException e) {
                require(e.getMessage() != null, "without a word: " + e);
            } finally {
                over.set(true);
                begun.countDown();
            }
            return null;
        }, () -> {
            begun.await();
            Thread.sleep(delay);
            while (!over.get()) {
                try {
                    victim.close();
                    over.set(true);
                } catch (IllegalStateException e) {
                    require(e.getMessage().contains("in use"), "not said: " + e);
                }
            }
            return null;
        }));
    }

    /** The file of a model shrinks, or gets another content, while it is read: the exception names it, and later calls throw as well. */
    private void change(boolean shrink) throws Exception {
        for (int round = 0; round < rounds; round++) {
            Path copy = file.resolveSibling("changing-" + ProcessHandle.current().pid() + "-" + round + ".gguf");
            Files.copy(file, copy);
            int delay = round;
            try (Kernels kernels = backend.open().get(); Checkpoint checkpoint = Checkpoints.open(copy); LlamaModel model = load(kernels, checkpoint)) {
                float[] expected = losses(model, false);
                CountDownLatch begun = new CountDownLatch(1);
                AtomicBoolean changed = new AtomicBoolean();
                together(List.of(() -> {
                    boolean refused = false;
                    for (int i = 0; i < 100_000 && !refused; i++) {
                        boolean late = changed.get();
                        try {
                            require(Arrays.equals(losses(model, false), expected), "wrong losses");
                            require(!late || !kernels.readsHostMemory(), "computed on a file that had changed");
                            refused = late;
                        } catch (PanaceaException e) {
                            require(e.getMessage().contains(copy.getFileName().toString()) && e.getMessage().contains("changed"), "not said: " + e);
                            refused = true;
                        }
                        begun.countDown();
                    }
                    return null;
                }, () -> {
                    begun.await();
                    Thread.sleep(delay);
                    try (RandomAccessFile f = new RandomAccessFile(copy.toFile(), "rw")) {
                        if (shrink) {
                            f.setLength(delay % 2 == 0 ? 0 : f.length() / 2);
                        } else {
                            f.seek(f.length() / 2);
                            f.write(new byte[(int) (f.length() / 2)]);
                        }
                    }
                    changed.set(true);
                    return null;
                }));
                if (kernels.readsHostMemory()) {
                    try {
                        losses(model, false);
                        require(false, "computed on a file that had changed");
                    } catch (PanaceaException e) {
                        require(e.getMessage().contains("changed"), "not said: " + e);
                    }
                }
            } finally {
                Files.delete(copy);
            }
        }
    }

    private static void require(boolean good, String fault) {
        if (!good) {
            throw new AssertionError(fault);
        }
    }

    /** Runs tasks at the same time; the first fault of any of them ends the process. */
    private static void together(List<Callable<Void>> tasks) throws InterruptedException {
        List<Thread> threads = new ArrayList<>();
        for (Callable<Void> task : tasks) {
            threads.add(Thread.ofPlatform().start(() -> {
                try {
                    task.call();
                } catch (Throwable fault) {
                    fault.printStackTrace(System.out);
                    System.out.flush();
                    Runtime.getRuntime().halt(1);
                }
            }));
        }
        for (Thread t : threads) {
            t.join();
        }
    }
}
