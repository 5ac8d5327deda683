package dev.panacea.benchmarks;

import dev.panacea.data.Batches;
import dev.panacea.data.TokenizedExample;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.Kernels;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.LoadOptions;
import dev.panacea.llama.Quantization;
import dev.panacea.lora.LoraAdapter;
import dev.panacea.lora.LoraConfig;
import dev.panacea.optim.AdamW;
import dev.panacea.train.OptimizerStep;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OperationsPerInvocation;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * A whole optimizer step on the shape of a model, rank 8 on all linear layers, 4 sequences of 256 tokens, every token but the first a
 * target: tokens per second.
 */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Fork(value = 1, jvmArgsAppend = "--enable-native-access=ALL-UNNAMED")
@Warmup(iterations = 1, time = 5)
@Measurement(iterations = 5, time = 10)
public class TrainingStep {
    private static final int SEQUENCES = 4;
    private static final int LENGTH = 256;

    @Param({"NF4", "NONE"})
    public Quantization quantization;

    /** Of the model: 135m, 1b, 8b or tiny. */
    @Param("135m")
    public String shape;

    private LlamaModel model;
    private LoraAdapter adapter;
    private AdamW optimizer;
    private OptimizerStep step;
    private final List<TokenizedExample> batch = new ArrayList<>();

    @Setup(Level.Trial)
    public void open(OnDevice device) {
        Kernels kernels = device.kernels;
        model = LlamaModel.load(kernels, new RandomCheckpoint(RandomCheckpoint.named(shape)), new LoadOptions(quantization, DType.BF16));
        adapter = LoraAdapter.create(model, new LoraConfig(8, 16, LoraConfig.ALL_LINEAR, false), 1);
        adapter.attachTo(model);
        optimizer = new AdamW(kernels, adapter.parameters(), 0.9, 0.999, 1e-8, 0);
        step = new OptimizerStep(model, adapter.parameters(), optimizer, 1);
        SplittableRandom random = new SplittableRandom(1);
        for (int i = 0; i < SEQUENCES; i++) {
            int[] ids = random.ints(LENGTH, 0, model.config().vocabSize()).toArray();
            batch.add(new TokenizedExample(ids, ids));
        }
    }

    @Benchmark
    @OperationsPerInvocation(SEQUENCES * LENGTH)
    public double tokens() {
        return step.run(new Batches.Step(List.of(batch)), 1e-4).loss();
    }

    @TearDown(Level.Trial)
    public void close() {
        optimizer.close();
        adapter.close();
        model.close();
    }
}
