package dev.panacea.kernels;

import dev.panacea.kernels.cuda.Launch;
import java.util.Locale;

/** 4-bit codes, ggml blocks and rows of weights on a GPU: quant4.cu, dequantize.cu, gather.cu. */
final class CudaWeights {
    private static final int THREADS = 256;
    private static final int WARPS = THREADS / 32;
    /** Elements that a block of quant4.cu codes, and a warp of dequantize.cu expands at a time. */
    private static final int QUANTIZED = 4096;
    private static final int CHUNK = 1024;
    /** Blocks of dequantize.cu that a multiprocessor holds at once. */
    private static final int RESIDENT = 6;

    private final CudaContext cuda;

    CudaWeights(CudaContext cuda) {
        this.cuda = cuda;
    }

    void quantize4(QuantType type, DeviceBuffer x, long n, int blockSize, DeviceBuffer packed, DeviceBuffer absmax) {
        cuda.launch("pan_quantize4_" + type.id() + "_" + CudaContext.suffix(x)).grid(Math.ceilDiv(n, QUANTIZED)).threads(THREADS)
                .arg(x).arg(n).arg(shift(blockSize)).arg(packed).arg(absmax).run();
    }

    void dequantize(Weight w, DeviceBuffer y) {
        long n = (long) w.rows() * w.cols();
        if (w instanceof Q4Weight q4) {
            long blocks = Math.min(Math.ceilDiv(n, CHUNK * WARPS), (long) RESIDENT * cuda.device().multiprocessors());
            codes(cuda.launch("pan_dequantize_q4_" + CudaContext.suffix(y)).grid(blocks).threads(THREADS), q4).arg(y).arg(n).run();
        } else if (w instanceof BlockWeight blocks && blocks.pairDim() > 0) {
            gather(w, 0, w.rows(), w.cols(), y);
        } else {
            gather(w, 0, 1, n, y);
        }
    }

    void gatherRows(Weight w, DeviceBuffer index, int m, DeviceBuffer y) {
        gather(w, index.addressOn(cuda.device()), m, w.cols(), y);
    }

    /** Rows {@code index[i]} of a weight, or its first rows where the index is 0. */
    private void gather(Weight w, long index, long rows, long cols, DeviceBuffer y) {
        String format = switch (w) {
            case DenseWeight dense -> CudaContext.suffix(dense.data());
            case Q4Weight q4 -> "q4";
            case BlockWeight blocks -> blocks.type().name().toLowerCase(Locale.ROOT);
        };
        long warps = Math.multiplyExact(rows, Math.ceilDiv(cols, segment(w)));
        Launch launch = cuda.launch("pan_gather_" + format + "_" + CudaContext.suffix(y)).grid(Math.ceilDiv(warps, WARPS)).threads(THREADS);
        switch (w) {
            case DenseWeight dense -> launch.arg(dense.data()).pointer(index).arg(rows).arg(cols).arg(w.rows()).arg(0);
            case Q4Weight q4 -> codes(launch, q4).pointer(index).arg(rows).arg(cols).arg(w.rows());
            case BlockWeight blocks -> {
                launch.arg(blocks.data());
                if (blocks.type().blockElements() > 1) {
                    launch.arg(blocks.type().byteSize(w.cols()) * w.rows());
                }
                launch.pointer(index).arg(rows).arg(cols).arg(w.rows()).arg(blocks.pairDim());
            }
        }
        launch.arg(y).pointer(cuda.report()).run();
    }

    /** Elements of a row that a warp of gather.cu takes. */
    private static int segment(Weight w) {
        return w instanceof BlockWeight blocks && blocks.type().blockElements() > 1 ? blocks.type() == GgmlType.Q6_K ? 2048 : 1024 : 512;
    }

    private static int shift(int blockSize) {
        return Integer.numberOfTrailingZeros(blockSize);
    }

    /** The arguments that say what the values of a weight's codes are. */
    private static Launch codes(Launch launch, Q4Weight w) {
        return launch.arg(w.packed()).arg(w.levels()).arg(w.absmax()).arg(w.nested().map(Q4Weight.Nested::levels))
                .arg(w.nested().map(Q4Weight.Nested::scale)).arg(w.nested().map(Q4Weight.Nested::offset).orElse(0f)).arg(shift(w.blockSize()));
    }

    /** The values of a weight, rounded once to a type: its own memory where they stand so already, else scratch memory that the next call of this method takes over. */
    DeviceBuffer dense(Weight w, DType type) {
        long n = (long) w.rows() * w.cols();
        if (w instanceof DenseWeight dense && dense.data().type() == type) {
            return dense.data();
        }
        if (w instanceof BlockWeight blocks && blocks.pairDim() == 0 && blocks.type().name().equals(type.name()) && blocks.data().address() % type.bytes() == 0) {
            return DeviceBuffer.ofDevice(type, blocks.data().addressOn(cuda.device()), n);
        }
        DeviceBuffer y = DeviceBuffer.ofDevice(type, cuda.scratch().at("dense weight", n * type.bytes()), n);
        dequantize(w, y);
        return y;
    }
}
