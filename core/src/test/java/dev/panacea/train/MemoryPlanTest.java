package dev.panacea.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.panacea.data.Batches;
import dev.panacea.data.TokenizedExample;
import dev.panacea.kernels.Backends;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.MemoryUse;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.Quantization;
import dev.panacea.lora.LoraAdapter;
import dev.panacea.testing.KernelsProxy;
import dev.panacea.testing.TinyModel;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class MemoryPlanTest {
    /** Few targets, so that activations count for more than logits. */
    private static final List<TokenizedExample> EXAMPLES = TinyModel.examples(60, 8).stream().map(e -> {
        int[] labels = e.labels().clone();
        Arrays.fill(labels, 0, e.length() - 1, TokenizedExample.IGNORED);
        return new TokenizedExample(e.inputIds(), labels);
    }).toList();
    private static final long OPTIMIZER = 5_000;

    @TempDir
    private Path root;

    private MemoryPlan plan(GradientCheckpointing checkpointing) {
        return plan(checkpointing, Backends.cpu());
    }

    private MemoryPlan plan(GradientCheckpointing checkpointing, Kernels opened) {
        SftConfig config = SftConfig.builder().perDeviceTrainBatchSize(20).gradientCheckpointing(checkpointing).build();
        try (Kernels kernels = opened; LlamaModel model = TinyModel.load(kernels, Quantization.NF4, DType.BF16); LoraAdapter adapter = TinyModel.adapter(model)) {
            adapter.attachTo(model);
            return new MemoryPlanner(model, adapter, config, new ProcessMemory(root)).plan(EXAMPLES, new Batches(EXAMPLES, 20, 1, 1), 9, OPTIMIZER);
        }
    }

    private void available(long bytes) throws IOException {
        write("proc/meminfo", "MemTotal:  99999999 kB\nMemAvailable: " + (bytes + 1023) / 1024 + " kB\n");
    }

    private void write(String file, String text) throws IOException {
        Path path = root.resolve(file);
        Files.createDirectories(path.getParent());
        Files.writeString(path, text);
    }

    @Test
    void withoutKnowingWhatIsAvailableActivationsAreKept() {
        MemoryPlan plan = plan(GradientCheckpointing.AUTO);
        assertThat(plan.checkpointing()).isFalse();
        assertThat(plan.reason()).contains("does not tell");
        assertThat(plan.available()).isEmpty();
        assertThat(plan.rest()).isZero();
        assertThat(plan.optimizer()).isEqualTo(OPTIMIZER);
        assertThat(plan.total()).isEqualTo(plan.weights() + plan.adapter() + plan.optimizer() + plan.step() + plan.scratch());
    }

    @Test
    void checkpointingIsSwitchedOnWhereTheStepWouldNotFitWithout() throws IOException {
        MemoryPlan kept = plan(GradientCheckpointing.OFF);
        MemoryPlan again = plan(GradientCheckpointing.ON);
        assertThat(again.missing()).isLessThan(kept.missing());
        available(Math.round(kept.missing() / 0.9) + 1024);
        assertThat(plan(GradientCheckpointing.AUTO).checkpointing()).isFalse();
        available((kept.missing() + again.missing()) * 5 / 9);
        MemoryPlan chosen = plan(GradientCheckpointing.AUTO);
        assertThat(chosen.checkpointing()).isTrue();
        assertThat(chosen.step()).isEqualTo(again.step());
        assertThat(chosen.lines().getLast()).startsWith("Gradient checkpointing is on: ").contains("are needed without it");
    }

    @Test
    void aRunThatIsTooLargeIsRefusedWithNumbersAndRemedies() throws IOException {
        available(100_000);
        for (GradientCheckpointing c : GradientCheckpointing.values()) {
            assertThatThrownBy(() -> plan(c)).isInstanceOf(PanaceaException.class).hasMessageContaining("100 kB are available").hasMessageContaining("perDeviceTrainBatchSize, now 20")
                    .hasMessageContaining("gradientAccumulationSteps").hasMessageContaining("maxSeqLength, now 512").hasMessageContaining("4 bits");
        }
    }

    /** On a device with memory of its own it is that memory which must do, whatever the system has. */
    @Test
    void theMemoryOfADeviceIsPlannedWhereItHasItsOwn() throws IOException {
        available(100_000);
        MemoryPlan plan = plan(GradientCheckpointing.AUTO, new MemoryUse(10_000_000, 1L << 40));
        assertThat(plan.onDevice()).isTrue();
        assertThat(plan.checkpointing()).isFalse();
        assertThat(plan.available()).hasValue(1L << 40);
        assertThat(plan.missing()).as("weights, adapter and optimizer are there").isEqualTo(plan.step());
        assertThat(plan.total()).as("what is used, and the step").isEqualTo(10_000_000 + plan.step());
        assertThat(plan.lines().getFirst()).startsWith("GPU memory at the peak of training: ");
        assertThat(plan.lines().get(1)).contains("other buffers").doesNotContain("Java");
        assertThat(plan(GradientCheckpointing.AUTO, new MemoryUse(0, plan.step())).checkpointing()).isTrue();
        assertThatThrownBy(() -> plan(GradientCheckpointing.AUTO, new MemoryUse(0, 50_000))).isInstanceOf(PanaceaException.class).hasMessageContaining("more GPU memory")
                .hasMessageContaining("50 kB are available");
    }

    private MemoryPlan plan(GradientCheckpointing checkpointing, MemoryUse use) {
        Kernels kernels = KernelsProxy.answering(Backends.cpu(), call -> {}, Map.of("memoryUse", arguments -> Optional.of(use)));
        return plan(checkpointing, kernels);
    }

    @Test
    void theLimitOfAControlGroupOrOfOneAboveCounts() throws IOException {
        ProcessMemory process = new ProcessMemory(root);
        assertThat(process.available()).isEmpty();
        available(8L << 30);
        assertThat(process.available()).hasValue(8L << 30);
        write("proc/self/cgroup", "0::/outer/inner\n");
        write("sys/fs/cgroup/outer/inner/memory.max", "max\n");
        write("sys/fs/cgroup/outer/inner/memory.current", "1000\n");
        assertThat(process.available()).hasValue(8L << 30);
        write("sys/fs/cgroup/outer/memory.max", "5000000\n");
        write("sys/fs/cgroup/outer/memory.current", "3000000\n");
        write("sys/fs/cgroup/outer/memory.stat", "anon 2000000\ninactive_file 500000\n");
        assertThat(process.available()).hasValue(2_500_000);
        write("proc/self/cgroup", "12:cpu,memory:/docker/abc\n1:name=systemd:/\n");
        write("sys/fs/cgroup/memory/memory.limit_in_bytes", "7000000\n");
        write("sys/fs/cgroup/memory/memory.usage_in_bytes", "1000000\n");
        assertThat(process.available()).hasValue(6_000_000);
    }

    @Test
    void theProcessIsMeasuredInBothParts() throws IOException {
        ProcessMemory process = new ProcessMemory(root);
        assertThat(process.resident()).isEmpty();
        write("proc/self/status", "VmHWM:\t 900 kB\nRssAnon:\t     300 kB\nRssFile:\t   40 kB\nRssShmem:\t 2 kB\n");
        assertThat(process.resident()).hasValue(new ProcessMemory.Resident(300 * 1024, 42 * 1024));
    }
}
