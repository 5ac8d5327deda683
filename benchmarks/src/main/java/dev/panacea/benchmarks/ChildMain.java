package dev.panacea.benchmarks;

import dev.panacea.data.Batches;
import dev.panacea.data.TokenizedExample;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.MemoryUse;
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
import java.util.SplittableRandom;
import java.util.function.IntSupplier;

/**
 * The programs of the quick mode, each in a JVM of its own; see {@link Child} for what they say and hear. Arguments:
 * {@code step|step-checkpointed|decode|prompt MODEL SEQUENCES LENGTH TIER THREADS}, MODEL being a shape with random weights; or
 * {@code start-up FILE TIER THREADS}.
 */
public final class ChildMain {
    /** Tokens decoded per unit: some tenths of a second. */
    private static final int DECODED = 8;

    private ChildMain() {}

    public static void main(String[] args) throws IOException {
        if (args[0].equals("start-up")) {
            System.out.println(StartUp.run(() -> kernels(args[2], args[3]), Path.of(args[1]), part -> {
                if (part.equals(StartUp.READY)) {
                    System.out.println(0);
                }
            }));
            System.out.println(Machine.peakResident().orElse(0));
        } else {
            measured(args[0], args[1], Integer.parseInt(args[2]), Integer.parseInt(args[3]), args[4], args[5]);
        }
    }

    private static Kernels kernels(String tier, String threads) {
        return OnDevice.open(tier, Integer.parseInt(threads));
    }

    private static void measured(String program, String shape, int sequences, int length, String tier, String threads) throws IOException {
        try (Kernels kernels = kernels(tier, threads)) {
            LlamaModel model;
            try (RandomCheckpoint weights = new RandomCheckpoint(RandomCheckpoint.named(shape))) {
                model = LlamaModel.load(kernels, weights, new LoadOptions(Quantization.NF4, DType.BF16));
            }
            try (model) {
                switch (program) {
                    case "step" -> step(kernels, model, sequences, length, false);
                    case "step-checkpointed" -> step(kernels, model, sequences, length, true);
                    case "decode" -> decode(kernels, model, length);
                    case "prompt" -> prompt(kernels, model, length);
                    default -> throw new IllegalArgumentException("no program " + program);
                }
            }
        }
    }

    // ---- programs ----------------------------------------------------------------------------------------------------

    private static void step(Kernels kernels, LlamaModel model, int sequences, int length, boolean checkpointing) throws IOException {
        try (LoraAdapter adapter = LoraAdapter.create(model, new LoraConfig(8, 16, LoraConfig.ALL_LINEAR, false), 1);
                AdamW optimizer = new AdamW(kernels, adapter.parameters(), 0.9, 0.999, 1e-8, 0)) {
            adapter.attachTo(model);
            OptimizerStep step = new OptimizerStep(model, adapter.parameters(), optimizer, 1, checkpointing);
            Batches.Step batch = batch(model.config(), sequences, length);
            int tokens = sequences * length;
            serve(kernels, !checkpointing || kernels.memoryUse().isPresent(), tokens, tokens * LlamaCost.trainingFlops(model.config()), () -> {
                step.run(batch, 1e-4);
                return tokens;
            });
        }
    }

    private static void prompt(Kernels kernels, LlamaModel model, int length) throws IOException {
        int[] ids = ids(model.config(), length);
        serve(kernels, true, length, LlamaCost.promptFlops(model.config(), length), () -> {
            try (KvCache cache = model.newCache(1, length)) {
                return model.next(cache, new int[] {0}, List.of(ids)).best().length;
            }
        });
    }

    /** One sequence, around a context of so many tokens. */
    private static void decode(Kernels kernels, LlamaModel model, int context) throws IOException {
        int before = Math.min(context - 1, 4 * DECODED);
        int capacity = context + 8 * DECODED;
        int[] ids = ids(model.config(), capacity);
        try (KvCache cache = model.newCache(1, capacity)) {
            int[] slot = {0};
            model.next(cache, slot, List.of(Arrays.copyOf(ids, context - before)));
            serve(kernels, true, DECODED, DECODED * LlamaCost.decodeBytes(model.config(), model.weightBytes(), context), () -> {
                for (int i = 0; i < DECODED; i++) {
                    model.next(cache, slot, List.of(new int[] {ids[cache.length(0)]})).best();
                }
                return DECODED;
            });
        }
    }

    // ---- the way to the parent ---------------------------------------------------------------------------------------

    /**
     * Says what a unit comes to, runs a unit for every line of standard input, and says at the end how much memory it took: of a device of its own what is in use after a
     * unit, where the memory of steps stays; else the most that the process had.
     *
     * @param warmUp whether a unit runs before; where one takes a minute, what a first one costs more is lost in it
     */
    private static void serve(Kernels kernels, boolean warmUp, double units, double work, IntSupplier unit) throws IOException {
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
        System.out.println(kernels.memoryUse().map(MemoryUse::used).orElseGet(() -> Machine.peakResident().orElse(0)));
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
