package dev.panacea.golden;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.abort;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.panacea.data.Batches;
import dev.panacea.data.TokenizedExample;
import dev.panacea.eval.LossEvaluator;
import dev.panacea.generate.GenerationConfig;
import dev.panacea.generate.Generator;
import dev.panacea.io.Checkpoint;
import dev.panacea.io.Checkpoints;
import dev.panacea.io.LoraTensors;
import dev.panacea.io.PeftAdapter;
import dev.panacea.io.SafetensorsFile;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.Kernels;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.LoadOptions;
import dev.panacea.llama.Quantization;
import dev.panacea.lora.LoraAdapter;
import dev.panacea.optim.AdamW;
import dev.panacea.optim.LrSchedule;
import dev.panacea.optim.LrScheduleType;
import dev.panacea.testing.TestBackend;
import dev.panacea.train.OptimizerStep;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.function.Supplier;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;

/** A tiny Llama through transformers + PEFT: forward figures of batch 0, greedy tokens, and 20 optimizer steps (generate.py). */
final class TrainingFigures {
    private static final Set<String> SUPPORTED = Set.of("lora", "rslora", "qlora");

    /** Deviations of the naive implementation in BF16, by the folder of the weights: they serve all backends. */
    private static final Map<String, Map<String, Double>> NAIVE = new HashMap<>();

    private final Path folder;
    private final JsonNode reference;
    private final SafetensorsFile batches;
    private final int batch;
    private final int seq;
    private final Map<String, Double> deviations = new LinkedHashMap<>();

    private TrainingFigures(Path folder, JsonNode reference, SafetensorsFile batches) {
        this.folder = folder;
        this.reference = reference;
        this.batches = batches;
        this.batch = reference.get("args").get("batch").asInt();
        this.seq = reference.get("args").get("seq").asInt();
    }

    static Stream<DynamicTest> tests(Path folder, List<TestBackend> backends) throws IOException {
        JsonNode reference = new ObjectMapper().readTree(folder.resolve("reference.json").toFile());
        String variant = reference.get("args").get("variant").asText();
        if (!SUPPORTED.contains(variant)) {
            String reason = "golden " + folder.getFileName() + ": skipped, " + variant + " is not supported yet";
            System.out.println(reason);
            return Stream.of(dynamicTest(reason, () -> abort(reason)));
        }
        List<DynamicTest> tests = new ArrayList<>();
        for (TestBackend b : backends) {
            if (variant.equals("qlora")) {
                tests.add(dynamicTest("weights of bitsandbytes, " + b.name(), () -> single(folder, reference, folder.resolve("bnb-4bit"), Quantization.NF4, b)));
                if (!TestBackend.isSimulated()) {
                    // The very same weights twice more, for which two more minutes there would be too many.
                    tests.add(dynamicTest("weights of bitsandbytes, kept, " + b.name(), () -> single(folder, reference, folder.resolve("bnb-4bit"), Quantization.KEEP, b)));
                    tests.add(dynamicTest("our own quantization, " + b.name(), () -> single(folder, reference, folder, Quantization.NF4, b)));
                }
                tests.add(dynamicTest("our own quantization, BF16, " + b.name(), () -> half(folder, reference, folder, Quantization.NF4, b)));
            } else {
                tests.add(dynamicTest(b.name(), () -> single(folder, reference, folder, Quantization.NONE, b)));
                tests.add(dynamicTest("BF16, " + b.name(), () -> half(folder, reference, folder, Quantization.NONE, b)));
            }
        }
        return tests.stream();
    }

    /** In single precision: within the limits of golden/README.md. */
    private static void single(Path folder, JsonNode reference, Path weights, Quantization quantization, TestBackend backend) {
        String name = folder.getFileName() + (weights.equals(folder) ? "" : "/" + weights.getFileName()) + " [" + backend.name() + "]";
        deviations(folder, reference, weights, quantization, DType.F32, backend.open()).forEach((figure, deviation) -> Deviation.within(name + " " + figure, deviation,
                figure.startsWith("gradient") || figure.startsWith("final") ? 1e-3 : 1e-4));
    }

    /** In BF16: within twice the deviations of a naive implementation. */
    private static void half(Path folder, JsonNode reference, Path weights, Quantization quantization, TestBackend backend) {
        String name = folder.getFileName() + " BF16 [" + backend.name() + "]";
        Map<String, Double> naive = NAIVE.computeIfAbsent(weights.toString(), w -> deviations(folder, reference, weights, quantization, DType.BF16, NaiveKernels::open));
        deviations(folder, reference, weights, quantization, DType.BF16, backend.open()).forEach((figure, deviation) -> Deviation.within(name + " " + figure, deviation, 2 * naive.get(figure)));
    }

    private static Map<String, Double> deviations(Path folder, JsonNode reference, Path weights, Quantization quantization, DType type, Supplier<Kernels> backend) {
        try (SafetensorsFile batches = SafetensorsFile.open(folder.resolve("batches.safetensors"));
                Kernels kernels = backend.get();
                Checkpoint checkpoint = Checkpoints.open(weights);
                LlamaModel model = LlamaModel.load(kernels, checkpoint, new LoadOptions(quantization, type))) {
            TrainingFigures figures = new TrainingFigures(folder, reference, batches);
            figures.forward(model);
            figures.training(model);
            return figures.deviations;
        }
    }

    /** Whether single numbers mean something: in BF16 one loss may be right by chance. */
    private static boolean isSingle(LlamaModel model) {
        return model.options().activations() == DType.F32;
    }

    private void forward(LlamaModel model) {
        TokenizedExample[] first = examples(0).toArray(TokenizedExample[]::new);
        float[] logits = batches.read("logits0");
        int vocab = model.config().vocabSize();
        for (int b = 0; b < batch; b++) {
            // Only real tokens: what transformers computes at padding depends on its attention mask, and nobody uses it.
            int length = first[b].length();
            largest("logits", Deviation.ofLargest(model.logits(first[b].inputIds()), rows(logits, b, length, vocab)));
            List<float[]> states = model.hiddenStates(first[b].inputIds());
            for (int i = 0; i < states.size(); i++) {
                largest("hidden state " + i, Deviation.ofLargest(states.get(i), rows(batches.read("hidden" + i), b, length, model.config().hiddenSize())));
            }
        }
        if (isSingle(model)) {
            largest("loss0", relative(LossEvaluator.evaluate(model, examples(0)).loss(), reference.get("loss0").asDouble()));
            int[] prompt = ints(reference.get("greedy_prompt"));
            int[] greedy = ints(reference.get("greedy"));
            int[] ours = new Generator(model).generate(prompt, GenerationConfig.greedy(greedy.length), new int[] {2}, id -> {});
            assertThat(ours).as(folder.getFileName() + " greedy tokens").isEqualTo(upTo(greedy, 2));
        }
    }

    private void training(LlamaModel model) {
        JsonNode args = reference.get("args");
        PeftAdapter init = PeftAdapter.read(folder.resolve("adapter_init"));
        try (LoraAdapter adapter = LoraAdapter.fromPeft(model, init);
                AdamW optimizer = new AdamW(model.kernels(), adapter.parameters(), 0.9, 0.999, 1e-8, args.get("wd").asDouble())) {
            adapter.attachTo(model);
            int steps = args.get("steps").asInt();
            LrSchedule schedule = new LrSchedule(LrScheduleType.valueOf(args.get("schedule").asText().toUpperCase(Locale.ROOT)), args.get("lr").asDouble(),
                    args.get("warmup").asInt(), steps);
            OptimizerStep step = new OptimizerStep(model, adapter.parameters(), optimizer, args.get("clip").asDouble());
            double lossSquares = 0;
            for (int s = 0; s < steps; s++) {
                JsonNode expected = reference.get("steps").get(s);
                Batches.Step micro = new Batches.Step(microBatches(s));
                if (s == 0) {
                    gradients(adapter, step, step.gradients(micro));
                }
                assertThat(schedule.at(s)).as("learning rate of step " + (s + 1)).isCloseTo(expected.get("lr").asDouble(), org.assertj.core.data.Offset.offset(1e-12));
                OptimizerStep.Outcome o = step.run(micro, schedule.at(s));
                assertThat(micro.targetTokens()).isEqualTo(expected.get("target_tokens").asLong());
                double loss = relative(o.loss(), expected.get("loss").asDouble());
                lossSquares += loss * loss;
                if (isSingle(model)) {
                    largest("loss of " + steps + " steps", loss);
                    largest("gradient norm of " + steps + " steps", relative(o.gradNorm(), expected.get("grad_norm").asDouble()));
                }
            }
            finalAdapter(adapter);
            if (isSingle(model)) {
                largest("loss0 after", relative(LossEvaluator.evaluate(model, examples(0)).loss(), reference.get("loss0_after").asDouble()));
            } else {
                largest("losses of " + steps + " steps, root mean square", Math.sqrt(lossSquares / steps));
            }
            model.detach();
        }
    }

    private void largest(String figure, double deviation) {
        deviations.merge(figure, deviation, Math::max);
    }

    private void gradients(LoraAdapter adapter, OptimizerStep step, OptimizerStep.Outcome outcome) {
        double factor = step.clipFactor(outcome.gradNorm());
        Map<String, float[]> ours = adapter.gradients();
        try (SafetensorsFile expected = SafetensorsFile.open(folder.resolve("grads_step0_clipped.safetensors"))) {
            assertThat(ours.keySet()).isEqualTo(expected.names());
            for (String tensor : expected.names()) {
                float[] g = ours.get(tensor).clone();
                for (int i = 0; i < g.length; i++) {
                    g[i] *= (float) factor;
                }
                largest("gradients", Deviation.ofNorm(g, expected.read(tensor)));
            }
        }
    }

    private void finalAdapter(LoraAdapter adapter) {
        PeftAdapter expected = PeftAdapter.read(folder.resolve("adapter_final"));
        for (Map.Entry<String, LoraTensors> ours : adapter.toPeft("").modules().entrySet()) {
            LoraTensors e = expected.modules().get(ours.getKey());
            largest("final adapter", Math.max(Deviation.ofNorm(ours.getValue().a(), e.a()), Deviation.ofNorm(ours.getValue().b(), e.b())));
        }
    }

    // ---- batches.safetensors -----------------------------------------------------------------------------------------

    private List<List<TokenizedExample>> microBatches(int step) {
        int accumulation = reference.get("args").get("accum").asInt();
        List<List<TokenizedExample>> micro = new ArrayList<>();
        for (int i = 0; i < accumulation; i++) {
            micro.add(examples(step * accumulation + i));
        }
        return micro;
    }

    private List<TokenizedExample> examples(int index) {
        MemorySegment ids = batches.tensor("input_ids").data();
        MemorySegment labels = batches.tensor("labels").data();
        MemorySegment mask = batches.tensor("attention_mask").data();
        List<TokenizedExample> examples = new ArrayList<>();
        for (int b = 0; b < batch; b++) {
            long at = ((long) index * batch + b) * seq;
            int length = 0;
            while (length < seq && mask.getAtIndex(ValueLayout.JAVA_INT_UNALIGNED, at + length) == 1) {
                length++;
            }
            int[] i = new int[length];
            int[] l = new int[length];
            for (int t = 0; t < length; t++) {
                i[t] = ids.getAtIndex(ValueLayout.JAVA_INT_UNALIGNED, at + t);
                l[t] = labels.getAtIndex(ValueLayout.JAVA_INT_UNALIGNED, at + t);
            }
            examples.add(new TokenizedExample(i, l));
        }
        return examples;
    }

    private float[] rows(float[] all, int b, int length, int width) {
        return java.util.Arrays.copyOfRange(all, b * seq * width, (b * seq + length) * width);
    }

    private static double relative(double actual, double expected) {
        return Math.abs(actual - expected) / Math.abs(expected);
    }

    private static int[] ints(JsonNode array) {
        int[] out = new int[array.size()];
        for (int i = 0; i < out.length; i++) {
            out[i] = array.get(i).asInt();
        }
        return out;
    }

    private static int[] upTo(int[] tokens, int stop) {
        int n = 0;
        while (n < tokens.length && tokens[n] != stop) {
            n++;
        }
        return java.util.Arrays.copyOf(tokens, n);
    }
}
