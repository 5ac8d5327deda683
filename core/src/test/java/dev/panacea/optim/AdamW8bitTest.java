package dev.panacea.optim;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.panacea.data.TokenizedExample;
import dev.panacea.eval.LossEvaluator;
import dev.panacea.kernels.Backends;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.Kernels;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.Quantization;
import dev.panacea.lora.LoraAdapter;
import dev.panacea.lora.LoraConfig;
import dev.panacea.testing.TinyModel;
import dev.panacea.train.SftConfig;
import dev.panacea.train.SftTrainer;
import java.lang.foreign.MemorySegment;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.function.Function;
import org.junit.jupiter.api.Test;

class AdamW8bitTest {
    /** Small ones side by side, one that ends inside a block before one that does not, and small ones between. */
    private static final long[] LENGTHS = {100, 4095, 4096, 8192, 5000, 4097, 7, 4352};

    private static Map<String, float[]> afterThreeSteps(Map<String, Long> lengths, Function<TrainableParameters, Optimizer> optimizer, Kernels kernels) {
        try (TrainableParameters parameters = new TrainableParameters(kernels, lengths); Optimizer o = optimizer.apply(parameters)) {
            for (int t = 0; t < 3; t++) {
                for (String name : lengths.keySet()) {
                    SplittableRandom random = new SplittableRandom(name.hashCode() + t);
                    fill(kernels, parameters.gradient(name), random);
                    if (t == 0) {
                        fill(kernels, parameters.value(name), random);
                    }
                }
                o.step(1e-2, 0.5);
            }
            Map<String, float[]> values = new LinkedHashMap<>();
            lengths.forEach((name, length) -> {
                float[] value = new float[Math.toIntExact(length)];
                kernels.download(parameters.value(name), MemorySegment.ofArray(value));
                values.put(name, value);
            });
            return values;
        }
    }

    private static void fill(Kernels kernels, DeviceBuffer b, SplittableRandom random) {
        float[] values = new float[(int) b.length()];
        for (int i = 0; i < values.length; i++) {
            values[i] = (float) random.nextGaussian();
        }
        kernels.upload(MemorySegment.ofArray(values), b);
    }

    @Test
    void everyTensorIsUpdatedAsIfItWereAlone() {
        Map<String, Long> lengths = new LinkedHashMap<>();
        for (long length : LENGTHS) {
            lengths.put("t" + lengths.size(), length);
        }
        try (Kernels kernels = Backends.open()) {
            Function<TrainableParameters, Optimizer> bytes = p -> new AdamW8bit(kernels, p, 0.9, 0.999, 1e-8, 0.1);
            Map<String, float[]> together = afterThreeSteps(lengths, bytes, kernels);
            lengths.forEach((name, length) -> assertThat(together.get(name)).as("%s of %d", name, length).isEqualTo(afterThreeSteps(Map.of(name, length), bytes, kernels).get(name)));
        }
    }

    @Test
    void smallTensorsAreUpdatedInSinglePrecision() {
        try (Kernels kernels = Backends.open()) {
            for (Map<String, Long> lengths : List.of(Map.of("t", 4095L), Map.of("t", 4096L))) {
                float[] eight = afterThreeSteps(lengths, p -> new AdamW8bit(kernels, p, 0.9, 0.999, 1e-8, 0), kernels).get("t");
                float[] single = afterThreeSteps(lengths, p -> new AdamW(kernels, p, 0.9, 0.999, 1e-8, 0), kernels).get("t");
                if (lengths.get("t") < 4096) {
                    assertThat(eight).isEqualTo(single);
                } else {
                    assertThat(eight).isNotEqualTo(single).containsExactly(single, within(0.02f));
                }
            }
        }
    }

    @Test
    void trainingComesOutAsWithMomentsInSinglePrecision() {
        double before = loss(OptimizerType.ADAMW_TORCH, 0);
        double single = loss(OptimizerType.ADAMW_TORCH, 30);
        double eight = loss(OptimizerType.ADAMW_8BIT, 30);
        assertThat(single).isLessThan(before - 1);
        assertThat(eight).isCloseTo(single, within(0.05 * (before - single))).isNotEqualTo(single);
    }

    private static double loss(OptimizerType optim, int steps) {
        List<TokenizedExample> examples = TinyModel.examples(10, 21);
        try (Kernels kernels = Backends.open();
                LlamaModel model = TinyModel.load(kernels, Quantization.NONE, DType.F32);
                // Rank 32, so that tensors reach 4096 values.
                LoraAdapter adapter = LoraAdapter.create(model, new LoraConfig(32, 32, List.of("gate_proj", "up_proj", "down_proj"), false), 9)) {
            if (steps > 0) {
                SftConfig config = SftConfig.builder().maxSteps(steps).perDeviceTrainBatchSize(2).gradientAccumulationSteps(2).learningRate(1e-2).optim(optim).seed(4).build();
                new SftTrainer(model, adapter, config).train(examples, s -> {});
            }
            return LossEvaluator.evaluate(model, examples).loss();
        }
    }
}
