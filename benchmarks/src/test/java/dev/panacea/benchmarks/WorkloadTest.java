package dev.panacea.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.panacea.kernels.CpuKernels;
import dev.panacea.kernels.CpuTier;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.DenseWeight;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.DeviceMemory;
import java.lang.foreign.MemorySegment;
import java.util.Map;
import java.util.function.Supplier;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** What the workloads count, and that they compute something. */
class WorkloadTest {
    private static CpuKernels kernels;

    @BeforeAll
    static void open() {
        kernels = CpuKernels.open(CpuTier.best(), 2);
    }

    @AfterAll
    static void close() {
        kernels.close();
    }

    /** Operations counted one by one: pairs of tokens that see each other, two operations per multiply-add. */
    @Test
    void countsOperationsAsLoopsWould() {
        AttentionWork.Shape s = new AttentionWork.Shape(2, 5, 4, 2, 16);
        long forward = 0;
        long backward = 0;
        for (int sequence = 0; sequence < 2; sequence++) {
            for (int head = 0; head < 4; head++) {
                for (int query = 0; query < 5; query++) {
                    for (int key = 0; key <= query; key++) {
                        forward += 2 * 2 * 16;
                        backward += 5 * 2 * 16;
                    }
                }
            }
        }
        assertThat(s.forwardFlops()).isEqualTo(forward);
        assertThat(s.backwardFlops()).isEqualTo(backward);
        assertFlops(2 * 3 * 64 * 32, () -> LinearWork.forward(kernels, WeightFormat.NF4, 3, 64, 32));
        assertFlops(2 * 3 * 64 * 32, () -> LinearWork.inputGrad(kernels, WeightFormat.BF16, 3, 64, 32));
        assertFlops(2 * 3 * (64 * 32 + 4 * 32 + 64 * 4), () -> LinearWork.loraForward(kernels, WeightFormat.NF4, 3, 64, 32, 4));
        // dx and t B are of the forward's size; dA and dB, and t itself, are products with the rank as well.
        assertFlops(2 * 3 * (64 * 32 + 2 * 4 * 32 + 2 * 64 * 4), () -> LinearWork.loraBackward(kernels, WeightFormat.NF4, 3, 64, 32, 4));
        assertFlops(4 * 3 * 128 * 32, () -> OtherWork.headLoss(kernels, 3, 128, 32));
    }

    private static void assertFlops(double expected, Supplier<Workload> make) {
        try (Workload w = make.get()) {
            assertThat(w.flops()).isEqualTo(expected);
        }
    }

    /** Every kind runs and leaves something other than zeros. */
    @Test
    void everyWorkloadComputesSomething() {
        Map<String, Supplier<Workload>> all = Map.ofEntries(Map.entry("forward", () -> LinearWork.forward(kernels, WeightFormat.NF4, 9, 64, 32)),
                Map.entry("input gradient", () -> LinearWork.inputGrad(kernels, WeightFormat.F32, 9, 64, 32)),
                Map.entry("lora forward", () -> LinearWork.loraForward(kernels, WeightFormat.NF4, 9, 64, 32, 4)),
                Map.entry("lora backward", () -> LinearWork.loraBackward(kernels, WeightFormat.BF16, 9, 64, 32, 4)),
                Map.entry("attention", () -> AttentionWork.forward(kernels, new AttentionWork.Shape(2, 33, 4, 2, 16))),
                Map.entry("attention backward", () -> AttentionWork.backward(kernels, new AttentionWork.Shape(2, 33, 4, 2, 16))),
                Map.entry("head", () -> OtherWork.headLoss(kernels, 33, 128, 32)),
                Map.entry("gemv", () -> LinearWork.gemv(kernels, WeightFormat.NF4, 1, 4096, 2048)),
                Map.entry("gemv Q4_1", () -> LinearWork.gemv(kernels, WeightFormat.Q4_1, 2, 4096, 2048)),
                Map.entry("forward Q6_K", () -> LinearWork.forward(kernels, WeightFormat.Q6_K, 9, 64, 256)),
                Map.entry("adamw 8-bit", () -> OtherWork.adamW8bit(kernels, 1 << 20)),
                Map.entry("adamw", () -> OtherWork.adamW(kernels, 1 << 20)),
                Map.entry("norm", () -> OtherWork.rmsNorm(kernels, 1024, 4096)),
                Map.entry("norm backward", () -> OtherWork.rmsNormBackward(kernels, 1024, 4096)),
                Map.entry("rope", () -> OtherWork.rope(kernels, 1024, 4096)),
                Map.entry("swiglu", () -> OtherWork.swiGlu(kernels, 1024, 4096)),
                Map.entry("swiglu backward", () -> OtherWork.swiGluBackward(kernels, 1024, 4096)),
                Map.entry("quantize", () -> OtherWork.quantize(kernels, 4096, 2048)),
                Map.entry("dequantize", () -> OtherWork.dequantize(kernels, WeightFormat.NF4, 4096, 2048)));
        all.forEach((name, make) -> {
            try (Workload w = make.get()) {
                DeviceBuffer result = w.result();
                result.host().fill((byte) 0);
                w.run();
                assertThat(result.host().mismatch(MemorySegment.ofArray(new byte[(int) result.byteSize()]))).as(name).isNotNegative();
                assertThat(w.flops() + w.bytes()).as(name).isPositive();
            }
        });
    }

    @Test
    void setsOfADramWorkloadAreLargerThanTheCacheTogether() {
        try (Workload w = LinearWork.gemv(kernels, WeightFormat.NF4, 1, 4096, 2048)) {
            assertThat(w.bytes()).isEqualTo(4096 * 2048 / 2 + 4096 * 2048 / 64 + 4 * 4096 * 2048 / 64 / 256);
            assertThat(w.sets() * w.bytes()).isGreaterThanOrEqualTo(Machine.rotation());
        }
        try (Workload w = OtherWork.adamW(kernels, 1000_000)) {
            assertThat(w.bytes()).isEqualTo(28e6);
            assertThat(w.sets()).isEqualTo((int) Math.ceil(Machine.rotation() / 28e6));
        }
    }

    @Test
    void bytesOfAWeightAreThoseOfItsBuffers() {
        try (Operands o = new Operands(kernels)) {
            for (WeightFormat f : WeightFormat.values()) {
                assertThat(o.weight(f, 48, 256).byteSize()).as(f.name()).isEqualTo(f.bytes(48, 256));
            }
        }
    }

    /** By the parameters of the published models: 0.54 GFLOP per token of a step for SmolLM2-135M. */
    @Test
    void costOfAModelFollowsFromItsShape() {
        assertThat(LlamaCost.linearValues(RandomCheckpoint.named("135m")) + 49152 * 576).isCloseTo(134.48e6, within(0.02e6));
        assertThat(LlamaCost.trainingFlops(RandomCheckpoint.named("135m"))).isCloseTo(0.54e9, within(0.005e9));
        assertThat(LlamaCost.linearValues(RandomCheckpoint.named("1b"))).isEqualTo(16 * (2 * 2048.0 * 2048 + 2 * 512 * 2048 + 3 * 8192 * 2048));
        assertThat(LlamaCost.linearValues(RandomCheckpoint.named("8b"))).isCloseTo(6.979e9, within(0.001e9));
        assertThat(LlamaCost.promptFlops(RandomCheckpoint.named("1b"), 10)).isEqualTo(20 * LlamaCost.linearValues(RandomCheckpoint.named("1b")) + 2.0 * 128256 * 2048);
        assertThat(LlamaCost.decodeBytes(RandomCheckpoint.named("1b"), 1000, 7)).isEqualTo(1000 + 16 * 2 * 7 * 512 * 2);
        assertThat(LlamaCost.decodeBytes(RandomCheckpoint.named("8b"), 2_000_000_000, 7)).isEqualTo(2e9 - 2.0 * 128256 * 4096 + 32 * 2 * 7 * 1024 * 2);
    }
}
