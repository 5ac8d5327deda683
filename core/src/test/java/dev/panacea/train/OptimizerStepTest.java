package dev.panacea.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.panacea.data.Batches;
import dev.panacea.data.TokenizedExample;
import dev.panacea.kernels.Backends;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.Kernels;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.Quantization;
import dev.panacea.lora.LoraAdapter;
import dev.panacea.optim.AdamW;
import dev.panacea.testing.KernelsProxy;
import dev.panacea.testing.TinyModel;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** The loss is a sum over the target tokens of the whole step divided by their number, however the step is cut. */
class OptimizerStepTest {
    private static final List<TokenizedExample> EIGHT = TinyModel.examples(8, 11);

    private record Result(double loss, double norm, Map<String, float[]> gradients) {}

    private static Result gradients(List<List<TokenizedExample>> microBatches) {
        try (Kernels kernels = Backends.open();
                LlamaModel model = TinyModel.load(kernels, Quantization.NONE, DType.F32);
                LoraAdapter adapter = TinyModel.adapter(model);
                AdamW optimizer = new AdamW(kernels, adapter.parameters(), 0.9, 0.999, 1e-8, 0)) {
            adapter.attachTo(model);
            OptimizerStep.Outcome o = new OptimizerStep(model, adapter.parameters(), optimizer, 0).gradients(new Batches.Step(microBatches));
            return new Result(o.loss(), o.gradNorm(), adapter.gradients());
        }
    }

    @Test
    void batchOfEightIsFourAccumulatedBatchesOfTwo() {
        assertSame(gradients(List.of(EIGHT)), gradients(List.of(EIGHT.subList(0, 2), EIGHT.subList(2, 4), EIGHT.subList(4, 6), EIGHT.subList(6, 8))));
    }

    @Test
    void unevenMicroBatchesCountByTokensNotByBatches() {
        assertSame(gradients(List.of(EIGHT)), gradients(List.of(EIGHT.subList(0, 7), EIGHT.subList(7, 8))));
    }

    @Test
    void aMicroBatchWithoutTargetsChangesNothing() {
        int[] ids = {5, 6, 7};
        TokenizedExample silent = new TokenizedExample(ids, new int[] {TokenizedExample.IGNORED, TokenizedExample.IGNORED, TokenizedExample.IGNORED});
        assertSame(gradients(List.of(EIGHT)), gradients(List.of(EIGHT, List.of(silent))));
    }

    @Test
    void packedSequencesDoNotSeeEachOther() {
        assertSame(gradients(List.of(EIGHT)), gradients(EIGHT.stream().map(List::of).toList()));
    }

    /** What waits for a device, or may: however many micro-batches there are, the norm and the losses, when all work has been asked for. */
    @Test
    void aStepWaitsForTheDeviceAtItsEndOnly() {
        List<String> calls = new ArrayList<>();
        List<String> waits = List.of("download", "sumOfSquares");
        try (Kernels kernels = Backends.open();
                LlamaModel model = TinyModel.load(KernelsProxy.watching(kernels, calls::add), Quantization.NF4, DType.BF16);
                LoraAdapter adapter = TinyModel.adapter(model);
                AdamW optimizer = new AdamW(kernels, adapter.parameters(), 0.9, 0.999, 1e-8, 0)) {
            adapter.attachTo(model);
            OptimizerStep step = new OptimizerStep(model, adapter.parameters(), optimizer, 1);
            Batches.Step four = new Batches.Step(EIGHT.stream().limit(4).map(List::of).toList());
            step.run(four, 1e-3);
            calls.clear();
            step.run(four, 1e-3);
            assertThat(calls.stream().filter(waits::contains)).containsExactly("sumOfSquares", "download");
            assertThat(calls.subList(calls.indexOf("sumOfSquares"), calls.size())).doesNotContain("attentionBackward");
            // A GPU has room for two that it has not made yet; a third one has to wait.
            assertThat(calls.stream().filter("upload"::equals)).as("uploads of a micro-batch").hasSize(2 * 4);
        }
    }

    private static void assertSame(Result a, Result b) {
        assertThat(b.loss()).isCloseTo(a.loss(), within(1e-5));
        assertThat(b.norm()).isCloseTo(a.norm(), within(1e-5 * a.norm()));
        a.gradients().forEach((name, expected) -> {
            float[] actual = b.gradients().get(name);
            double difference = 0;
            double norm = 0;
            for (int i = 0; i < expected.length; i++) {
                difference += Math.pow(actual[i] - expected[i], 2);
                norm += Math.pow(expected[i], 2);
            }
            assertThat(norm).as("gradient of " + name).isPositive();
            assertThat(Math.sqrt(difference / norm)).as(name).isLessThan(1e-5);
        });
    }
}
