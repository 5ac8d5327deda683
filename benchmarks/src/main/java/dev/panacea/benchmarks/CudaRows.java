package dev.panacea.benchmarks;

import dev.panacea.autograd.LinearCrossEntropy;
import dev.panacea.benchmarks.CudaRow.Bound;
import dev.panacea.kernels.Kernels;
import dev.panacea.llama.LlamaConfig;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.Function;

/** The rows of a GPU's table: kernels, then the programs that people care for. */
final class CudaRows {
    private static final int RANK = 16;
    /** Of Llama 3, whose head is the largest matrix there is. */
    private static final int VOCABULARY = 128_256;
    /** Bytes of a value in NF4 with its scales, of AdamW's four operands, and of those of AdamW with moments in 8 bits. */
    private static final double NF4 = 0.52;
    private static final int ADAMW = 16;
    private static final int ADAMW_8BIT = 11;

    private final List<CudaRow> rows = new ArrayList<>();

    private CudaRows() {}

    /** Shapes of real models. */
    static List<CudaRow> full() {
        CudaRows r = new CudaRows();
        for (int[] nk : new int[][] {{8192, 2048}, {2048, 8192}, {4096, 4096}, {14336, 4096}}) {
            r.products(4096, nk[0], nk[1]);
        }
        r.linear(WeightFormat.NF4, 16, 4096, 4096);
        r.linear(WeightFormat.NF4, 64, 4096, 4096);
        r.gemv(14336, 4096);
        r.attention(new AttentionWork.Shape(4, 2048, 32, 8, 64));
        r.attention(new AttentionWork.Shape(4, 2048, 32, 8, 128));
        r.attention(new AttentionWork.Shape(16, 256, 32, 8, 64));
        r.head(4096, VOCABULARY, 2048);
        r.streaming(4096, 4096, 14336);
        r.optimizer(64 << 20);
        r.step("135m", 4, 256, false);
        r.step("1b", 2, 2048, true);
        r.step("8b", 2, 2048, true);
        for (String model : List.of("135m", "1b", "8b")) {
            r.decode(model, 512);
            r.prompt(model, 2048);
        }
        return List.copyOf(r.rows);
    }

    /** The same rows in shapes that a simulated driver, too, is through with in seconds: whether everything runs, not how fast. */
    static List<CudaRow> small() {
        CudaRows r = new CudaRows();
        r.products(136, 64, 128);
        r.linear(WeightFormat.NF4, 16, 64, 128);
        r.gemv(32, 256);
        r.attention(new AttentionWork.Shape(2, 20, 2, 1, 64));
        r.attention(new AttentionWork.Shape(1, 20, 2, 1, 128));
        r.head(9, 128, 64);
        r.streaming(8, 128, 192);
        r.optimizer(2048);
        r.step("tiny", 2, 16, false);
        r.step("tiny", 2, 16, true);
        r.decode("tiny", 24);
        r.prompt("tiny", 24);
        return List.copyOf(r.rows);
    }

    // ---- kernels -----------------------------------------------------------------------------------------------------

    private void products(int m, int n, int k) {
        for (WeightFormat format : List.of(WeightFormat.BF16, WeightFormat.NF4)) {
            linear(format, m, n, k);
            product("input-grad", format, m, n, k, c -> LinearWork.inputGrad(c, format, m, n, k), c -> LinearWork.inputGrad(c, WeightFormat.BF16, m, n, k));
        }
        product("lora", WeightFormat.NF4, m, n, k, c -> LinearWork.loraForward(c, WeightFormat.NF4, m, n, k, RANK), c -> LinearWork.forward(c, WeightFormat.BF16, m, n, k));
        product("lora-backward", WeightFormat.NF4, m, n, k, c -> LinearWork.loraBackward(c, WeightFormat.NF4, m, n, k, RANK), c -> LinearWork.inputGrad(c, WeightFormat.BF16, m, n, k));
    }

    private void linear(WeightFormat format, int m, int n, int k) {
        product("linear", format, m, n, k, c -> LinearWork.forward(c, format, m, n, k), c -> LinearWork.forward(c, WeightFormat.BF16, m, n, k));
    }

    /** Ours, with the weight decoded into a scratch buffer perhaps, and the peer's dense one stay allocated side by side. */
    private void product(String name, WeightFormat format, int m, int n, int k, Function<Kernels, Workload> ours, Function<Kernels, Workload> peer) {
        long weights = format.bytes(n, k) + 2 * WeightFormat.BF16.bytes(n, k);
        long activations = 4L * 2 * m * (n + k);
        rows.add(new CudaRow.Kernel(name + " " + format, "M " + m + ", (N,K) " + n + "x" + k, Bound.TENSOR, weights + activations, ours, Optional.of(peer)));
    }

    private void gemv(int n, int k) {
        for (WeightFormat format : List.of(WeightFormat.NF4, WeightFormat.BF16, WeightFormat.Q4_K)) {
            row("gemv " + format, "M 1, (N,K) " + n + "x" + k, Bound.BANDWIDTH, format.bytes(n, k), c -> LinearWork.gemv(c, format, 1, n, k));
        }
    }

    private void attention(AttentionWork.Shape s) {
        long once = 4L * s.rows() * ((s.heads() + s.kvHeads()) * s.headDim() + s.heads() + 1);
        row("attention", s.toString(), Bound.TENSOR, once, c -> AttentionWork.forward(c, s));
        row("attention-backward", s.toString(), Bound.TENSOR, 3 * once, c -> AttentionWork.backward(c, s));
    }

    private void head(int m, int vocab, int hidden) {
        long logits = LinearCrossEntropy.rowsAtATime(vocab) * 6L * vocab;
        row("head-loss BF16", "M " + m + ", (N,K) " + vocab + "x" + hidden, Bound.TENSOR, WeightFormat.BF16.bytes(vocab, hidden) + 4L * m * hidden + logits,
                c -> OtherWork.headLoss(c, m, vocab, hidden));
    }

    private void streaming(int m, int width, int intermediate) {
        String w = intermediate + "x" + width;
        String x = m + "x" + width;
        String y = m + "x" + intermediate;
        long weight = 4L * intermediate * width;
        row("dequantize NF4", w, Bound.BANDWIDTH, weight, c -> OtherWork.dequantize(c, WeightFormat.NF4, intermediate, width));
        row("quantize NF4", w, Bound.BANDWIDTH, weight, c -> OtherWork.quantize(c, intermediate, width));
        row("rms-norm", x, Bound.BANDWIDTH, 4L * m * width, c -> OtherWork.rmsNorm(c, m, width));
        row("rms-norm-backward", x, Bound.BANDWIDTH, 6L * m * width, c -> OtherWork.rmsNormBackward(c, m, width));
        row("rope", x, Bound.BANDWIDTH, 4L * m * width, c -> OtherWork.rope(c, m, width));
        row("swiglu", y, Bound.BANDWIDTH, 6L * m * intermediate, c -> OtherWork.swiGlu(c, m, intermediate));
        row("swiglu-backward", y, Bound.BANDWIDTH, 10L * m * intermediate, c -> OtherWork.swiGluBackward(c, m, intermediate));
    }

    private void optimizer(int parameters) {
        String shape = parameters + " parameters";
        row("adamw", shape, Bound.BANDWIDTH, (long) ADAMW * parameters, c -> OtherWork.adamW(c, parameters));
        row("adamw-blockwise-8", shape, Bound.BANDWIDTH, (long) ADAMW_8BIT * parameters, c -> OtherWork.adamW8bit(c, parameters));
    }

    /** @param once bytes of one set of operands */
    private void row(String name, String shape, Bound bound, long once, Function<Kernels, Workload> ours) {
        long sets = bound == Bound.BANDWIDTH ? Machine.GPU_ROTATION : 0;
        rows.add(new CudaRow.Kernel(name, shape, bound, once + sets, ours, Optional.empty()));
    }

    // ---- programs ----------------------------------------------------------------------------------------------------

    /** QLoRA, rank 8 on all linear layers. Without checkpointing what a layer keeps of a token is counted as eight vectors of its width and three of its MLP's. */
    private void step(String model, int sequences, int length, boolean checkpointing) {
        LlamaConfig c = RandomCheckpoint.named(model);
        double layer = 2.0 * (8 * c.hiddenSize() + 3 * c.intermediateSize());
        double token = checkpointing ? 2.0 * c.numHiddenLayers() * c.hiddenSize() + 2 * layer : (c.numHiddenLayers() + 1) * layer;
        double logits = 6.0 * Math.min(sequences * length, LinearCrossEntropy.rowsAtATime(c.vocabSize())) * c.vocabSize();
        program("qlora-step-" + model, "NF4, r 8 all linear, " + sequences + "x" + length + (checkpointing ? ", checkpointing" : ""), Bound.TENSOR, model,
                sequences * length * token + logits, List.of(checkpointing ? "step-checkpointed" : "step", model, Integer.toString(sequences), Integer.toString(length)));
    }

    private void decode(String model, int context) {
        program("decode-" + model, "NF4, batch 1, context " + context, Bound.BANDWIDTH, model, 0, List.of("decode", model, "1", Integer.toString(context)));
    }

    private void prompt(String model, int length) {
        LlamaConfig c = RandomCheckpoint.named(model);
        program("prompt-" + model, "NF4, 1x" + length, Bound.TENSOR, model, 2.0 * length * (8 * c.hiddenSize() + 3 * c.intermediateSize()),
                List.of("prompt", model, "1", Integer.toString(length)));
    }

    private void program(String name, String shape, Bound bound, String model, double activations, List<String> arguments) {
        LlamaConfig c = RandomCheckpoint.named(model);
        double largest = 2.0 * c.hiddenSize() * c.intermediateSize();
        double weights = NF4 * LlamaCost.linearValues(c) + 2.0 * c.vocabSize() * c.hiddenSize() * (c.tieWordEmbeddings() ? 1 : 2);
        rows.add(new CudaRow.Program(name, shape, bound, (long) (weights + largest + activations), arguments));
    }
}
