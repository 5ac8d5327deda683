package dev.panacea.benchmarks;

import dev.panacea.data.Batches;
import dev.panacea.data.DatasetReader;
import dev.panacea.data.Example;
import dev.panacea.data.ExampleEncoder;
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
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Locale;

/**
 * From the start of the process to the end of the first training step, on real data, with the time at which each part was done: {@code StartUp MODEL
 * DATA keep|nf4|none}. Run it in a fresh JVM each time.
 */
final class StartUp {
    private static final Instant STARTED = ProcessHandle.current().info().startInstant().orElseThrow();
    private static Instant last = STARTED;

    private StartUp() {}

    public static void main(String[] args) {
        Path file = Path.of(args[0]);
        Quantization quantization = Quantization.valueOf(args[2].toUpperCase(Locale.ROOT));
        done("JVM");
        try (Kernels kernels = Backends.cpu(); Checkpoint checkpoint = Checkpoints.open(file)) {
            done("native library, model file");
            try (BpeTokenizer tokenizer = Tokenizers.open(file)) {
                done("tokenizer");
                List<Example> rows = DatasetReader.read(Path.of(args[1]));
                done("data read");
                List<TokenizedExample> examples = new ExampleEncoder(tokenizer, ChatTemplate.Options.NONE, 512).encode(rows).examples();
                done("data encoded");
                try (LlamaModel model = LlamaModel.load(kernels, checkpoint, new LoadOptions(quantization, DType.BF16));
                        LoraAdapter adapter = LoraAdapter.create(model, new LoraConfig(8, 16, LoraConfig.ALL_LINEAR, false), 42);
                        AdamW optimizer = new AdamW(kernels, adapter.parameters(), 0.9, 0.999, 1e-8, 0)) {
                    adapter.attachTo(model);
                    done("weights, adapter, optimizer");
                    OptimizerStep step = new OptimizerStep(model, adapter.parameters(), optimizer, 1);
                    Batches.Step first = new Batches(examples, 4, 1, 42).epoch(0).getFirst();
                    step.run(first, 1e-4);
                    done("first step, " + first.tokens() + " tokens");
                    step.run(first, 1e-4);
                    done("the same again");
                }
            }
        }
    }

    private static void done(String part) {
        Instant now = Instant.now();
        System.out.printf(Locale.ROOT, "%-32s %6d ms %6d ms%n", part, Duration.between(last, now).toMillis(), Duration.between(STARTED, now).toMillis());
        last = now;
    }
}
