package dev.panacea.benchmarks;

import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.Lora;
import dev.panacea.kernels.Weight;

/** Linear layers W[N, K] on M tokens, activations in BF16: 2 M N K operations for a product with the weight. */
final class LinearWork {
    private LinearWork() {}

    /** y = x W^T. */
    static Workload forward(Kernels k, WeightFormat format, int m, int n, int cols) {
        return Workload.of(k, flops(m, n, cols), 0, o -> {
            Weight w = o.weight(format, n, cols);
            DeviceBuffer x = o.normal(DType.BF16, (long) m * cols, 1);
            DeviceBuffer y = o.output(DType.BF16, (long) m * n);
            return new Workload.Set(() -> k.linear(w, x, m, y, false), y);
        });
    }

    /** dx = dy W. */
    static Workload inputGrad(Kernels k, WeightFormat format, int m, int n, int cols) {
        return Workload.of(k, flops(m, n, cols), 0, o -> {
            Weight w = o.weight(format, n, cols);
            DeviceBuffer dy = o.normal(DType.BF16, (long) m * n, 1);
            DeviceBuffer dx = o.output(DType.BF16, (long) m * cols);
            return new Workload.Set(() -> k.linearInputGrad(w, dy, m, dx, false), dx);
        });
    }

    /** y = x W^T for few rows, the weights in DRAM; the bytes are those of the weight with its scales. */
    static Workload gemv(Kernels k, WeightFormat format, int m, int n, int cols) {
        return Workload.inDram(k, flops(m, n, cols), format.bytes(n, cols), o -> {
            Weight w = o.weight(format, n, cols);
            DeviceBuffer x = o.normal(DType.BF16, (long) m * cols, 1);
            DeviceBuffer y = o.output(DType.BF16, (long) m * n);
            return new Workload.Set(() -> k.linear(w, x, m, y, false), y);
        });
    }

    /** y = x W^T + s B^T with s = x A^T. */
    static Workload loraForward(Kernels k, WeightFormat format, int m, int n, int cols, int rank) {
        return Workload.of(k, flops(m, n, cols) + 2.0 * m * rank * (n + cols), 0, o -> {
            Weight w = o.weight(format, n, cols);
            Lora lora = lora(o, n, cols, rank);
            DeviceBuffer x = o.normal(DType.BF16, (long) m * cols, 1);
            DeviceBuffer s = o.output(DType.F32, (long) m * rank);
            DeviceBuffer y = o.output(DType.BF16, (long) m * n);
            return new Workload.Set(() -> k.loraLinear(w, lora, x, m, s, y, false), y);
        });
    }

    /** The gradients of A, B and x: two products of N rank and two of K rank besides the one with the weight. */
    static Workload loraBackward(Kernels k, WeightFormat format, int m, int n, int cols, int rank) {
        return Workload.of(k, flops(m, n, cols) + 4.0 * m * rank * (n + cols), 0, o -> {
            Weight w = o.weight(format, n, cols);
            Lora lora = lora(o, n, cols, rank);
            DeviceBuffer x = o.normal(DType.BF16, (long) m * cols, 1);
            DeviceBuffer s = o.normal(DType.F32, (long) m * rank, 1);
            DeviceBuffer dy = o.normal(DType.BF16, (long) m * n, 1e-3f);
            DeviceBuffer da = o.output(DType.F32, (long) rank * cols);
            DeviceBuffer db = o.output(DType.F32, (long) rank * n);
            DeviceBuffer dx = o.output(DType.BF16, (long) m * cols);
            return new Workload.Set(() -> k.loraLinearBackward(w, lora, x, s, dy, m, da, db, dx, false), dx);
        });
    }

    private static Lora lora(Operands o, int n, int cols, int rank) {
        return new Lora(o.normal(DType.F32, (long) rank * cols, 0.04f), o.normal(DType.F32, (long) n * rank, 0.04f), rank, 2);
    }

    static double flops(int m, int n, int cols) {
        return 2.0 * m * n * cols;
    }
}
