package dev.panacea.examples;

import dev.panacea.io.ByteCount;
import dev.panacea.io.Checkpoint;
import dev.panacea.io.Checkpoints;
import dev.panacea.io.LocatedModel;
import dev.panacea.io.ModelLocator;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.Kernels;
import dev.panacea.llama.LlamaConfig;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.LoadOptions;
import dev.panacea.llama.Quantization;
import dev.panacea.text.BpeTokenizer;
import dev.panacea.text.Tokenizers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;

/** The model that a run starts from, on disk: its files, and its tokenizer in memory, or on its way there. */
final class BaseModel implements AutoCloseable {
    private final String reference;
    private final LocatedModel located;
    private final Checkpoint checkpoint;
    private final CompletableFuture<BpeTokenizer> tokenizer;

    private BaseModel(String reference, LocatedModel located, Checkpoint checkpoint) {
        this.reference = reference;
        this.located = located;
        this.checkpoint = checkpoint;
        // A third of a second in a fresh JVM, beside the reading of the data. Not in the common pool, which on two cores is one thread and has other things to warm up.
        this.tokenizer = CompletableFuture.supplyAsync(() -> Tokenizers.open(located.path(), checkpoint), Thread.ofPlatform().name("tokenizer").daemon()::start);
    }

    /**
     * Finds a model, downloading it if need be, and opens it.
     *
     * @param name a path or a name on the hub; empty for the default model
     */
    static BaseModel open(Optional<String> name, Console console) {
        String wanted = name.orElse(ModelLocator.DEFAULT_MODEL);
        LocatedModel located = new ModelLocator(System.getenv(), console::line, new Download(console)).locate(wanted);
        String reference = Files.exists(Path.of(wanted)) ? Path.of(wanted).toAbsolutePath().normalize().toString() : wanted;
        return new BaseModel(reference, located, Checkpoints.open(located.path()));
    }

    /** How an adapter names its base: the name on the hub, or the absolute path. */
    String reference() {
        return reference;
    }

    /** For people: the last part of the name, without a file's ending. */
    String name() {
        String last = reference.substring(Math.max(reference.lastIndexOf('/'), reference.lastIndexOf('\\')) + 1);
        return last.toLowerCase(Locale.ROOT).endsWith(".gguf") ? last.substring(0, last.length() - 5) : last;
    }

    String origin() {
        return located.origin();
    }

    String description() {
        return checkpoint.description();
    }

    LlamaConfig config() {
        return checkpoint.config();
    }

    /** Waits for it; what is wrong with it is told here. */
    BpeTokenizer tokenizer() {
        try {
            return tokenizer.join();
        } catch (CompletionException e) {
            if (e.getCause() instanceof Error error) {
                throw error;
            }
            throw e.getCause() instanceof RuntimeException cause ? cause : e;
        }
    }

    /** How the weights are held if nothing else is asked for. */
    Quantization quantization() {
        return Quantization.defaultFor(checkpoint);
    }

    /** Brings the weights to memory; a model that keeps those of the file has to be closed before this. */
    LlamaModel load(Kernels kernels, Quantization quantization) {
        return LlamaModel.load(kernels, checkpoint, new LoadOptions(quantization, DType.BF16));
    }

    @Override
    public void close() {
        // It reads the checkpoint until it is done.
        tokenizer.handle((opened, fault) -> Optional.ofNullable(opened)).join().ifPresent(BpeTokenizer::close);
        checkpoint.close();
    }

    /** Shows how far a download is: often on a terminal, every tenth in a log. */
    private static final class Download implements ModelLocator.Progress {
        private static final long OFTEN = 200_000_000;

        private final Console console;
        private long lastShown = System.nanoTime() - OFTEN;
        private String file = "";
        private int tenths;

        Download(Console console) {
            this.console = console;
        }

        @Override
        public void progress(String name, long done, long total) {
            if (!name.equals(file)) {
                file = name;
                tenths = 0;
            }
            boolean complete = done == total;
            int part = total > 0 ? (int) (10 * done / total) : 0;
            boolean due = console.terminal() ? System.nanoTime() - lastShown >= OFTEN : part > tenths;
            if (due || complete && part > tenths) {
                lastShown = System.nanoTime();
                tenths = part;
                console.progress(name + ": " + ByteCount.text(done) + (total > 0 ? Figures.format(" of %s (%d %%)", ByteCount.text(total), 100 * done / total) : ""));
            }
        }
    }
}
