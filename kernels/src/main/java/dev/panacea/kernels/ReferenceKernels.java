package dev.panacea.kernels;

import java.lang.foreign.MemorySegment;

/**
 * The definition of every operation, in plain Java loops: inputs are widened to double, sums are taken in double in a fixed order, and the
 * result is rounded once, except where the contract names a rounding point. For tests, and for small models on machines without native
 * kernels.
 *
 * <p>Works on every host buffer, native or on the heap, that all threads may use (so not of a confined arena). Memory comes from shared
 * arenas, which count towards the JVM's limit of direct memory. Operations hold their operands as doubles on the heap, and one matrix has
 * fewer than 2^31 elements.
 */
public final class ReferenceKernels implements Kernels {
    private volatile boolean closed;

    @Override
    public String description() {
        return "reference, plain Java";
    }

    // ---- memory ------------------------------------------------------------------------------------------------------

    @Override
    public DeviceMemory allocate(long bytes) {
        ensureOpen();
        return new HostMemory(bytes);
    }

    @Override
    public void upload(MemorySegment source, DeviceBuffer destination) {
        ensureOpen();
        Checks.hostBytes(source, destination);
        MemorySegment.copy(source, 0, destination.host(), 0, destination.byteSize());
    }

    @Override
    public void download(DeviceBuffer source, MemorySegment destination) {
        ensureOpen();
        Checks.hostBytes(destination, source);
        MemorySegment.copy(source.host(), 0, destination, 0, source.byteSize());
    }

    @Override
    public void clear(DeviceBuffer buffer) {
        ensureOpen();
        buffer.requireOpen("buffer");
        buffer.host().fill((byte) 0);
    }

    @Override
    public void copy(DeviceBuffer x, DeviceBuffer y, long n, boolean accumulate) {
        ensureOpen();
        OperationChecks.copy(x, y, n);
        ReferenceElementwise.chunks(n, (from, count) -> Elements.write(y, from, Elements.read(x, from, count), accumulate));
    }

    // ---- linear layers -----------------------------------------------------------------------------------------------

    @Override
    public void linear(Weight w, DeviceBuffer x, int m, DeviceBuffer y, boolean accumulate) {
        ensureOpen();
        OperationChecks.linear(w, x, m, y);
        ReferenceLinear.linear(w, x, m, y, accumulate);
    }

    @Override
    public void linearInputGrad(Weight w, DeviceBuffer dy, int m, DeviceBuffer dx, boolean accumulate) {
        ensureOpen();
        OperationChecks.linearInputGrad(w, dy, m, dx);
        ReferenceLinear.linearInputGrad(w, dy, m, dx, accumulate);
    }

    @Override
    public void linearWeightGrad(DeviceBuffer dy, DeviceBuffer x, int m, int n, int k, DeviceBuffer dw) {
        ensureOpen();
        OperationChecks.linearWeightGrad(dy, x, m, n, k, dw);
        ReferenceLinear.linearWeightGrad(dy, x, m, n, k, dw);
    }

    @Override
    public void loraLinear(Weight w, Lora lora, DeviceBuffer x, int m, DeviceBuffer s, DeviceBuffer y, boolean accumulate) {
        ensureOpen();
        OperationChecks.loraLinear(w, lora, x, m, s, y);
        ReferenceLinear.loraLinear(w, lora, x, m, s, y, accumulate);
    }

    @Override
    public void loraLinearBackward(Weight w, Lora lora, DeviceBuffer x, DeviceBuffer s, DeviceBuffer dy, int m, DeviceBuffer da, DeviceBuffer db, DeviceBuffer dx,
            boolean accumulate) {
        ensureOpen();
        OperationChecks.loraLinearBackward(w, lora, x, s, dy, m, da, db, dx);
        ReferenceLinear.loraLinearBackward(w, lora, x, s, dy, m, da, db, dx, accumulate);
    }

    // ---- 4-bit weights -----------------------------------------------------------------------------------------------

    @Override
    public void quantize4(QuantType type, DeviceBuffer x, long n, int blockSize, DeviceBuffer packed, DeviceBuffer absmax) {
        ensureOpen();
        OperationChecks.quantize4(x, n, blockSize, packed, absmax);
        new Q4Codec(type).quantize(x, n, blockSize, packed, absmax);
    }

    @Override
    public void dequantize(Weight w, DeviceBuffer y) {
        ensureOpen();
        OperationChecks.dequantize(w, y);
        ReferenceLinear.dequantize(w, y);
    }

    // ---- transformer layers ------------------------------------------------------------------------------------------

    @Override
    public void rmsNorm(DeviceBuffer x, DeviceBuffer weight, float eps, int m, int n, DeviceBuffer y, DeviceBuffer inv) {
        ensureOpen();
        OperationChecks.rmsNorm(x, weight, m, n, y, inv);
        ReferenceElementwise.rmsNorm(x, weight, eps, m, n, y, inv);
    }

    @Override
    public void rmsNormBackward(DeviceBuffer x, DeviceBuffer weight, DeviceBuffer inv, DeviceBuffer dy, int m, int n, DeviceBuffer dx, boolean accumulate) {
        ensureOpen();
        OperationChecks.rmsNormBackward(x, weight, inv, dy, m, n, dx);
        ReferenceElementwise.rmsNormBackward(x, weight, inv, dy, m, n, dx, accumulate);
    }

    @Override
    public void rmsNormWeightGrad(DeviceBuffer x, DeviceBuffer inv, DeviceBuffer dy, int m, int n, DeviceBuffer dweight) {
        ensureOpen();
        OperationChecks.rmsNormWeightGrad(x, inv, dy, m, n, dweight);
        ReferenceElementwise.rmsNormWeightGrad(x, inv, dy, m, n, dweight);
    }

    @Override
    public void rope(DeviceBuffer x, DeviceBuffer positions, DeviceBuffer cos, DeviceBuffer sin, int m, int heads, int headDim, boolean inverse) {
        ensureOpen();
        long tableRows = OperationChecks.rope(x, positions, cos, sin, m, heads, headDim);
        int[] rows = Checks.indices("positions", positions, m, tableRows);
        ReferenceElementwise.rope(x, rows, cos, sin, heads, headDim, inverse);
    }

    @Override
    public void attention(DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer sequences, int count, AttentionShape shape, DeviceBuffer out, DeviceBuffer lse) {
        ensureOpen();
        int[] table = Checks.attention(q, k, v, out, lse, sequences, count, shape);
        new ReferenceAttention(shape, table).forward(q, k, v, out, lse);
    }

    @Override
    public void attentionBackward(DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer out, DeviceBuffer lse, DeviceBuffer dout, DeviceBuffer sequences, int count,
            AttentionShape shape, DeviceBuffer dq, DeviceBuffer dk, DeviceBuffer dv) {
        ensureOpen();
        int[] table = Checks.attention(q, k, v, out, lse, sequences, count, shape);
        Checks.attentionGradient(table, shape, q.type(), dout, dq, dk, dv);
        new ReferenceAttention(shape, table).backward(q, k, v, out, lse, dout, dq, dk, dv);
    }

    @Override
    public void swiGlu(DeviceBuffer gate, DeviceBuffer up, long n, DeviceBuffer y) {
        ensureOpen();
        OperationChecks.swiGlu(gate, up, n, y);
        ReferenceElementwise.swiGlu(gate, up, n, y);
    }

    @Override
    public void swiGluBackward(DeviceBuffer gate, DeviceBuffer up, DeviceBuffer dy, long n, DeviceBuffer dgate, DeviceBuffer dup) {
        ensureOpen();
        OperationChecks.swiGluBackward(gate, up, dy, n, dgate, dup);
        ReferenceElementwise.swiGluBackward(gate, up, dy, n, dgate, dup);
    }

    // ---- rows, loss, optimizer ---------------------------------------------------------------------------------------

    @Override
    public void gatherRows(Weight w, DeviceBuffer index, int m, DeviceBuffer y) {
        ensureOpen();
        OperationChecks.gatherRows(w, index, m, y);
        ReferenceLinear.gatherRows(w, Checks.indices("index", index, m, w.rows()), y);
    }

    @Override
    public void scatterRows(DeviceBuffer x, DeviceBuffer index, int m, int cols, DeviceBuffer y, boolean accumulate) {
        ensureOpen();
        long yRows = OperationChecks.scatterRows(x, index, m, cols, y);
        ReferenceLoss.scatterRows(x, Checks.indices("index", index, m, yRows), cols, y, accumulate);
    }

    @Override
    public void crossEntropy(DeviceBuffer logits, DeviceBuffer targets, int rows, int vocab, DeviceBuffer losses) {
        ensureOpen();
        int[] classes = crossEntropyTargets(logits, targets, rows, vocab, losses);
        ReferenceLoss.crossEntropy(logits, classes, vocab, losses, (row, gradient) -> {}, 0);
    }

    @Override
    public void crossEntropyWithGrad(DeviceBuffer logits, DeviceBuffer targets, int rows, int vocab, float gradScale, DeviceBuffer losses, DeviceBuffer gradient) {
        ensureOpen();
        Checks.activation("gradient", gradient, Checks.elements(rows, vocab));
        int[] classes = crossEntropyTargets(logits, targets, rows, vocab, losses);
        ReferenceLoss.crossEntropy(logits, classes, vocab, losses, (row, values) -> Elements.write(gradient, (long) row * vocab, values, false), gradScale);
    }

    private static int[] crossEntropyTargets(DeviceBuffer logits, DeviceBuffer targets, int rows, int vocab, DeviceBuffer losses) {
        OperationChecks.crossEntropy(logits, targets, rows, vocab, losses);
        return Checks.indices("targets", targets, rows, vocab);
    }

    @Override
    public void argMax(DeviceBuffer logits, int rows, int vocab, DeviceBuffer ids) {
        ensureOpen();
        OperationChecks.argMax(logits, rows, vocab, ids);
        LargestLogits.argMax(logits, rows, vocab, ids);
    }

    @Override
    public void topK(DeviceBuffer logits, int rows, int vocab, int k, double temperature, DeviceBuffer ids, DeviceBuffer values, DeviceBuffer sums) {
        ensureOpen();
        OperationChecks.topK(logits, rows, vocab, k, temperature, ids, values, sums);
        LargestLogits.topK(logits, rows, vocab, k, temperature, ids, values, sums);
    }

    @Override
    public void adamW(DeviceBuffer p, DeviceBuffer g, DeviceBuffer m, DeviceBuffer v, long n, AdamWStep step) {
        ensureOpen();
        OperationChecks.adamW(p, g, m, v, n, step);
        ReferenceLoss.adamW(p, g, m, v, n, step);
    }

    @Override
    public void adamW8bit(DeviceBuffer p, DeviceBuffer g, Moments8bit moments, long n, AdamWStep step) {
        ensureOpen();
        Checks.adamW8bit(p, g, moments, n, step);
        new ReferenceAdamW8bit(moments, step).update(p, g, n);
    }

    @Override
    public double sumOfSquares(DeviceBuffer x, long n) {
        ensureOpen();
        Checks.activation("x", x, Checks.elements(n));
        double[] sum = new double[1];
        ReferenceElementwise.chunks(n, (from, count) -> {
            for (double value : Elements.read(x, from, count)) {
                sum[0] += value * value;
            }
        });
        return sum[0];
    }

    /** Holds nothing: memory is freed by its own {@link DeviceMemory#close()}. */
    @Override
    public void close() {
        closed = true;
    }

    private void ensureOpen() {
        if (closed) {
            throw new IllegalStateException("these kernels have been closed");
        }
    }
}
