package dev.panacea.kernels;

import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.random.RandomGenerator;
import java.util.SplittableRandom;

/**
 * Runs kernels at the shapes of a small model, once each, so that a simulated driver counts what they do: a program of its own, since the counters
 * are per process. {@link CudaCountersTest} starts it and judges them.
 */
final class CudaCounters {
    /** Tokens, hidden and intermediate width of the streaming kernels. */
    static final int M = 256;
    static final int N = 2048;
    static final int VOCAB = 16384;
    /** The side of the square weights; elements of the optimizer's parameters. */
    static final int K = 2048;
    /** Rows of the 4-bit weight of one row's product. */
    static final int WIDE = 8192;
    static final int PARAMETERS = 1 << 18;
    /** The product of the gate, and the tokens of attention. */
    static final int GEMM_M = 512;
    static final int TOKENS = 512;
    /** The side of F32 products with the large tiles, the length of their sums, and LoRA's rank. */
    static final int SIDE = 1280;
    static final int DEPTH = 64;
    static final int RANK = 16;
    static final AttentionShape HEADS_64 = new AttentionShape(4, 2, 64, 0.125f);
    static final AttentionShape HEADS_128 = new AttentionShape(2, 1, 128, 0.0884f);

    private final CudaKernels kernels;
    private final RandomGenerator random = new SplittableRandom(1);
    private final List<DeviceMemory> memories = new ArrayList<>();

    private CudaCounters(CudaKernels kernels) {
        this.kernels = kernels;
    }

    /**
     * @param args which group of kernels to run: {@code streaming}, {@code gemm}, {@code single}, {@code lora} or {@code attention}; or {@code product}, the format of a
     *     weight ({@code NF4}, {@code BF16}, {@code F32} or one of ggml's), the type of the activations, and m, n and k; or {@code loss}, the type of the gradient, rows and
     *     vocabulary
     */
    public static void main(String[] args) {
        try (CudaKernels kernels = CudaKernels.open(0, false)) {
            CudaCounters counters = new CudaCounters(kernels);
            switch (args[0]) {
                case "streaming" -> counters.streaming();
                case "gemm" -> counters.gemm();
                case "single" -> counters.singlePrecision();
                case "lora" -> {
                    counters.lora(DType.BF16);
                    counters.lora(DType.F32);
                }
                case "attention" -> {
                    counters.attention(HEADS_64);
                    counters.attention(HEADS_128);
                }
                case "product" -> counters.product(args[1], DType.valueOf(args[2]), Integer.parseInt(args[3]), Integer.parseInt(args[4]), Integer.parseInt(args[5]));
                case "loss" -> counters.loss(DType.valueOf(args[1]), Integer.parseInt(args[2]), Integer.parseInt(args[3]));
                default -> throw new IllegalArgumentException(args[0]);
            }
        }
    }

    private DeviceBuffer buffer(DType type, long count) {
        DeviceMemory memory = kernels.allocate(count * type.bytes());
        memories.add(memory);
        return memory.view(type);
    }

    private DeviceBuffer values(DType type, int count) {
        DeviceBuffer b = buffer(type, count);
        kernels.upload(MemorySegment.ofArray(KernelCase.content(type, KernelCase.random(random, count, 1))), b);
        return b;
    }

    private DeviceBuffer bytes(int count) {
        DeviceBuffer b = buffer(DType.U8, count);
        byte[] content = new byte[count];
        for (int i = 0; i < count; i++) {
            content[i] = (byte) random.nextInt();
        }
        kernels.upload(MemorySegment.ofArray(content), b);
        return b;
    }

    private DeviceBuffer ints(int... content) {
        DeviceBuffer b = buffer(DType.I32, content.length);
        kernels.upload(MemorySegment.ofArray(content), b);
        return b;
    }

    private DeviceBuffer range(int count) {
        int[] content = new int[count];
        for (int i = 0; i < count; i++) {
            content[i] = i;
        }
        return ints(content);
    }

    /** NF4 with double quantization, blocks of 64. */
    private Q4Weight nf4(int rows, int cols) {
        int blocks = rows * cols / 64;
        DeviceBuffer levels = buffer(DType.F32, 16);
        kernels.upload(MemorySegment.ofArray(QuantType.NF4.levels()), levels);
        return new Q4Weight(rows, cols, 64, bytes(rows * cols / 2), levels, bytes(blocks),
                Optional.of(new Q4Weight.Nested(values(DType.F32, 256), values(DType.F32, Math.ceilDiv(blocks, 256)), 0.5f)));
    }

    private void streaming() {
        DType bf16 = DType.BF16;
        DeviceBuffer x = values(bf16, M * N);
        DeviceBuffer y = values(bf16, M * N);
        DeviceBuffer z = values(bf16, M * N);
        DeviceBuffer weight = values(DType.F32, N);
        DeviceBuffer inv = values(DType.F32, M);
        kernels.copy(x, buffer(DType.F32, M * N), M * N, false);
        kernels.copy(x, y, M * N, true);
        kernels.rmsNorm(x, weight, 1e-5f, M, N, y, inv);
        kernels.rmsNormBackward(x, weight, inv, y, M, N, z, false);
        kernels.swiGlu(x, y, M * N, z);
        kernels.swiGluBackward(x, y, z, M * N, buffer(bf16, M * N), buffer(bf16, M * N));
        DeviceBuffer table = values(DType.F32, M * 32);
        kernels.rope(x, range(M), table, table, M, N / 64, 64, false);
        kernels.scatterRows(x, range(M), M, N, y, false);
        loss(bf16, 64, VOCAB);
        DeviceBuffer p = values(DType.F32, PARAMETERS);
        AdamWStep step = new AdamWStep(1, 1e-3f, 0.9f, 0.999f, 1e-8f, 0.01f, 1);
        kernels.adamW(p, values(DType.F32, PARAMETERS), buffer(DType.F32, PARAMETERS), buffer(DType.F32, PARAMETERS), PARAMETERS, step);
        kernels.adamW8bit(p, values(DType.F32, PARAMETERS), new Moments8bit(buffer(DType.U8, PARAMETERS), buffer(DType.U8, PARAMETERS), buffer(DType.F32, PARAMETERS / 256),
                buffer(DType.F32, PARAMETERS / 256), levels(true), levels(false)), PARAMETERS, step);
        kernels.sumOfSquares(p, PARAMETERS);
        Q4Weight w = nf4(K, K);
        kernels.dequantize(w, buffer(bf16, K * K));
        kernels.quantize4(QuantType.NF4, x, M * N, 64, buffer(DType.U8, M * N / 2), buffer(DType.F32, M * N / 64));
        kernels.gatherRows(w, range(M), M, y);
        kernels.linear(nf4(WIDE, K), x.slice(0, K), 1, y.slice(0, WIDE), false);
        kernels.linear(new DenseWeight(values(bf16, K * K), K, K), x.slice(0, K), 1, y.slice(0, K), false);
        BlockWeight blocks = new BlockWeight(GgmlType.Q6_K, bytes((int) GgmlType.Q6_K.byteSize(K) * K), K, K, 0);
        kernels.dequantize(blocks, buffer(bf16, K * K));
        kernels.linear(blocks, x.slice(0, K), 1, y.slice(0, K), false);
    }

    private void loss(DType type, int rows, int vocab) {
        kernels.crossEntropyWithGrad(values(DType.F32, rows * vocab), range(rows), rows, vocab, 0.01f, buffer(DType.F32, rows), buffer(type, rows * vocab));
    }

    private void product(String format, DType type, int m, int n, int k) {
        Weight w = switch (format) {
            case "NF4" -> nf4(n, k);
            case "BF16", "F32" -> new DenseWeight(values(DType.valueOf(format), n * k), n, k);
            default -> new BlockWeight(GgmlType.valueOf(format), bytes((int) GgmlType.valueOf(format).byteSize(k) * n), n, k, 0);
        };
        kernels.linear(w, values(type, m * k), m, buffer(type, m * n), false);
    }

    private DeviceBuffer levels(boolean signed) {
        DeviceBuffer b = buffer(DType.F32, 256);
        kernels.upload(MemorySegment.ofArray((signed ? DynamicMap.SIGNED : DynamicMap.UNSIGNED).levels()), b);
        return b;
    }

    private void gemm() {
        DenseWeight w = new DenseWeight(values(DType.BF16, K * K), K, K);
        DeviceBuffer x = values(DType.BF16, GEMM_M * K);
        DeviceBuffer y = buffer(DType.BF16, GEMM_M * K);
        kernels.linear(w, x, GEMM_M, y, false);
        kernels.linearInputGrad(w, y, GEMM_M, x, false);
        kernels.linearWeightGrad(y, x, GEMM_M, K, K, buffer(DType.F32, K * K));
    }

    private void singlePrecision() {
        CudaGemmF32 gemm = new CudaGemmF32(kernels.context());
        DeviceBuffer a = values(DType.F32, SIDE * DEPTH);
        DeviceBuffer b = values(DType.F32, SIDE * DEPTH);
        DeviceBuffer c = buffer(DType.F32, SIDE * SIDE);
        gemm.nt(a, b, SIDE, SIDE, DEPTH, c, false, Optional.empty());
        gemm.nn(a, b, SIDE, SIDE, DEPTH, c, false, Optional.empty());
        gemm.tn(a, b, SIDE, SIDE, DEPTH, c);
    }

    private void lora(DType type) {
        CudaLora lora = new CudaLora(kernels.context());
        DeviceBuffer x = values(type, GEMM_M * K);
        DeviceBuffer factor = values(DType.F32, RANK * K);
        DeviceBuffer low = buffer(DType.F32, RANK * GEMM_M);
        lora.down(x, factor, GEMM_M, K, RANK, low);
        lora.up(x, factor, GEMM_M, K, RANK, low);
        lora.gradA(low, x, GEMM_M, K, RANK, 1, factor);
        lora.gradB(x, low, GEMM_M, K, RANK, 1, factor);
    }

    private void attention(AttentionShape shape) {
        int q = TOKENS * shape.heads() * shape.headDim();
        int kv = TOKENS * shape.kvHeads() * shape.headDim();
        DType bf16 = DType.BF16;
        DeviceBuffer queries = values(bf16, q);
        DeviceBuffer keys = values(bf16, kv);
        DeviceBuffer vs = values(bf16, kv);
        DeviceBuffer out = buffer(bf16, q);
        DeviceBuffer lse = buffer(DType.F32, TOKENS * shape.heads());
        DeviceBuffer table = ints(0, TOKENS, 0, TOKENS);
        kernels.attention(queries, keys, vs, table, 1, shape, out, lse);
        kernels.attentionBackward(queries, keys, vs, out, lse, values(bf16, q), table, 1, shape, buffer(bf16, q), buffer(bf16, kv), buffer(bf16, kv));
    }
}
