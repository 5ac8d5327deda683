package dev.panacea.benchmarks;

import dev.panacea.data.Batches;
import dev.panacea.data.TokenizedExample;
import dev.panacea.io.Checkpoint;
import dev.panacea.io.Checkpoints;
import dev.panacea.kernels.CpuKernels;
import dev.panacea.kernels.CpuTier;
import dev.panacea.kernels.DType;
import dev.panacea.llama.KvCache;
import dev.panacea.llama.LlamaConfig;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.LoadOptions;
import dev.panacea.llama.Quantization;
import dev.panacea.lora.LoraAdapter;
import dev.panacea.lora.LoraConfig;
import dev.panacea.optim.AdamW;
import dev.panacea.train.OptimizerStep;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.SplittableRandom;
import java.util.function.IntSupplier;

/**
 * The programs of the quick mode, each in a JVM of its own; see {@link Child} for what they say and hear. Arguments:
 * {@code step|step-checkpointed|decode|prompt MODEL SEQUENCES LENGTH TIER THREADS}, MODEL being a shape with random weights; or
 * {@code start-up FILE 1 LENGTH TIER THREADS}.
 */
public final class ChildMain {
    /** Tokens decoded per unit: some tenths of a second. */
    private static final int DECODED = 8;

    private ChildMain() {}

    public static void main(String[] args) throws IOException {
        int sequences = Integer.parseInt(args[2]);
        int length = Integer.parseInt(args[3]);
        try (CpuKernels kernels = CpuKernels.open(CpuTier.valueOf(args[4].toUpperCase(Locale.ROOT)), Integer.parseInt(args[5]))) {
            if (args[0].equals("start-up")) {
                startUp(kernels, Path.of(args[1]), length);
            } else {
                LlamaModel model;
                try (RandomCheckpoint weights = new RandomCheckpoint(RandomCheckpoint.named(args[1]))) {
                    model = LlamaModel.load(kernels, weights, new LoadOptions(Quantization.NF4, DType.BF16));
                }
                try (model) {
                    switch (args[0]) {
                        case "step" -> step(kernels, model, sequences, length, false);
                        case "step-checkpointed" -> step(kernels, model, sequences, length, true);
                        case "decode" -> decode(model, length);
                        case "prompt" -> prompt(model, length);
                        default -> throw new IllegalArgumentException("no program " + args[0]);
                    }
                }
            }
        }
        System.out.println(Machine.peakResident().orElse(0));
    }

    // ---- programs ----------------------------------------------------------------------------------------------------

    private static void step(CpuKernels kernels, LlamaModel model, int sequences, int length, boolean checkpointing) throws IOException {
        try (LoraAdapter adapter = LoraAdapter.create(model, new LoraConfig(8, 16, LoraConfig.ALL_LINEAR, false), 1);
                AdamW optimizer = new AdamW(kernels, adapter.parameters(), 0.9, 0.999, 1e-8, 0)) {
            adapter.attachTo(model);
            OptimizerStep step = new OptimizerStep(model, adapter.parameters(), optimizer, 1, checkpointing);
            Batches.Step batch = batch(model.config(), sequences, length);
            int tokens = sequences * length;
            serve(!checkpointing, tokens, tokens * LlamaCost.trainingFlops(model.config()), () -> {
                step.run(batch, 1e-4);
                return tokens;
            });
        }
    }

    private static void prompt(LlamaModel model, int length) throws IOException {
        int[] ids = ids(model.config(), length);
        serve(true, length, LlamaCost.promptFlops(model.config(), length), () -> {
            try (KvCache cache = model.newCache(1, length)) {
                return model.next(cache, new int[] {0}, List.of(ids))[0].length;
            }
        });
    }

    /** One sequence, around a context of so many tokens. */
    private static void decode(LlamaModel model, int context) throws IOException {
        int before = Math.min(context - 1, 4 * DECODED);
        int capacity = context + 8 * DECODED;
        int[] ids = ids(model.config(), capacity);
        try (KvCache cache = model.newCache(1, capacity)) {
            int[] slot = {0};
            model.next(cache, slot, List.of(Arrays.copyOf(ids, context - before)));
            serve(true, DECODED, DECODED * LlamaCost.decodeBytes(model.config(), model.weightBytes(), context), () -> {
                for (int i = 0; i < DECODED; i++) {
                    model.next(cache, slot, List.of(new int[] {ids[cache.length(0)]}));
                }
                return DECODED;
            });
        }
    }

    /** A step on a model in a file, as the first of a run; then says so. */
    private static void startUp(CpuKernels kernels, Path file, int length) {
        try (Checkpoint checkpoint = Checkpoints.open(file);
                LlamaModel model = LlamaModel.load(kernels, checkpoint, new LoadOptions(Quantization.defaultFor(checkpoint), DType.BF16));
                LoraAdapter adapter = LoraAdapter.create(model, new LoraConfig(8, 16, LoraConfig.ALL_LINEAR, false), 1);
                AdamW optimizer = new AdamW(kernels, adapter.parameters(), 0.9, 0.999, 1e-8, 0)) {
            adapter.attachTo(model);
            double loss = new OptimizerStep(model, adapter.parameters(), optimizer, 1).run(batch(model.config(), 1, length), 1e-4).loss();
            System.out.println(loss);
        }
    }

    // ---- the way to the parent ---------------------------------------------------------------------------------------

    /**
     * Says what a unit comes to, and runs a unit for every line of standard input.
     *
     * @param warmUp whether a unit runs before; where one takes a minute, what a first one costs more is lost in it
     */
    private static void serve(boolean warmUp, double units, double work, IntSupplier unit) throws IOException {
        if (warmUp) {
            unit.getAsInt();
        }
        System.out.println(units);
        System.out.println(work);
        BufferedReader orders = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        while (orders.readLine() != null) {
            long start = System.nanoTime();
            unit.getAsInt();
            System.out.println((System.nanoTime() - start) / 1e9);
        }
    }

    private static Batches.Step batch(LlamaConfig config, int sequences, int length) {
        List<TokenizedExample> batch = new ArrayList<>();
        for (int i = 0; i < sequences; i++) {
            int[] ids = ids(config, length);
            batch.add(new TokenizedExample(ids, ids));
        }
        return new Batches.Step(List.of(batch));
    }

    private static int[] ids(LlamaConfig config, int length) {
        return new SplittableRandom(1).ints(length, 0, config.vocabSize()).toArray();
    }
}
