package dev.panacea.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.panacea.data.TokenizedExample;
import dev.panacea.generate.GenerationConfig;
import dev.panacea.generate.Generator;
import dev.panacea.kernels.Backends;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.MemoryUse;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.Quantization;
import dev.panacea.lora.LoraAdapter;
import dev.panacea.testing.KernelsProxy;
import dev.panacea.testing.TestBackend;
import dev.panacea.testing.TinyModel;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** The memory of a device with memory of its own: what training takes of it, and that it is given back. */
class DeviceMemoryTest {
    private static final List<TokenizedExample> EXAMPLES = TinyModel.examples(6, 21).stream()
            .map(e -> new TokenizedExample(Arrays.copyOf(e.inputIds(), 6), Arrays.copyOf(e.labels(), 6))).toList();
    /** Blocks are rounded up to whole 2 MiB. */
    private static final long ROUNDING = 4 << 20;

    private static final String REFUSED = "no memory left";

    @BeforeEach
    void skipOnTheCpu() {
        if (!TestBackend.onDevice()) {
            System.out.println("memory of a device not tested: the tests run on the CPU (-Dpanacea.device=cuda)");
            Assumptions.abort("on the CPU");
        }
    }

    @Test
    void aHundredStepsTakeNoMoreThanTheFirst() {
        List<MemoryUse> uses = new ArrayList<>();
        try (Kernels kernels = Backends.open()) {
            MemoryUse before = kernels.memoryUse().orElseThrow();
            try (LlamaModel model = TinyModel.load(kernels, Quantization.NF4, DType.BF16); LoraAdapter adapter = TinyModel.adapter(model)) {
                SftConfig config = SftConfig.builder().maxSteps(100).perDeviceTrainBatchSize(2).gradientAccumulationSteps(1).seed(4).build();
                TrainingResult result = new SftTrainer(model, adapter, config).train(EXAMPLES, step -> uses.add(kernels.memoryUse().orElseThrow()));
                assertThat(uses).hasSize(100);
                assertThat(uses.getLast()).isEqualTo(uses.getFirst());
                assertThat(result.plan().onDevice()).isTrue();
                assertThat(result.plan().total()).as("planned").isBetween(result.peakBytes().orElseThrow() - ROUNDING, result.peakBytes().orElseThrow() + ROUNDING);
            }
            assertThat(kernels.memoryUse().orElseThrow().used()).as("but for what the kernels keep for themselves").isLessThanOrEqualTo(before.used() + kernels.scratchBytes() + ROUNDING);
        }
    }

    @Test
    void modelsGiveTheirMemoryBack() {
        try (Kernels kernels = Backends.open()) {
            long before = kernels.memoryUse().orElseThrow().used();
            for (Quantization quantization : Quantization.values()) {
                TinyModel.load(kernels, quantization, DType.F32).close();
                assertThat(kernels.memoryUse().orElseThrow().used() - kernels.scratchBytes()).as(quantization.toString()).isLessThanOrEqualTo(before + 4096);
            }
        }
    }

    /** Loading, training a step, and answering, with each allocation in turn as the one that the GPU refuses. */
    @Test
    void memoryThatRunsOutAnywhereIsAnErrorThatLeavesNothingBehind() {
        AtomicInteger left = new AtomicInteger(Integer.MAX_VALUE);
        try (Kernels device = Backends.open()) {
            Kernels kernels = KernelsProxy.watching(device, call -> {
                if (call.equals("allocate") && left.getAndDecrement() == 0) {
                    throw new PanaceaException(REFUSED);
                }
            });
            loadTrainAndAnswer(kernels);
            int allocations = Integer.MAX_VALUE - left.get();
            assertThat(allocations).isGreaterThan(5);
            long before = device.memoryUse().orElseThrow().used() - device.scratchBytes();
            for (int n = 0; n < allocations; n++) {
                left.set(n);
                assertThatThrownBy(() -> loadTrainAndAnswer(kernels)).as("allocation %d of %d", n, allocations).isInstanceOf(PanaceaException.class).hasMessage(REFUSED);
                assertThat(device.memoryUse().orElseThrow().used() - device.scratchBytes()).as("after allocation %d of %d", n, allocations).isEqualTo(before);
            }
        }
    }

    private static void loadTrainAndAnswer(Kernels kernels) {
        try (LlamaModel model = TinyModel.load(kernels, Quantization.NF4, DType.BF16); LoraAdapter adapter = TinyModel.adapter(model)) {
            SftConfig config = SftConfig.builder().maxSteps(1).perDeviceTrainBatchSize(2).gradientAccumulationSteps(1).seed(4).build();
            new SftTrainer(model, adapter, config).train(EXAMPLES.subList(0, 2), step -> {});
            new Generator(model).generate(new int[] {5, 6, 7}, GenerationConfig.greedy(2), new int[0], id -> {});
        }
    }
}
