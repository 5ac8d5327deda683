package dev.panacea.benchmarks;

import dev.panacea.data.TokenizedExample;
import dev.panacea.io.ByteCount;
import dev.panacea.kernels.Backends;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.Kernels;
import dev.panacea.llama.LlamaConfig;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.LoadOptions;
import dev.panacea.llama.Quantization;
import dev.panacea.lora.LoraAdapter;
import dev.panacea.lora.LoraConfig;
import dev.panacea.train.GradientCheckpointing;
import dev.panacea.train.MemoryPlan;
import dev.panacea.train.SftConfig;
import dev.panacea.train.SftTrainer;
import dev.panacea.train.StepReport;
import dev.panacea.train.TrainingListener;
import dev.panacea.train.TrainingResult;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.SplittableRandom;

/**
 * Whether training needs the memory that was planned: {@code java -cp benchmarks/target/benchmarks.jar dev.panacea.benchmarks.StepMemory
 * [135m|1b|8b] [sequences] [length] [auto|on|off] [steps]}. Random NF4 weights, rank 8 on all linear layers, every token but
 * the first a target. {@code -Dpanacea.device=cuda} makes it the memory of a GPU.
 */
public final class StepMemory {
    private StepMemory() {}

    public static void main(String[] args) throws IOException {
        LlamaConfig shape = RandomCheckpoint.named(args.length > 0 ? args[0] : "135m");
        int sequences = args.length > 1 ? Integer.parseInt(args[1]) : 4;
        int length = args.length > 2 ? Integer.parseInt(args[2]) : 256;
        GradientCheckpointing checkpointing = GradientCheckpointing.valueOf((args.length > 3 ? args[3] : "auto").toUpperCase(Locale.ROOT));
        int steps = args.length > 4 ? Integer.parseInt(args[4]) : 3;
        SftConfig config = SftConfig.builder().maxSteps(steps).perDeviceTrainBatchSize(sequences).maxSeqLength(length).gradientCheckpointing(checkpointing).build();
        try (Kernels kernels = Backends.open();
                LlamaModel model = load(kernels, shape);
                LoraAdapter adapter = LoraAdapter.create(model, new LoraConfig(8, 16, LoraConfig.ALL_LINEAR, false), 1)) {
            SplittableRandom random = new SplittableRandom(1);
            List<TokenizedExample> examples = new ArrayList<>();
            for (int i = 0; i < sequences; i++) {
                int[] ids = random.ints(length, 0, shape.vocabSize()).toArray();
                examples.add(new TokenizedExample(ids, ids));
            }
            System.gc();
            TrainingResult result = new SftTrainer(model, adapter, config).train(examples, new TrainingListener() {
                @Override
                public void onPlan(MemoryPlan plan) {
                    plan.lines().forEach(System.out::println);
                    print("in RAM before the first step");
                }

                @Override
                public void onStep(StepReport step) {
                    print(String.format(Locale.ROOT, "after step %d, loss %.3f, %.0f tokens/s", step.step(), step.loss(), step.tokensPerSecond()));
                }
            });
            long planned = result.plan().total();
            long measured = result.peakBytes().orElse(0);
            System.out.printf(Locale.ROOT, "planned %s, measured %s (%+.1f %%); the step's block planned %d, used %d bytes; kernels planned %d, have %d bytes%n", ByteCount.text(planned),
                    ByteCount.text(measured), 100.0 * (measured - planned) / planned, result.plan().step(), model.peakStepBytes(), result.plan().scratch(), kernels.scratchBytes());
        }
    }

    private static LlamaModel load(Kernels kernels, LlamaConfig shape) {
        try (RandomCheckpoint weights = new RandomCheckpoint(shape)) {
            return LlamaModel.load(kernels, weights, new LoadOptions(Quantization.NF4, DType.BF16));
        }
    }

    private static void print(String when) {
        try {
            String status = String.join(" ", Files.readAllLines(Path.of("/proc/self/status")).stream().filter(l -> l.matches("(VmHWM|RssAnon|RssFile).*")).map(l -> l.replaceAll("\\s+", " "))
                    .toList());
            System.out.println(when + ": " + status);
        } catch (IOException e) {
            System.out.println(when);
        }
    }
}
