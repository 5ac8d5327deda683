package dev.panacea.benchmarks;

import dev.panacea.data.Batches;
import dev.panacea.data.TokenizedExample;
import dev.panacea.kernels.Backends;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.Kernels;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.LoadOptions;
import dev.panacea.llama.Quantization;
import dev.panacea.lora.LoraAdapter;
import dev.panacea.lora.LoraConfig;
import dev.panacea.optim.AdamW;
import dev.panacea.train.OptimizerStep;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.TreeMap;

/**
 * Where the time of a training step goes, by kernel: {@code java -cp benchmarks/target/benchmarks.jar
 * dev.panacea.benchmarks.StepProfile}. The step is that of {@link TrainingStep}, on NF4 weights.
 */
public final class StepProfile {
    private static final int WARM_UP = 2;
    private static final int STEPS = 8;

    private StepProfile() {}

    /** Calls and nanoseconds of one kernel. */
    private static final class Total {
        private long calls;
        private long nanos;
    }

    public static void main(String[] args) {
        Map<String, Total> totals = new TreeMap<>();
        try (Kernels kernels = timed(Backends.cpu(), totals);
                LlamaModel model = LlamaModel.load(kernels, new RandomCheckpoint(RandomCheckpoint.smolLm2()), new LoadOptions(Quantization.NF4, DType.BF16));
                LoraAdapter adapter = LoraAdapter.create(model, new LoraConfig(8, 16, LoraConfig.ALL_LINEAR, false), 1);
                AdamW optimizer = new AdamW(kernels, adapter.parameters(), 0.9, 0.999, 1e-8, 0)) {
            adapter.attachTo(model);
            OptimizerStep step = new OptimizerStep(model, adapter.parameters(), optimizer, 1);
            Batches.Step batch = batch(model.config().vocabSize());
            long start = 0;
            for (int i = 0; i < WARM_UP + STEPS; i++) {
                if (i == WARM_UP) {
                    totals.clear();
                    start = System.nanoTime();
                }
                step.run(batch, 1e-4);
            }
            long all = System.nanoTime() - start;
            System.out.printf("%s: %.0f tokens/s, %,d MB of weights, %,d MB at most in a step%n", kernels.description(), 1e9 * STEPS * batch.tokens() / all,
                    model.weightBytes() >> 20, model.peakStepBytes() >> 20);
            totals.entrySet().stream().sorted(Comparator.comparingLong(e -> -e.getValue().nanos)).forEach(e -> System.out.printf("%-24s %6d calls %9.1f ms %5.1f %%%n",
                    e.getKey(), e.getValue().calls / STEPS, e.getValue().nanos / 1e6 / STEPS, 100.0 * e.getValue().nanos / all));
            long inKernels = totals.values().stream().mapToLong(t -> t.nanos).sum();
            System.out.printf("%-24s %6s       %9.1f ms %5.1f %%%n", "(Java between kernels)", "", (all - inKernels) / 1e6 / STEPS, 100.0 * (all - inKernels) / all);
        }
    }

    private static Batches.Step batch(int vocab) {
        SplittableRandom random = new SplittableRandom(1);
        List<TokenizedExample> batch = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            int[] ids = random.ints(256, 0, vocab).toArray();
            batch.add(new TokenizedExample(ids, ids));
        }
        return new Batches.Step(List.of(batch));
    }

    private static Kernels timed(Kernels kernels, Map<String, Total> totals) {
        return (Kernels) Proxy.newProxyInstance(Kernels.class.getClassLoader(), new Class<?>[] {Kernels.class}, (proxy, method, arguments) -> {
            long start = System.nanoTime();
            try {
                return method.invoke(kernels, arguments);
            } catch (InvocationTargetException e) {
                throw e.getCause();
            } finally {
                Total t = totals.computeIfAbsent(method.getName(), n -> new Total());
                t.calls++;
                t.nanos += System.nanoTime() - start;
            }
        });
    }
}
