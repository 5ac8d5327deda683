package dev.panacea.benchmarks;

import dev.panacea.kernels.AttentionShape;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.Kernels;

/**
 * Causal attention over packed sequences of one length. Only the pairs of a query and a key it may see are counted: S (S + 1) / 2 per head and
 * sequence, with two products of 2 d operations each forward (scores, output), and five backward (scores again, dV, dP, dQ, dK).
 */
final class AttentionWork {
    /** @param length tokens of each of the sequences */
    record Shape(int sequences, int length, int heads, int kvHeads, int headDim) {
        int rows() {
            return sequences * length;
        }

        double pairs() {
            return (double) sequences * heads * length * (length + 1) / 2;
        }

        double forwardFlops() {
            return 4 * headDim * pairs();
        }

        double backwardFlops() {
            return 10 * headDim * pairs();
        }

        AttentionShape attention() {
            return new AttentionShape(heads, kvHeads, headDim, (float) (1 / Math.sqrt(headDim)));
        }

        int[] table() {
            int[] t = new int[4 * sequences];
            for (int i = 0; i < sequences; i++) {
                t[4 * i] = t[4 * i + 2] = i * length;
                t[4 * i + 1] = t[4 * i + 3] = length;
            }
            return t;
        }

        @Override
        public String toString() {
            return sequences + "x" + length + " " + heads + "/" + kvHeads + "x" + headDim;
        }
    }

    private AttentionWork() {}

    static Workload forward(Kernels k, Shape s) {
        return Workload.of(k, s.forwardFlops(), 0, o -> {
            Tensors t = new Tensors(o, s);
            return new Workload.Set(() -> t.forward(k, s), t.out);
        });
    }

    static Workload backward(Kernels k, Shape s) {
        return Workload.of(k, s.backwardFlops(), 0, o -> {
            Tensors t = new Tensors(o, s);
            t.forward(k, s);
            DeviceBuffer dout = o.normal(DType.BF16, t.out.length(), 1);
            DeviceBuffer dq = o.output(DType.BF16, t.q.length());
            DeviceBuffer dk = o.output(DType.BF16, t.k.length());
            DeviceBuffer dv = o.output(DType.BF16, t.v.length());
            return new Workload.Set(() -> k.attentionBackward(t.q, t.k, t.v, t.out, t.lse, dout, t.table, s.sequences(), s.attention(), dq, dk, dv), dq);
        });
    }

    private static final class Tensors {
        private final DeviceBuffer q;
        private final DeviceBuffer k;
        private final DeviceBuffer v;
        private final DeviceBuffer out;
        private final DeviceBuffer lse;
        private final DeviceBuffer table;

        Tensors(Operands o, Shape s) {
            long kv = (long) s.rows() * s.kvHeads() * s.headDim();
            q = o.normal(DType.BF16, (long) s.rows() * s.heads() * s.headDim(), 1);
            k = o.normal(DType.BF16, kv, 1);
            v = o.normal(DType.BF16, kv, 1);
            out = o.output(DType.BF16, q.length());
            lse = o.output(DType.F32, (long) s.rows() * s.heads());
            table = o.ints(s.table());
        }

        void forward(Kernels kernels, Shape s) {
            kernels.attention(q, k, v, table, s.sequences(), s.attention(), out, lse);
        }
    }
}
