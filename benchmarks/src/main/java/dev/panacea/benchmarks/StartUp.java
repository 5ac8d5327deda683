package dev.panacea.benchmarks;

import dev.panacea.data.Batches;
import dev.panacea.data.DatasetReader;
import dev.panacea.data.ExampleEncoder;
import dev.panacea.data.Row;
import dev.panacea.data.TokenizedExample;
import dev.panacea.io.Checkpoint;
import dev.panacea.io.Checkpoints;
import dev.panacea.kernels.Backends;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.Kernels;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.LoadOptions;
import dev.panacea.llama.Quantization;
import dev.panacea.lora.LoraAdapter;
import dev.panacea.lora.LoraConfig;
import dev.panacea.optim.AdamW;
import dev.panacea.text.BpeTokenizer;
import dev.panacea.text.ChatTemplate;
import dev.panacea.text.Tokenizers;
import dev.panacea.train.OptimizerStep;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.function.Consumer;
import java.util.function.Supplier;

/**
 * What a run of the example does until the end of its first training step: its bundled dialogues, the weights as is the default for the model, things opened
 * side by side as there. In a fresh JVM {@code StartUp MODEL} prints the time at which each part was done.
 */
final class StartUp {
    /** The part after which the first step begins. */
    static final String READY = "weights, adapter, optimizer";
    private static final String DIALOGUES = "/dev/panacea/examples/dialogues.jsonl";

    private StartUp() {}

    private record Mark(String part, long time) {}

    /** A tokenizer on its way, closed even if nobody came to use it. */
    private record Opening(CompletableFuture<BpeTokenizer> tokenizer) implements AutoCloseable {
        @Override
        public void close() {
            tokenizer.join().close();
        }
    }

    public static void main(String[] args) {
        List<Mark> marks = new ArrayList<>();
        marks.add(new Mark("JVM", System.currentTimeMillis()));
        run(Backends::cpu, Path.of(args[0]), part -> marks.add(new Mark(part, System.currentTimeMillis())));
        // Asked and printed at the end, as both load classes for some tens of milliseconds.
        long started = ManagementFactory.getRuntimeMXBean().getStartTime();
        long last = started;
        for (Mark m : marks) {
            System.out.printf(Locale.ROOT, "%-32s %6d ms %6d ms%n", m.part, m.time - last, m.time - started);
            last = m.time;
        }
    }

    /**
     * Runs it.
     *
     * @param done told each part as it is done
     * @return the loss of the first step
     */
    static double run(Supplier<Kernels> backend, Path file, Consumer<String> done) {
        try (Kernels kernels = backend.get()) {
            done.accept("native library");
            try (Checkpoint checkpoint = Checkpoints.open(file);
                    Opening opening = new Opening(CompletableFuture.supplyAsync(() -> Tokenizers.open(file, checkpoint), Thread.ofPlatform().daemon()::start))) {
                done.accept("model file");
                List<Row> rows = dialogues();
                done.accept("data read");
                BpeTokenizer tokenizer = opening.tokenizer.join();
                done.accept("tokenizer");
                List<TokenizedExample> examples = new ExampleEncoder(tokenizer, ChatTemplate.Options.NONE, 512).encode(rows).examples();
                done.accept("data encoded");
                try (LlamaModel model = LlamaModel.load(kernels, checkpoint, new LoadOptions(Quantization.defaultFor(checkpoint), DType.BF16));
                        LoraAdapter adapter = LoraAdapter.create(model, new LoraConfig(8, 16, LoraConfig.ALL_LINEAR, false), 42);
                        AdamW optimizer = new AdamW(kernels, adapter.parameters(), 0.9, 0.999, 1e-8, 0)) {
                    adapter.attachTo(model);
                    done.accept(READY);
                    Batches.Step first = new Batches(examples, 4, 1, 42).epoch(0).getFirst();
                    double loss = new OptimizerStep(model, adapter.parameters(), optimizer, 1).run(first, 1e-4).loss();
                    done.accept("first step, " + first.tokens() + " tokens");
                    return loss;
                }
            }
        }
    }

    /** By way of a file, which is what the reader takes. */
    private static List<Row> dialogues() {
        try (InputStream in = Objects.requireNonNull(StartUp.class.getResourceAsStream(DIALOGUES), DIALOGUES)) {
            Path file = Files.createTempFile("panacea-dialogues-", ".jsonl");
            try {
                Files.write(file, in.readAllBytes());
                return DatasetReader.read(file);
            } finally {
                Files.delete(file);
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
