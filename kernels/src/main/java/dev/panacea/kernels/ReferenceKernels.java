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

    @Override
    public String description() {
        return "reference, plain Java";
    }

    // ---- memory ------------------------------------------------------------------------------------------------------

    @Override
    public DeviceMemory allocate(long bytes) {
        return new HostMemory(bytes);
    }

    @Override
    public void upload(MemorySegment source, DeviceBuffer destination) {
        Checks.hostBytes(source, destination);
        MemorySegment.copy(source, 0, destination.host(), 0, destination.byteSize());
    }

    @Override
    public void download(DeviceBuffer source, MemorySegment destination) {
        Checks.hostBytes(destination, source);
        MemorySegment.copy(source.host(), 0, destination, 0, source.byteSize());
    }

    @Override
    public void copy(DeviceBuffer x, DeviceBuffer y, long n, boolean accumulate) {
        Checks.activation("x", x, Checks.elements(n));
        Checks.activation("y", y, n);
        ReferenceElementwise.chunks(n, (from, count) -> Elements.write(y, from, Elements.read(x, from, count), accumulate));
    }

    // ---- linear layers -----------------------------------------------------------------------------------------------

    @Override
    public void linear(Weight w, DeviceBuffer x, int m, DeviceBuffer y, boolean accumulate) {
        Checks.activation("x", x, Checks.elements(m, w.cols()));
        Checks.activation("y", y, Checks.elements(m, w.rows()));
        ReferenceLinear.linear(w, x, m, y, accumulate);
    }

    @Override
    public void linearInputGrad(Weight w, DeviceBuffer dy, int m, DeviceBuffer dx, boolean accumulate) {
        Checks.activation("dy", dy, Checks.elements(m, w.rows()));
        Checks.activation("dx", dx, Checks.elements(m, w.cols()));
        ReferenceLinear.linearInputGrad(w, dy, m, dx, accumulate);
    }

    @Override
    public void linearWeightGrad(DeviceBuffer dy, DeviceBuffer x, int m, int n, int k, DeviceBuffer dw) {
        Checks.activation("dy", dy, Checks.elements(m, n));
        Checks.sameType("x", x, dy.type(), Checks.elements(m, k));
        Checks.typed("dw", dw, DType.F32, Checks.elements(n, k));
        ReferenceLinear.linearWeightGrad(dy, x, m, n, k, dw);
    }

    @Override
    public void loraLinear(Weight w, Lora lora, DeviceBuffer x, int m, DeviceBuffer s, DeviceBuffer y, boolean accumulate) {
        Checks.lora(w, lora);
        Checks.activation("x", x, Checks.elements(m, w.cols()));
        Checks.typed("s", s, DType.F32, Checks.elements(m, lora.rank()));
        Checks.sameType("y", y, x.type(), Checks.elements(m, w.rows()));
        ReferenceLinear.loraLinear(w, lora, x, m, s, y, accumulate);
    }

    @Override
    public void loraLinearBackward(Weight w, Lora lora, DeviceBuffer x, DeviceBuffer s, DeviceBuffer dy, int m, DeviceBuffer da, DeviceBuffer db, DeviceBuffer dx,
            boolean accumulate) {
        Checks.lora(w, lora);
        Checks.activation("x", x, Checks.elements(m, w.cols()));
        Checks.typed("s", s, DType.F32, Checks.elements(m, lora.rank()));
        Checks.sameType("dy", dy, x.type(), Checks.elements(m, w.rows()));
        Checks.typed("da", da, DType.F32, Checks.elements(lora.rank(), w.cols()));
        Checks.typed("db", db, DType.F32, Checks.elements(w.rows(), lora.rank()));
        Checks.sameType("dx", dx, x.type(), Checks.elements(m, w.cols()));
        ReferenceLinear.loraLinearBackward(w, lora, x, s, dy, m, da, db, dx, accumulate);
    }

    // ---- 4-bit weights -----------------------------------------------------------------------------------------------

    @Override
    public void quantize4(QuantType type, DeviceBuffer x, long n, int blockSize, DeviceBuffer packed, DeviceBuffer absmax) {
        Q4Weight.checkBlockSize(blockSize);
        Checks.activation("x", x, Checks.elements(n));
        Checks.typed("packed", packed, DType.U8, n / 2 + n % 2);
        Checks.typed("absmax", absmax, DType.F32, Math.ceilDiv(n, blockSize));
        new Q4Codec(type).quantize(x, n, blockSize, packed, absmax);
    }

    @Override
    public void dequantize(Weight w, DeviceBuffer y) {
        Checks.activation("y", y, Checks.elements(w.rows(), w.cols()));
        ReferenceLinear.dequantize(w, y);
    }

    // ---- transformer layers ------------------------------------------------------------------------------------------

    @Override
    public void rmsNorm(DeviceBuffer x, DeviceBuffer weight, float eps, int m, int n, DeviceBuffer y, DeviceBuffer inv) {
        Checks.positive("n", n);
        Checks.activation("x", x, Checks.elements(m, n));
        Checks.typed("weight", weight, DType.F32, n);
        Checks.sameType("y", y, x.type(), Checks.elements(m, n));
        Checks.typed("inv", inv, DType.F32, m);
        ReferenceElementwise.rmsNorm(x, weight, eps, m, n, y, inv);
    }

    @Override
    public void rmsNormBackward(DeviceBuffer x, DeviceBuffer weight, DeviceBuffer inv, DeviceBuffer dy, int m, int n, DeviceBuffer dx, boolean accumulate) {
        Checks.positive("n", n);
        Checks.activation("x", x, Checks.elements(m, n));
        Checks.typed("weight", weight, DType.F32, n);
        Checks.typed("inv", inv, DType.F32, m);
        Checks.sameType("dy", dy, x.type(), Checks.elements(m, n));
        Checks.sameType("dx", dx, x.type(), Checks.elements(m, n));
        ReferenceElementwise.rmsNormBackward(x, weight, inv, dy, m, n, dx, accumulate);
    }

    @Override
    public void rmsNormWeightGrad(DeviceBuffer x, DeviceBuffer inv, DeviceBuffer dy, int m, int n, DeviceBuffer dweight) {
        Checks.positive("n", n);
        Checks.activation("x", x, Checks.elements(m, n));
        Checks.typed("inv", inv, DType.F32, m);
        Checks.sameType("dy", dy, x.type(), Checks.elements(m, n));
        Checks.typed("dweight", dweight, DType.F32, n);
        ReferenceElementwise.rmsNormWeightGrad(x, inv, dy, m, n, dweight);
    }

    @Override
    public void rope(DeviceBuffer x, DeviceBuffer positions, DeviceBuffer cos, DeviceBuffer sin, int m, int heads, int headDim, boolean inverse) {
        Checks.headDim(headDim);
        Checks.activation("x", x, Checks.elements(m, heads, headDim));
        Checks.typed("cos", cos, DType.F32, 0);
        Checks.typed("sin", sin, DType.F32, 0);
        int[] rows = Checks.indices("positions", positions, m, Math.min(cos.length(), sin.length()) / (headDim / 2));
        ReferenceElementwise.rope(x, rows, cos, sin, heads, headDim, inverse);
    }

    @Override
    public void attention(DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer sequences, int count, AttentionShape shape, DeviceBuffer out, DeviceBuffer lse) {
        int[] table = Checks.attention(q, k, v, out, lse, sequences, count, shape);
        new ReferenceAttention(shape, table).forward(q, k, v, out, lse);
    }

    @Override
    public void attentionBackward(DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer out, DeviceBuffer lse, DeviceBuffer dout, DeviceBuffer sequences, int count,
            AttentionShape shape, DeviceBuffer dq, DeviceBuffer dk, DeviceBuffer dv) {
        int[] table = Checks.attention(q, k, v, out, lse, sequences, count, shape);
        Checks.attentionGradient(table, shape, q.type(), dout, dq, dk, dv);
        new ReferenceAttention(shape, table).backward(q, k, v, out, lse, dout, dq, dk, dv);
    }

    @Override
    public void swiGlu(DeviceBuffer gate, DeviceBuffer up, long n, DeviceBuffer y) {
        Checks.activation("gate", gate, Checks.elements(n));
        Checks.sameType("up", up, gate.type(), n);
        Checks.sameType("y", y, gate.type(), n);
        ReferenceElementwise.swiGlu(gate, up, n, y);
    }

    @Override
    public void swiGluBackward(DeviceBuffer gate, DeviceBuffer up, DeviceBuffer dy, long n, DeviceBuffer dgate, DeviceBuffer dup) {
        Checks.activation("gate", gate, Checks.elements(n));
        Checks.sameType("up", up, gate.type(), n);
        Checks.sameType("dy", dy, gate.type(), n);
        Checks.sameType("dgate", dgate, gate.type(), n);
        Checks.sameType("dup", dup, gate.type(), n);
        ReferenceElementwise.swiGluBackward(gate, up, dy, n, dgate, dup);
    }

    // ---- rows, loss, optimizer ---------------------------------------------------------------------------------------

    @Override
    public void gatherRows(Weight w, DeviceBuffer index, int m, DeviceBuffer y) {
        Checks.activation("y", y, Checks.elements(m, w.cols()));
        ReferenceLinear.gatherRows(w, Checks.indices("index", index, m, w.rows()), y);
    }

    @Override
    public void scatterRows(DeviceBuffer x, DeviceBuffer index, int m, int cols, DeviceBuffer y, boolean accumulate) {
        Checks.positive("cols", cols);
        Checks.activation("x", x, Checks.elements(m, cols));
        Checks.activation("y", y, 0);
        ReferenceLoss.scatterRows(x, Checks.indices("index", index, m, y.length() / cols), cols, y, accumulate);
    }

    @Override
    public void crossEntropy(DeviceBuffer logits, DeviceBuffer targets, int rows, int vocab, DeviceBuffer losses) {
        int[] classes = crossEntropyTargets(logits, targets, rows, vocab, losses);
        ReferenceLoss.crossEntropy(logits, classes, vocab, losses, (row, gradient) -> {}, 0);
    }

    @Override
    public void crossEntropyWithGrad(DeviceBuffer logits, DeviceBuffer targets, int rows, int vocab, float gradScale, DeviceBuffer losses, DeviceBuffer gradient) {
        Checks.activation("gradient", gradient, Checks.elements(rows, vocab));
        int[] classes = crossEntropyTargets(logits, targets, rows, vocab, losses);
        ReferenceLoss.crossEntropy(logits, classes, vocab, losses, (row, values) -> Elements.write(gradient, (long) row * vocab, values, false), gradScale);
    }

    private static int[] crossEntropyTargets(DeviceBuffer logits, DeviceBuffer targets, int rows, int vocab, DeviceBuffer losses) {
        Checks.positive("vocab", vocab);
        Checks.typed("logits", logits, DType.F32, Checks.elements(rows, vocab));
        Checks.typed("losses", losses, DType.F32, rows);
        return Checks.indices("targets", targets, rows, vocab);
    }

    @Override
    public void adamW(DeviceBuffer p, DeviceBuffer g, DeviceBuffer m, DeviceBuffer v, long n, AdamWStep step) {
        Checks.positive("step", step.step());
        Checks.typed("p", p, DType.F32, Checks.elements(n));
        Checks.typed("g", g, DType.F32, n);
        Checks.typed("m", m, DType.F32, n);
        Checks.typed("v", v, DType.F32, n);
        ReferenceLoss.adamW(p, g, m, v, n, step);
    }

    @Override
    public void adamW8bit(DeviceBuffer p, DeviceBuffer g, Moments8bit moments, long n, AdamWStep step) {
        Checks.adamW8bit(p, g, moments, n, step);
        new ReferenceAdamW8bit(moments, step).update(p, g, n);
    }

    @Override
    public double sumOfSquares(DeviceBuffer x, long n) {
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
    public void close() {}
}
