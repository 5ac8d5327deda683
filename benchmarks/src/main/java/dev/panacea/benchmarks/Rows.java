package dev.panacea.benchmarks;

import dev.panacea.benchmarks.Interleaved.Budget;
import dev.panacea.kernels.CpuKernels;
import dev.panacea.kernels.CpuTier;
import dev.panacea.kernels.DType;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.function.Function;

/** The rows of the quick mode. */
final class Rows {
    private static final int TOKENS = 1024;
    /** N and K of SmolLM2-135M's and Llama-3.2-1B's MLPs, and of Llama-3-8B's attention. */
    private static final int[][] LINEAR = {{1536, 576}, {576, 1536}, {8192, 2048}, {2048, 8192}, {4096, 4096}};
    /** Of Llama 3, whose head is the largest matrix there is. */
    private static final int VOCABULARY = 128_256;
    private static final long ADAMW = 4 << 20;
    private static final Budget STEPS = new Budget(3, 8, 12);
    private static final Budget LONG_STEPS = new Budget(2, 2, 0);

    private Rows() {}

    /**
     * All rows on the best tier, and some on each other one.
     *
     * @param best the tier of the whole set
     * @param others the tiers of which the rows that show a tier's kernels are made too
     */
    static List<Row> all(CpuTier best, List<CpuTier> others) {
        List<Row> rows = new ArrayList<>();
        for (int[] nk : LINEAR) {
            rows.add(linear(best, WeightFormat.NF4, nk[0], nk[1]));
            rows.add(inputGrad(best, WeightFormat.NF4, nk[0], nk[1]));
        }
        rows.add(linear(best, WeightFormat.BF16, 8192, 2048));
        rows.add(inputGrad(best, WeightFormat.BF16, 8192, 2048));
        rows.add(gemv(best, WeightFormat.NF4, 8192, 2048));
        rows.add(gemv(best, WeightFormat.NF4, 2048, 8192));
        rows.add(gemv(best, WeightFormat.NF4, VOCABULARY, 2048));
        rows.add(gemv(best, WeightFormat.BF16, 8192, 2048));
        rows.add(gemv(best, WeightFormat.BF16, VOCABULARY, 2048));
        for (AttentionWork.Shape s : List.of(shape(1, 2048, 9, 3), shape(1, 2048, 32, 8), shape(8, 256, 9, 3), shape(8, 256, 32, 8))) {
            rows.add(attention(best, s));
            rows.add(attentionBackward(best, s));
        }
        for (WeightFormat ggml : List.of(WeightFormat.Q4_1, WeightFormat.Q4_K)) {
            rows.add(linear(best, ggml, 8192, 2048));
            rows.add(inputGrad(best, ggml, 8192, 2048));
            rows.add(gemv(best, ggml, 8192, 2048));
        }
        rows.add(adamW(best));
        rows.add(new Row.Kernel("adamw-blockwise-8", (ADAMW >> 20) + " Mi parameters", best, Ceiling.READ, c -> OtherWork.adamW8bit(c, ADAMW), Optional.empty()));
        for (CpuTier tier : others) {
            // The portable tier would take seconds for the large shape.
            int[] nk = tier == CpuTier.PORTABLE ? LINEAR[0] : LINEAR[2];
            rows.add(linear(tier, WeightFormat.NF4, nk[0], nk[1]));
            rows.add(inputGrad(tier, WeightFormat.NF4, nk[0], nk[1]));
            rows.add(gemv(tier, WeightFormat.NF4, 8192, 2048));
            rows.add(attention(tier, shape(8, 256, 9, 3)));
            rows.add(attentionBackward(tier, shape(8, 256, 9, 3)));
        }
        rows.add(step(best, "135m", 4, 256, false));
        rows.add(step(best, "1b", 2, 256, false));
        rows.add(new Row.Program("decode-1b", "NF4, batch 1, context 512", best, "tokens/s", Ceiling.READ, new Budget(5, 6, 8), false, List.of("decode", "1b", "1", "512")));
        rows.add(new Row.Program("prompt-1b", "NF4, 1x512", best, "tokens/s", Ceiling.products(best), new Budget(3, 5, 8), false, List.of("prompt", "1b", "1", "512")));
        rows.add(new Row.StartUp("start-up", "to the first step's beginning", best, false));
        rows.add(new Row.StartUp("start-up", "to the first step's end, 4 dialogues", best, true));
        rows.add(step(best, "8b", 1, 512, true));
        return rows;
    }

    static Row linear(CpuTier tier, WeightFormat format, int n, int k) {
        return product(tier, "linear-" + id(format), n, k, c -> LinearWork.forward(c, format, TOKENS, n, k), t -> t.linear(DType.BF16, TOKENS, n, k, 1));
    }

    static Row inputGrad(CpuTier tier, WeightFormat format, int n, int k) {
        return product(tier, "input-grad-" + id(format), n, k, c -> LinearWork.inputGrad(c, format, TOKENS, n, k), t -> t.linearInputGrad(DType.BF16, TOKENS, n, k));
    }

    private static Row product(CpuTier tier, String name, int n, int k, Function<CpuKernels, Workload> ours, Function<PeerLibrary, Peer> peer) {
        return new Row.Kernel(name, "M " + TOKENS + ", (N,K) " + n + "x" + k, tier, Ceiling.products(tier), ours, Optional.of(peer));
    }

    static Row gemv(CpuTier tier, WeightFormat format, int n, int k) {
        return new Row.Kernel("gemv-" + id(format), "M 1, (N,K) " + n + "x" + k, tier, Ceiling.READ, c -> LinearWork.gemv(c, format, 1, n, k),
                Optional.of(t -> t.linear(DType.BF16, 1, n, k, Workload.rounds(WeightFormat.BF16.bytes(n, k)))));
    }

    static AttentionWork.Shape shape(int sequences, int length, int heads, int kvHeads) {
        return new AttentionWork.Shape(sequences, length, heads, kvHeads, 64);
    }

    static Row attention(CpuTier tier, AttentionWork.Shape s) {
        return new Row.Kernel("attention", s.toString(), tier, Ceiling.F32_FMA, c -> AttentionWork.forward(c, s), Optional.of(t -> t.attention(s)));
    }

    static Row attentionBackward(CpuTier tier, AttentionWork.Shape s) {
        return new Row.Kernel("attention-backward", s.toString(), tier, Ceiling.F32_FMA, c -> AttentionWork.backward(c, s), Optional.of(t -> t.attentionBackward(s)));
    }

    static Row adamW(CpuTier tier) {
        return new Row.Kernel("adamw", (ADAMW >> 20) + " Mi parameters", tier, Ceiling.READ, c -> OtherWork.adamW(c, ADAMW),
                Optional.of(t -> t.adamW(ADAMW, Workload.rounds(28.0 * ADAMW))));
    }

    static Row step(CpuTier tier, String model, int sequences, int length, boolean takesMinutes) {
        return new Row.Program("qlora-step-" + model, "NF4, r 8 all linear, " + sequences + "x" + length + (takesMinutes ? ", checkpointing" : ""), tier, "tokens/s", Ceiling.products(tier),
                takesMinutes ? LONG_STEPS : STEPS, takesMinutes, List.of(takesMinutes ? "step-checkpointed" : "step", model, Integer.toString(sequences), Integer.toString(length)));
    }

    private static String id(WeightFormat format) {
        return format.name().toLowerCase(Locale.ROOT);
    }
}
