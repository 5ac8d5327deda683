package dev.panacea.kernels;

import static dev.panacea.kernels.Checks.elements;
import static dev.panacea.kernels.CpuBuffers.in;
import static dev.panacea.kernels.CpuBuffers.out;
import static dev.panacea.kernels.CpuBuffers.type;

import dev.panacea.bindings.Setting;
import dev.panacea.bindings.generated.PanaceaCpu;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.ref.Reference;
import java.util.concurrent.locks.Lock;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.IntSupplier;
import java.util.stream.Collectors;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The native kernels, on the CPU, in the instruction set and with the threads chosen when it is opened. Types and lengths are checked here,
 * because the native side trusts them; indices (tokens, positions, targets) are checked there. Memory outlives the kernels: a
 * {@link DeviceMemory} is valid until it is closed itself.
 *
 * <p>Any thread may call any method at any time: calls take turns, and closing these kernels, or memory that any call may read, waits for the call that is running.
 * Whoever calls on what has been closed gets an {@link IllegalStateException}. Several kernels may compute at the same time, in threads of their own.
 */
public final class CpuKernels implements Kernels {
    private static final Logger LOG = LoggerFactory.getLogger(CpuKernels.class);
    private static final Setting THREADS = new Setting("panacea.threads", "PANACEA_THREADS");
    private static final int MAX_THREADS = 1024;

    private final ReentrantLock calls = new ReentrantLock();
    private final Lock running = NativeCalls.running();
    private final Arena arena = Arena.ofShared();
    private final WeightStruct weight = new WeightStruct(arena);
    private final MemorySegment sum = arena.allocate(ValueLayout.JAVA_DOUBLE);
    private final CpuTier tier;
    private final MemorySegment context;
    private boolean closed;

    private CpuKernels(CpuTier tier, int threads) {
        this.tier = tier;
        MemorySegment out = arena.allocate(ValueLayout.ADDRESS);
        int code = PanaceaCpu.pan_open(tier.code(), threads, out);
        if (code != 0) {
            arena.close();
            throw failure(code);
        }
        context = out.get(ValueLayout.ADDRESS, 0);
    }

    /**
     * The kernels of the fastest tier of this CPU, with one thread per physical core. {@code -Dpanacea.cpu.tier} or
     * {@code PANACEA_CPU_TIER} caps the tier, {@code -Dpanacea.threads} or {@code PANACEA_THREADS} sets the threads.
     *
     * @throws UnsupportedBackendException if this build has no native library for this machine
     * @throws PanaceaException if a setting is wrong, or the library named by a setting cannot be used
     */
    public static CpuKernels open() {
        CpuKernels kernels = open(CpuTier.best(), THREADS.read().map(CpuKernels::parseThreads).orElse(0));
        LOG.info("Kernels: {}, from {}", kernels.description(), CpuLibrary.load().origin());
        return kernels;
    }

    /**
     * The kernels of a tier, whatever the settings say.
     *
     * @param threads 0 for one per physical core
     * @throws PanaceaException if this CPU lacks the tier, or there is no native library
     */
    public static CpuKernels open(CpuTier tier, int threads) {
        if (threads < 0 || threads > MAX_THREADS) {
            throw new IllegalArgumentException(threads + " threads: it must be 0 (one per physical core) to " + MAX_THREADS);
        }
        var supported = CpuTier.supported();
        if (!supported.contains(tier)) {
            throw new UnsupportedBackendException("this CPU cannot run " + tier + " kernels; it has " + supported.stream().map(CpuTier::toString).collect(Collectors.joining(", ")), null);
        }
        return new CpuKernels(tier, threads);
    }

    /** The instruction set in use. */
    public CpuTier tier() {
        return tier;
    }

    /** The number of threads that a call uses, the calling one included. */
    public int threads() {
        calls.lock();
        try {
            ensureOpen();
            return PanaceaCpu.pan_threads(context);
        } finally {
            calls.unlock();
        }
    }

    @Override
    public String description() {
        int threads = threads();
        return "cpu " + tier + ", " + threads + (threads == 1 ? " thread" : " threads");
    }

    // ---- memory ------------------------------------------------------------------------------------------------------

    @Override
    public DeviceMemory allocate(long bytes) {
        calls.lock();
        try {
            ensureOpen();
            return CpuMemory.allocate(bytes);
        } finally {
            calls.unlock();
        }
    }

    @Override
    public long scratchBytes() {
        calls.lock();
        try {
            ensureOpen();
            return PanaceaCpu.pan_scratch_bytes(context);
        } finally {
            calls.unlock();
        }
    }

    @Override
    public void upload(MemorySegment source, DeviceBuffer destination) {
        Checks.hostBytes(source, destination);
        copyBytes(source, out("destination", destination), destination.byteSize());
    }

    @Override
    public void download(DeviceBuffer source, MemorySegment destination) {
        Checks.hostBytes(destination, source);
        copyBytes(in("source", source), destination, source.byteSize());
    }

    private void copyBytes(MemorySegment source, MemorySegment destination, long bytes) {
        run(() -> {
            MemorySegment.copy(source, 0, destination, 0, bytes);
            return 0;
        });
    }

    @Override
    public void clear(DeviceBuffer buffer) {
        MemorySegment cleared = out("buffer", buffer);
        run(() -> {
            cleared.fill((byte) 0);
            return 0;
        });
    }

    @Override
    public void copy(DeviceBuffer x, DeviceBuffer y, long n, boolean accumulate) {
        OperationChecks.copy(x, y, n);
        run(() -> PanaceaCpu.pan_copy(context, in("x", x), type(x), out("y", y), type(y), n, flag(accumulate)));
    }

    // ---- linear layers -----------------------------------------------------------------------------------------------

    @Override
    public void linear(Weight w, DeviceBuffer x, int m, DeviceBuffer y, boolean accumulate) {
        OperationChecks.linear(w, x, m, y);
        run(() -> PanaceaCpu.pan_linear(context, weight.of(w), in("x", x), type(x), m, out("y", y), type(y), flag(accumulate)));
    }

    @Override
    public void linearInputGrad(Weight w, DeviceBuffer dy, int m, DeviceBuffer dx, boolean accumulate) {
        OperationChecks.linearInputGrad(w, dy, m, dx);
        run(() -> PanaceaCpu.pan_linear_input_grad(context, weight.of(w), in("dy", dy), type(dy), m, out("dx", dx), type(dx), flag(accumulate)));
    }

    @Override
    public void linearWeightGrad(DeviceBuffer dy, DeviceBuffer x, int m, int n, int k, DeviceBuffer dw) {
        OperationChecks.linearWeightGrad(dy, x, m, n, k, dw);
        run(() -> PanaceaCpu.pan_linear_weight_grad(context, in("dy", dy), in("x", x), type(dy), m, n, k, out("dw", dw)));
    }

    @Override
    public void loraLinear(Weight w, Lora lora, DeviceBuffer x, int m, DeviceBuffer s, DeviceBuffer y, boolean accumulate) {
        OperationChecks.loraLinear(w, lora, x, m, s, y);
        run(() -> PanaceaCpu.pan_lora_linear(context, weight.of(w), in("lora A", lora.a()), in("lora B", lora.b()), lora.rank(), lora.scaling(), in("x", x), m, out("s", s),
                out("y", y), type(x), flag(accumulate)));
    }

    @Override
    public void loraLinearBackward(Weight w, Lora lora, DeviceBuffer x, DeviceBuffer s, DeviceBuffer dy, int m, DeviceBuffer da, DeviceBuffer db, DeviceBuffer dx,
            boolean accumulate) {
        OperationChecks.loraLinearBackward(w, lora, x, s, dy, m, da, db, dx);
        run(() -> PanaceaCpu.pan_lora_linear_backward(context, weight.of(w), in("lora A", lora.a()), in("lora B", lora.b()), lora.rank(), lora.scaling(), in("x", x), in("s", s),
                in("dy", dy), m, out("da", da), out("db", db), out("dx", dx), type(x), flag(accumulate)));
    }

    // ---- 4-bit weights -----------------------------------------------------------------------------------------------

    @Override
    public void quantize4(QuantType type, DeviceBuffer x, long n, int blockSize, DeviceBuffer packed, DeviceBuffer absmax) {
        OperationChecks.quantize4(x, n, blockSize, packed, absmax);
        run(() -> PanaceaCpu.pan_quantize4(context, in("x", x), type(x), n, blockSize, flag(type == QuantType.FP4), out("packed", packed), out("absmax", absmax)));
    }

    @Override
    public void dequantize(Weight w, DeviceBuffer y) {
        OperationChecks.dequantize(w, y);
        run(() -> PanaceaCpu.pan_dequantize(context, weight.of(w), out("y", y), type(y)));
    }

    // ---- transformer layers ------------------------------------------------------------------------------------------

    @Override
    public void rmsNorm(DeviceBuffer x, DeviceBuffer weight, float eps, int m, int n, DeviceBuffer y, DeviceBuffer inv) {
        OperationChecks.rmsNorm(x, weight, m, n, y, inv);
        run(() -> PanaceaCpu.pan_rms_norm(context, in("x", x), in("weight", weight), eps, m, n, out("y", y), out("inv", inv), type(x)));
    }

    @Override
    public void rmsNormBackward(DeviceBuffer x, DeviceBuffer weight, DeviceBuffer inv, DeviceBuffer dy, int m, int n, DeviceBuffer dx, boolean accumulate) {
        OperationChecks.rmsNormBackward(x, weight, inv, dy, m, n, dx);
        run(() -> PanaceaCpu.pan_rms_norm_backward(context, in("x", x), in("weight", weight), in("inv", inv), in("dy", dy), m, n, out("dx", dx), type(x), flag(accumulate)));
    }

    @Override
    public void rmsNormWeightGrad(DeviceBuffer x, DeviceBuffer inv, DeviceBuffer dy, int m, int n, DeviceBuffer dweight) {
        OperationChecks.rmsNormWeightGrad(x, inv, dy, m, n, dweight);
        run(() -> PanaceaCpu.pan_rms_norm_weight_grad(context, in("x", x), in("inv", inv), in("dy", dy), m, n, out("dweight", dweight), type(x)));
    }

    @Override
    public void rope(DeviceBuffer x, DeviceBuffer positions, DeviceBuffer cos, DeviceBuffer sin, int m, int heads, int headDim, boolean inverse) {
        long tableRows = OperationChecks.rope(x, positions, cos, sin, m, heads, headDim);
        run(() -> PanaceaCpu.pan_rope(context, out("x", x), type(x), in("positions", positions), in("cos", cos), in("sin", sin), tableRows, m, heads, headDim, flag(inverse)));
    }

    @Override
    public void attention(DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer sequences, int count, AttentionShape shape, DeviceBuffer out, DeviceBuffer lse) {
        Checks.attention(q, k, v, out, lse, sequences, count, shape);
        run(() -> PanaceaCpu.pan_attention(context, in("q", q), in("k", k), in("v", v), out("out", out), out("lse", lse), type(q), in("sequences", sequences), count, shape.heads(),
                shape.kvHeads(), shape.headDim(), shape.scale()));
    }

    @Override
    public void attentionBackward(DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer out, DeviceBuffer lse, DeviceBuffer dout, DeviceBuffer sequences, int count,
            AttentionShape shape, DeviceBuffer dq, DeviceBuffer dk, DeviceBuffer dv) {
        int[] table = Checks.attention(q, k, v, out, lse, sequences, count, shape);
        Checks.attentionGradient(table, shape, q.type(), dout, dq, dk, dv);
        run(() -> PanaceaCpu.pan_attention_backward(context, in("q", q), in("k", k), in("v", v), in("out", out), in("lse", lse), in("dout", dout), out("dq", dq), out("dk", dk),
                out("dv", dv), type(q), in("sequences", sequences), count, shape.heads(), shape.kvHeads(), shape.headDim(), shape.scale()));
    }

    @Override
    public void swiGlu(DeviceBuffer gate, DeviceBuffer up, long n, DeviceBuffer y) {
        OperationChecks.swiGlu(gate, up, n, y);
        run(() -> PanaceaCpu.pan_swiglu(context, in("gate", gate), in("up", up), out("y", y), n, type(gate)));
    }

    @Override
    public void swiGluBackward(DeviceBuffer gate, DeviceBuffer up, DeviceBuffer dy, long n, DeviceBuffer dgate, DeviceBuffer dup) {
        OperationChecks.swiGluBackward(gate, up, dy, n, dgate, dup);
        run(() -> PanaceaCpu.pan_swiglu_backward(context, in("gate", gate), in("up", up), in("dy", dy), out("dgate", dgate), out("dup", dup), n, type(gate)));
    }

    // ---- rows, loss, optimizer ---------------------------------------------------------------------------------------

    @Override
    public void gatherRows(Weight w, DeviceBuffer index, int m, DeviceBuffer y) {
        OperationChecks.gatherRows(w, index, m, y);
        run(() -> PanaceaCpu.pan_gather_rows(context, weight.of(w), in("index", index), m, out("y", y), type(y)));
    }

    @Override
    public void scatterRows(DeviceBuffer x, DeviceBuffer index, int m, int cols, DeviceBuffer y, boolean accumulate) {
        long yRows = OperationChecks.scatterRows(x, index, m, cols, y);
        run(() -> PanaceaCpu.pan_scatter_rows(context, in("x", x), type(x), in("index", index), m, cols, out("y", y), type(y), yRows, flag(accumulate)));
    }

    @Override
    public void crossEntropy(DeviceBuffer logits, DeviceBuffer targets, int rows, int vocab, DeviceBuffer losses) {
        OperationChecks.crossEntropy(logits, targets, rows, vocab, losses);
        run(() -> PanaceaCpu.pan_cross_entropy(context, in("logits", logits), in("targets", targets), rows, vocab, 0, out("losses", losses), MemorySegment.NULL, PanaceaCpu.PAN_F32()));
    }

    @Override
    public void crossEntropyWithGrad(DeviceBuffer logits, DeviceBuffer targets, int rows, int vocab, float gradScale, DeviceBuffer losses, DeviceBuffer gradient) {
        OperationChecks.crossEntropy(logits, targets, rows, vocab, losses);
        Checks.activation("gradient", gradient, elements(rows, vocab));
        run(() -> PanaceaCpu.pan_cross_entropy(context, in("logits", logits), in("targets", targets), rows, vocab, gradScale, out("losses", losses), out("gradient", gradient),
                type(gradient)));
    }

    @Override
    public void argMax(DeviceBuffer logits, int rows, int vocab, DeviceBuffer ids) {
        OperationChecks.argMax(logits, rows, vocab, ids);
        run(() -> {
            LargestLogits.argMax(logits, rows, vocab, ids);
            return 0;
        });
    }

    @Override
    public void topK(DeviceBuffer logits, int rows, int vocab, int k, double temperature, DeviceBuffer ids, DeviceBuffer values, DeviceBuffer sums) {
        OperationChecks.topK(logits, rows, vocab, k, temperature, ids, values, sums);
        run(() -> {
            LargestLogits.topK(logits, rows, vocab, k, temperature, ids, values, sums);
            return 0;
        });
    }

    @Override
    public void adamW(DeviceBuffer p, DeviceBuffer g, DeviceBuffer m, DeviceBuffer v, long n, AdamWStep step) {
        OperationChecks.adamW(p, g, m, v, n, step);
        run(() -> PanaceaCpu.pan_adamw(context, out("p", p), in("g", g), out("m", m), out("v", v), n, step.gradScale(), step.learningRate(), step.beta1(), step.beta2(), step.eps(),
                step.weightDecay(), step.step()));
    }

    @Override
    public void adamW8bit(DeviceBuffer p, DeviceBuffer g, Moments8bit moments, long n, AdamWStep step) {
        Checks.adamW8bit(p, g, moments, n, step);
        run(() -> PanaceaCpu.pan_adamw8bit(context, out("p", p), in("g", g), out("mCodes", moments.mCodes()), out("vCodes", moments.vCodes()), out("mAbsmax", moments.mAbsmax()),
                out("vAbsmax", moments.vAbsmax()), in("mLevels", moments.mLevels()), in("vLevels", moments.vLevels()), n, step.gradScale(), step.learningRate(), step.beta1(),
                step.beta2(), step.eps(), step.weightDecay(), step.step()));
    }

    @Override
    public double sumOfSquares(DeviceBuffer x, long n) {
        Checks.activation("x", x, elements(n));
        return withDouble(() -> PanaceaCpu.pan_sum_of_squares(context, in("x", x), type(x), n, sum));
    }

    // ---- probes ------------------------------------------------------------------------------------------------------

    /** Multiply-adds in registers, about {@code rounds} million operations on each thread; the number of operations done. */
    double probeArithmetic(DType type, long rounds) {
        int code = type == DType.BF16 ? PanaceaCpu.PAN_BF16() : PanaceaCpu.PAN_F32();
        return withDouble(() -> PanaceaCpu.pan_probe_arithmetic(context, code, rounds, sum));
    }

    /** Reads all of a buffer, a multiple of 64 bytes; a number that depends on every byte of it. */
    double probeRead(DeviceBuffer b) {
        return withDouble(() -> PanaceaCpu.pan_probe_read(context, in("memory", b), b.byteSize(), sum));
    }

    @Override
    public void close() {
        calls.lock();
        try {
            if (!closed) {
                closed = true;
                PanaceaCpu.pan_close(context);
                arena.close();
            }
        } finally {
            calls.unlock();
        }
    }

    // ---- calls -------------------------------------------------------------------------------------------------------

    /** One call at a time: the context allows no more, and the weight's struct is shared. */
    private void run(IntSupplier call) {
        calls.lock();
        try {
            ensureOpen();
            int code;
            running.lock();
            try {
                code = call.getAsInt();
            } finally {
                running.unlock();
            }
            if (code != 0) {
                throw failure(code);
            }
        } finally {
            // The struct of a weight has addresses only; the call refers to the weight, and so keeps its memory from being collected.
            Reference.reachabilityFence(call);
            calls.unlock();
        }
    }

    /** A call that leaves its result in {@link #sum}. */
    private double withDouble(IntSupplier call) {
        calls.lock();
        try {
            run(call);
            return sum.get(ValueLayout.JAVA_DOUBLE, 0);
        } finally {
            calls.unlock();
        }
    }

    private void ensureOpen() {
        if (closed) {
            throw new IllegalStateException("these kernels have been closed");
        }
    }

    private static RuntimeException failure(int code) {
        String text = PanaceaCpu.pan_last_error().getString(0);
        if (code == PanaceaCpu.PAN_ERROR_ARGUMENT()) {
            return new IllegalArgumentException(text);
        }
        if (code == PanaceaCpu.PAN_ERROR_MEMORY()) {
            return new PanaceaException(text + "; use a smaller batch, shorter sequences or 4-bit weights, or close other programs");
        }
        if (code == PanaceaCpu.PAN_ERROR_UNSUPPORTED()) {
            return new UnsupportedBackendException(text, null);
        }
        return new IllegalStateException("the native library answered " + code + ": " + text);
    }

    private static int flag(boolean value) {
        return value ? 1 : 0;
    }

    private static int parseThreads(Setting.Value setting) {
        try {
            int threads = Integer.parseInt(setting.text());
            if (threads >= 1 && threads <= MAX_THREADS) {
                return threads;
            }
        } catch (NumberFormatException e) {
            // Said below, as for a number out of range.
        }
        throw new PanaceaException(setting.origin() + " is '" + setting.text() + "'; it must be a whole number from 1 to " + MAX_THREADS);
    }
}
