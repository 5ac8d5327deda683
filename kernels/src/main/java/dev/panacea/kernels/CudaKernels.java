package dev.panacea.kernels;

import dev.panacea.kernels.cuda.CudaAllocator;
import dev.panacea.kernels.cuda.CudaDevice;
import java.lang.foreign.MemorySegment;
import java.util.Optional;
import java.util.concurrent.locks.ReentrantLock;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The kernels of an NVIDIA GPU of compute capability 8.0 or later, launched through the CUDA driver. Types and lengths are checked before a
 * launch. Indices (tokens, positions, targets, sequences) are checked on the GPU: the operation leaves out what a wrong one names, and the next call
 * that waits for the GPU ({@link #download}, {@link #sumOfSquares}) throws the {@link IllegalArgumentException}.
 *
 * <p>Launches return before they are done; everything runs in the order asked for. Memory belongs to these kernels: after {@link #close()} it
 * is gone.
 */
public final class CudaKernels implements Kernels {
    private static final Logger LOG = LoggerFactory.getLogger(CudaKernels.class);

    private final ReentrantLock calls = new ReentrantLock();
    private final CudaContext cuda;
    private final CudaLayers layers;
    private final CudaWeights weights;
    private final CudaLinear linear;
    private final CudaAttention attention;
    private final CudaLoss loss;
    private final CudaSampling sampling;
    private final CudaOptimizer optimizer;
    private boolean closed;

    private CudaKernels(CudaContext cuda) {
        this.cuda = cuda;
        layers = new CudaLayers(cuda);
        weights = new CudaWeights(cuda);
        linear = new CudaLinear(cuda, weights);
        attention = new CudaAttention(cuda);
        loss = new CudaLoss(cuda);
        sampling = new CudaSampling(cuda);
        optimizer = new CudaOptimizer(cuda);
    }

    /** As {@link #open(int)}, of the first GPU. */
    public static CudaKernels open() {
        return open(0);
    }

    /**
     * The kernels of a GPU. The driver's library is that of {@code -Dpanacea.cuda.driver} or {@code PANACEA_CUDA_DRIVER}, else the system's.
     *
     * @param ordinal its number, from 0 on
     * @throws UnsupportedBackendException if there is no driver, no GPU or no kernels for it; the message says what was looked for and found
     * @throws PanaceaException if a setting is wrong, or there is no GPU of this number
     */
    public static CudaKernels open(int ordinal) {
        CudaKernels kernels = open(ordinal, true);
        LOG.info("Kernels: {}", kernels.description());
        return kernels;
    }

    /**
     * @param caching false for tests: every allocation is the driver's, of exactly its size; see {@link CudaAllocator}
     */
    static CudaKernels open(int ordinal, boolean caching) {
        CudaContext cuda = CudaContext.open(ordinal, caching);
        boolean done = false;
        try {
            CudaKernels kernels = new CudaKernels(cuda);
            done = true;
            return kernels;
        } finally {
            if (!done) {
                cuda.close();
            }
        }
    }

    @Override
    public String description() {
        CudaDevice device = cuda.device();
        return "cuda " + device.name() + ", compute capability " + device.architecture() / 10.0 + ", " + device.multiprocessors() + " multiprocessors";
    }

    CudaContext context() {
        return cuda;
    }

    /** The library of NVIDIA's that large products are left to, if it is installed, agrees with our kernels, and is not switched off; for reports. */
    public Optional<String> matrixLibrary() {
        return linear.matrixLibrary();
    }

    /** Floating-point operations per second that the tensor cores would do on BF16 at the clock that the driver names; a ceiling for reports. */
    public double tensorFlops() {
        return cuda.device().tensorFlops();
    }

    // ---- memory ------------------------------------------------------------------------------------------------------

    @Override
    public DeviceMemory allocate(long bytes) {
        calls.lock();
        try {
            ensureOpen();
            return CudaMemory.allocate(cuda, bytes, calls);
        } finally {
            calls.unlock();
        }
    }

    @Override
    public boolean readsHostMemory() {
        return false;
    }

    @Override
    public long scratchBytes() {
        calls.lock();
        try {
            ensureOpen();
            return cuda.scratch().bytes();
        } finally {
            calls.unlock();
        }
    }

    @Override
    public Optional<MemoryUse> memoryUse() {
        calls.lock();
        try {
            ensureOpen();
            return Optional.of(new MemoryUse(cuda.allocator().usedBytes(), cuda.allocator().availableBytes()));
        } finally {
            calls.unlock();
        }
    }

    @Override
    public RepeatedCalls repeated(Runnable repeatedly) {
        return new CudaRepeatedCalls(cuda, calls, repeatedly);
    }

    @Override
    public void upload(MemorySegment source, DeviceBuffer destination) {
        Checks.hostBytes(source, destination);
        run(() -> cuda.transfers().upload(source, destination.addressOn(cuda.device()), destination.byteSize()));
    }

    @Override
    public void download(DeviceBuffer source, MemorySegment destination) {
        Checks.hostBytes(destination, source);
        run(() -> {
            cuda.transfers().download(source.addressOn(cuda.device()), destination, source.byteSize());
            cuda.throwReportedErrors();
        });
    }

    @Override
    public void clear(DeviceBuffer buffer) {
        run(() -> cuda.device().clear(buffer.addressOn(cuda.device()), buffer.byteSize()));
    }

    @Override
    public void copy(DeviceBuffer x, DeviceBuffer y, long n, boolean accumulate) {
        OperationChecks.copy(x, y, n);
        run(n, () -> layers.copy(x, y, n, accumulate));
    }

    // ---- linear layers -----------------------------------------------------------------------------------------------

    @Override
    public void linear(Weight w, DeviceBuffer x, int m, DeviceBuffer y, boolean accumulate) {
        OperationChecks.linear(w, x, m, y);
        run(m, () -> linear.linear(w, x, m, y, accumulate));
    }

    @Override
    public void linearInputGrad(Weight w, DeviceBuffer dy, int m, DeviceBuffer dx, boolean accumulate) {
        OperationChecks.linearInputGrad(w, dy, m, dx);
        run(m, () -> linear.linearInputGrad(w, dy, m, dx, accumulate));
    }

    @Override
    public void linearWeightGrad(DeviceBuffer dy, DeviceBuffer x, int m, int n, int k, DeviceBuffer dw) {
        OperationChecks.linearWeightGrad(dy, x, m, n, k, dw);
        run((long) m * n * k, () -> linear.linearWeightGrad(dy, x, m, n, k, dw));
    }

    @Override
    public void loraLinear(Weight w, Lora lora, DeviceBuffer x, int m, DeviceBuffer s, DeviceBuffer y, boolean accumulate) {
        OperationChecks.loraLinear(w, lora, x, m, s, y);
        run(m, () -> linear.loraLinear(w, lora, x, m, s, y, accumulate));
    }

    @Override
    public void loraLinearBackward(Weight w, Lora lora, DeviceBuffer x, DeviceBuffer s, DeviceBuffer dy, int m, DeviceBuffer da, DeviceBuffer db, DeviceBuffer dx,
            boolean accumulate) {
        OperationChecks.loraLinearBackward(w, lora, x, s, dy, m, da, db, dx);
        run(m, () -> linear.loraLinearBackward(w, lora, x, s, dy, m, da, db, dx, accumulate));
    }

    // ---- 4-bit weights -----------------------------------------------------------------------------------------------

    @Override
    public void quantize4(QuantType type, DeviceBuffer x, long n, int blockSize, DeviceBuffer packed, DeviceBuffer absmax) {
        OperationChecks.quantize4(x, n, blockSize, packed, absmax);
        run(n, () -> weights.quantize4(type, x, n, blockSize, packed, absmax));
    }

    @Override
    public void dequantize(Weight w, DeviceBuffer y) {
        OperationChecks.dequantize(w, y);
        run(() -> weights.dequantize(w, y));
    }

    // ---- transformer layers ------------------------------------------------------------------------------------------

    @Override
    public void rmsNorm(DeviceBuffer x, DeviceBuffer weight, float eps, int m, int n, DeviceBuffer y, DeviceBuffer inv) {
        OperationChecks.rmsNorm(x, weight, m, n, y, inv);
        run(m, () -> layers.rmsNorm(x, weight, eps, m, n, y, inv));
    }

    @Override
    public void rmsNormBackward(DeviceBuffer x, DeviceBuffer weight, DeviceBuffer inv, DeviceBuffer dy, int m, int n, DeviceBuffer dx, boolean accumulate) {
        OperationChecks.rmsNormBackward(x, weight, inv, dy, m, n, dx);
        run(m, () -> layers.rmsNormBackward(x, weight, inv, dy, m, n, dx, accumulate));
    }

    @Override
    public void rmsNormWeightGrad(DeviceBuffer x, DeviceBuffer inv, DeviceBuffer dy, int m, int n, DeviceBuffer dweight) {
        OperationChecks.rmsNormWeightGrad(x, inv, dy, m, n, dweight);
        run(m, () -> layers.rmsNormWeightGrad(x, inv, dy, m, n, dweight));
    }

    @Override
    public void rope(DeviceBuffer x, DeviceBuffer positions, DeviceBuffer cos, DeviceBuffer sin, int m, int heads, int headDim, boolean inverse) {
        long tableRows = OperationChecks.rope(x, positions, cos, sin, m, heads, headDim);
        run((long) m * heads, () -> layers.rope(x, positions, cos, sin, tableRows, m, heads, headDim, inverse));
    }

    @Override
    public void attention(DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer sequences, int count, AttentionShape shape, DeviceBuffer out, DeviceBuffer lse) {
        OperationChecks.attention(q, k, v, sequences, count, out, lse);
        run(count, () -> attention.forward(q, k, v, sequences, count, shape, out, lse));
    }

    @Override
    public void attentionBackward(DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer out, DeviceBuffer lse, DeviceBuffer dout, DeviceBuffer sequences, int count,
            AttentionShape shape, DeviceBuffer dq, DeviceBuffer dk, DeviceBuffer dv) {
        OperationChecks.attention(q, k, v, sequences, count, out, lse);
        OperationChecks.attentionGradient(q.type(), dout, dq, dk, dv);
        run(count, () -> attention.backward(q, k, v, out, lse, dout, sequences, count, shape, dq, dk, dv));
    }

    @Override
    public void swiGlu(DeviceBuffer gate, DeviceBuffer up, long n, DeviceBuffer y) {
        OperationChecks.swiGlu(gate, up, n, y);
        run(n, () -> layers.swiGlu(gate, up, n, y));
    }

    @Override
    public void swiGluBackward(DeviceBuffer gate, DeviceBuffer up, DeviceBuffer dy, long n, DeviceBuffer dgate, DeviceBuffer dup) {
        OperationChecks.swiGluBackward(gate, up, dy, n, dgate, dup);
        run(n, () -> layers.swiGluBackward(gate, up, dy, n, dgate, dup));
    }

    // ---- rows, loss, optimizer ---------------------------------------------------------------------------------------

    @Override
    public void gatherRows(Weight w, DeviceBuffer index, int m, DeviceBuffer y) {
        OperationChecks.gatherRows(w, index, m, y);
        run(m, () -> weights.gatherRows(w, index, m, y));
    }

    @Override
    public void scatterRows(DeviceBuffer x, DeviceBuffer index, int m, int cols, DeviceBuffer y, boolean accumulate) {
        long yRows = OperationChecks.scatterRows(x, index, m, cols, y);
        run(m, () -> layers.scatterRows(x, index, m, cols, y, yRows, accumulate));
    }

    @Override
    public void crossEntropy(DeviceBuffer logits, DeviceBuffer targets, int rows, int vocab, DeviceBuffer losses) {
        OperationChecks.crossEntropy(logits, targets, rows, vocab, losses);
        run(rows, () -> loss.crossEntropy(logits, targets, rows, vocab, losses));
    }

    @Override
    public void crossEntropyWithGrad(DeviceBuffer logits, DeviceBuffer targets, int rows, int vocab, float gradScale, DeviceBuffer losses, DeviceBuffer gradient) {
        OperationChecks.crossEntropy(logits, targets, rows, vocab, losses);
        Checks.activation("gradient", gradient, Checks.elements(rows, vocab));
        run(rows, () -> loss.crossEntropyWithGrad(logits, targets, rows, vocab, gradScale, losses, gradient));
    }

    @Override
    public void argMax(DeviceBuffer logits, int rows, int vocab, DeviceBuffer ids) {
        OperationChecks.argMax(logits, rows, vocab, ids);
        run(rows, () -> sampling.argMax(logits, rows, vocab, ids));
    }

    @Override
    public void topK(DeviceBuffer logits, int rows, int vocab, int k, double temperature, DeviceBuffer ids, DeviceBuffer values, DeviceBuffer sums) {
        OperationChecks.topK(logits, rows, vocab, k, temperature, ids, values, sums);
        run(rows, () -> sampling.topK(logits, rows, vocab, k, temperature, ids, values, sums));
    }

    @Override
    public void adamW(DeviceBuffer p, DeviceBuffer g, DeviceBuffer m, DeviceBuffer v, long n, AdamWStep step) {
        OperationChecks.adamW(p, g, m, v, n, step);
        run(n, () -> optimizer.adamW(p, g, m, v, n, step));
    }

    @Override
    public void adamW8bit(DeviceBuffer p, DeviceBuffer g, Moments8bit moments, long n, AdamWStep step) {
        Checks.adamW8bit(p, g, moments, n, step);
        run(n, () -> optimizer.adamW8bit(p, g, moments, n, step));
    }

    @Override
    public double sumOfSquares(DeviceBuffer x, long n) {
        Checks.activation("x", x, Checks.elements(n));
        double[] sum = new double[1];
        run(n, () -> {
            sum[0] = optimizer.sumOfSquares(x, n);
            cuda.throwReportedErrors();
        });
        return sum[0];
    }

    /** Frees the device's memory too: every {@link DeviceMemory} of these kernels. */
    @Override
    public void close() {
        calls.lock();
        try {
            if (!closed) {
                closed = true;
                cuda.close();
            }
        } finally {
            calls.unlock();
        }
    }

    // ---- calls -------------------------------------------------------------------------------------------------------

    private void run(Runnable call) {
        run(1, call);
    }

    /** One call at a time, and none for no rows or elements. */
    private void run(long elements, Runnable call) {
        calls.lock();
        try {
            ensureOpen();
            if (elements != 0) {
                call.run();
            }
        } finally {
            calls.unlock();
        }
    }

    private void ensureOpen() {
        if (closed) {
            throw new IllegalStateException("these kernels have been closed");
        }
    }
}
