package dev.panacea.kernels;

import static dev.panacea.kernels.Checks.elements;

/** What every backend checks before an operation touches memory: types and lengths of all buffers against the shapes. One method per operation of {@link Kernels}. */
final class OperationChecks {
    private OperationChecks() {}

    static void copy(DeviceBuffer x, DeviceBuffer y, long n) {
        Checks.activation("x", x, elements(n));
        Checks.activation("y", y, n);
    }

    static void linear(Weight w, DeviceBuffer x, int m, DeviceBuffer y) {
        Checks.activation("x", x, elements(m, w.cols()));
        Checks.activation("y", y, elements(m, w.rows()));
    }

    static void linearInputGrad(Weight w, DeviceBuffer dy, int m, DeviceBuffer dx) {
        Checks.activation("dy", dy, elements(m, w.rows()));
        Checks.activation("dx", dx, elements(m, w.cols()));
    }

    static void linearWeightGrad(DeviceBuffer dy, DeviceBuffer x, int m, int n, int k, DeviceBuffer dw) {
        Checks.activation("dy", dy, elements(m, n));
        Checks.sameType("x", x, dy.type(), elements(m, k));
        Checks.typed("dw", dw, DType.F32, elements(n, k));
    }

    static void loraLinear(Weight w, Lora lora, DeviceBuffer x, int m, DeviceBuffer s, DeviceBuffer y) {
        Checks.lora(w, lora);
        Checks.activation("x", x, elements(m, w.cols()));
        Checks.typed("s", s, DType.F32, elements(m, lora.rank()));
        Checks.sameType("y", y, x.type(), elements(m, w.rows()));
    }

    static void loraLinearBackward(Weight w, Lora lora, DeviceBuffer x, DeviceBuffer s, DeviceBuffer dy, int m, DeviceBuffer da, DeviceBuffer db, DeviceBuffer dx) {
        Checks.lora(w, lora);
        Checks.activation("x", x, elements(m, w.cols()));
        Checks.typed("s", s, DType.F32, elements(m, lora.rank()));
        Checks.sameType("dy", dy, x.type(), elements(m, w.rows()));
        Checks.typed("da", da, DType.F32, elements(lora.rank(), w.cols()));
        Checks.typed("db", db, DType.F32, elements(w.rows(), lora.rank()));
        Checks.sameType("dx", dx, x.type(), elements(m, w.cols()));
    }

    static void quantize4(DeviceBuffer x, long n, int blockSize, DeviceBuffer packed, DeviceBuffer absmax) {
        Q4Weight.checkBlockSize(blockSize);
        Checks.activation("x", x, elements(n));
        Checks.typed("packed", packed, DType.U8, n / 2 + n % 2);
        Checks.typed("absmax", absmax, DType.F32, n / blockSize + (n % blockSize == 0 ? 0 : 1));
    }

    static void dequantize(Weight w, DeviceBuffer y) {
        Checks.activation("y", y, elements(w.rows(), w.cols()));
    }

    static void rmsNorm(DeviceBuffer x, DeviceBuffer weight, int m, int n, DeviceBuffer y, DeviceBuffer inv) {
        Checks.positive("n", n);
        Checks.activation("x", x, elements(m, n));
        Checks.typed("weight", weight, DType.F32, n);
        Checks.sameType("y", y, x.type(), elements(m, n));
        Checks.typed("inv", inv, DType.F32, m);
    }

    static void rmsNormBackward(DeviceBuffer x, DeviceBuffer weight, DeviceBuffer inv, DeviceBuffer dy, int m, int n, DeviceBuffer dx) {
        Checks.positive("n", n);
        Checks.activation("x", x, elements(m, n));
        Checks.typed("weight", weight, DType.F32, n);
        Checks.typed("inv", inv, DType.F32, m);
        Checks.sameType("dy", dy, x.type(), elements(m, n));
        Checks.sameType("dx", dx, x.type(), elements(m, n));
    }

    static void rmsNormWeightGrad(DeviceBuffer x, DeviceBuffer inv, DeviceBuffer dy, int m, int n, DeviceBuffer dweight) {
        Checks.positive("n", n);
        Checks.activation("x", x, elements(m, n));
        Checks.typed("inv", inv, DType.F32, m);
        Checks.sameType("dy", dy, x.type(), elements(m, n));
        Checks.typed("dweight", dweight, DType.F32, n);
    }

    /** Returns the number of rows of the tables. */
    static long rope(DeviceBuffer x, DeviceBuffer positions, DeviceBuffer cos, DeviceBuffer sin, int m, int heads, int headDim) {
        Checks.headDim(headDim);
        Checks.activation("x", x, elements(m, heads, headDim));
        Checks.typed("positions", positions, DType.I32, m);
        Checks.typed("cos", cos, DType.F32, 0);
        Checks.typed("sin", sin, DType.F32, 0);
        return Math.min(cos.length(), sin.length()) / (headDim / 2);
    }

    /** For a device whose memory this process cannot read: what the table of sequences says is checked there. */
    static void attention(DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer sequences, int count, DeviceBuffer out, DeviceBuffer lse) {
        Checks.activation("q", q, 0);
        Checks.sameType("k", k, q.type(), 0);
        Checks.sameType("v", v, q.type(), 0);
        Checks.typed("sequences", sequences, DType.I32, elements(count, 4));
        Checks.sameType("out", out, q.type(), 0);
        Checks.typed("lse", lse, DType.F32, 0);
    }

    /** As {@link #attention}: the further buffers of its gradient. */
    static void attentionGradient(DType type, DeviceBuffer dout, DeviceBuffer dq, DeviceBuffer dk, DeviceBuffer dv) {
        Checks.sameType("dout", dout, type, 0);
        Checks.sameType("dq", dq, type, 0);
        Checks.sameType("dk", dk, type, 0);
        Checks.sameType("dv", dv, type, 0);
    }

    static void swiGlu(DeviceBuffer gate, DeviceBuffer up, long n, DeviceBuffer y) {
        Checks.activation("gate", gate, elements(n));
        Checks.sameType("up", up, gate.type(), n);
        Checks.sameType("y", y, gate.type(), n);
    }

    static void swiGluBackward(DeviceBuffer gate, DeviceBuffer up, DeviceBuffer dy, long n, DeviceBuffer dgate, DeviceBuffer dup) {
        Checks.activation("gate", gate, elements(n));
        Checks.sameType("up", up, gate.type(), n);
        Checks.sameType("dy", dy, gate.type(), n);
        Checks.sameType("dgate", dgate, gate.type(), n);
        Checks.sameType("dup", dup, gate.type(), n);
    }

    static void gatherRows(Weight w, DeviceBuffer index, int m, DeviceBuffer y) {
        Checks.typed("index", index, DType.I32, elements(m));
        Checks.activation("y", y, elements(m, w.cols()));
    }

    /** Returns the number of rows of y. */
    static long scatterRows(DeviceBuffer x, DeviceBuffer index, int m, int cols, DeviceBuffer y) {
        Checks.positive("cols", cols);
        Checks.activation("x", x, elements(m, cols));
        Checks.typed("index", index, DType.I32, m);
        Checks.activation("y", y, 0);
        return y.length() / cols;
    }

    static void crossEntropy(DeviceBuffer logits, DeviceBuffer targets, int rows, int vocab, DeviceBuffer losses) {
        Checks.positive("vocab", vocab);
        Checks.typed("logits", logits, DType.F32, elements(rows, vocab));
        Checks.typed("targets", targets, DType.I32, rows);
        Checks.typed("losses", losses, DType.F32, rows);
    }

    static void argMax(DeviceBuffer logits, int rows, int vocab, DeviceBuffer ids) {
        Checks.positive("vocab", vocab);
        Checks.typed("logits", logits, DType.F32, elements(rows, vocab));
        Checks.typed("ids", ids, DType.I32, rows);
    }

    static void topK(DeviceBuffer logits, int rows, int vocab, int k, double temperature, DeviceBuffer ids, DeviceBuffer values, DeviceBuffer sums) {
        Checks.positive("vocab", vocab);
        Checks.positive("k", k);
        if (k > Math.min(Kernels.MOST_OF_A_ROW, vocab)) {
            throw new IllegalArgumentException("k is " + k + ", it must be at most " + Math.min(Kernels.MOST_OF_A_ROW, vocab));
        }
        if (!(temperature > 0)) {
            throw new IllegalArgumentException("temperature is " + temperature + ", it must be positive");
        }
        Checks.typed("logits", logits, DType.F32, elements(rows, vocab));
        Checks.typed("ids", ids, DType.I32, elements(rows, k));
        Checks.typed("values", values, DType.F32, elements(rows, k));
        Checks.typed("sums", sums, DType.F32, rows);
    }

    static void adamW(DeviceBuffer p, DeviceBuffer g, DeviceBuffer m, DeviceBuffer v, long n, AdamWStep step) {
        Checks.positive("step", step.step());
        Checks.typed("p", p, DType.F32, elements(n));
        Checks.typed("g", g, DType.F32, n);
        Checks.typed("m", m, DType.F32, n);
        Checks.typed("v", v, DType.F32, n);
    }
}
