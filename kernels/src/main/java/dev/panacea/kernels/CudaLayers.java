package dev.panacea.kernels;

import dev.panacea.kernels.cuda.Launch;

/** Copies, normalisation, positions, SwiGLU and rows on a GPU: copy.cu, norm.cu, rope.cu, swiglu.cu, rows.cu. */
final class CudaLayers {
    private static final int WARP = 32;
    /** Blocks of this many threads for the elementwise kernels, each thread with 16 bytes of an operand. */
    private static final int THREADS = 256;
    private static final int PIECE_BYTES = 16;

    /** Of norm.cu: warps of a block, pieces of a row that a lane keeps, and rows for which a block reads the weight once. */
    private static final int NORM_WARPS = 16;
    private static final int NORM_PIECES = 8;
    private static final int NORM_ROWS = 16;
    /** Fewer rows than this times {@link #NORM_ROWS} are spread over more blocks. */
    private static final int NORM_BLOCKS = 32;

    /** Rows of a block's part of the gradient of RMSNorm's weight, at least, and such parts, at most. */
    private static final int GRADIENT_ROWS = 64;
    private static final int GRADIENT_PARTS = 64;
    private static final int GRADIENT_WARPS = 8;

    private static final int ROPE_WARPS = 4;
    /** Up to so many rows to scatter, every block finds equal indices itself. */
    private static final int FEW_ROWS = 32;
    /** Else a block compares so many indices with all. */
    private static final int LINKS = 32;

    private final CudaContext cuda;

    CudaLayers(CudaContext cuda) {
        this.cuda = cuda;
    }

    void copy(DeviceBuffer x, DeviceBuffer y, long n, boolean accumulate) {
        String kernel = "pan_copy_" + CudaContext.suffix(x) + "_" + CudaContext.suffix(y);
        cuda.launch(kernel).grid(Math.ceilDiv(n, 4L * THREADS)).threads(THREADS).arg(x).arg(y).arg(n).arg(accumulate).run();
    }

    // ---- RMSNorm -----------------------------------------------------------------------------------------------------

    void rmsNorm(DeviceBuffer x, DeviceBuffer weight, float eps, int m, int n, DeviceBuffer y, DeviceBuffer inv) {
        if (inPieces(x, n, x, weight, y) && fitsRegisters(x, n)) {
            NormGrid g = normGrid(x, m, n);
            cuda.launch("pan_rms_norm_" + CudaContext.suffix(x)).grid(Math.ceilDiv(m, g.rows)).threads(NORM_WARPS * WARP).shared(g.shared)
                    .arg(x).arg(weight).arg(eps).arg(m).arg(n).arg(g.warps).arg(g.rows).arg(y).arg(inv).run();
        } else {
            cuda.launch("pan_rms_norm_any_" + CudaContext.suffix(x)).grid(m).threads(THREADS).arg(x).arg(weight).arg(eps).arg(n).arg(y).arg(inv).run();
        }
    }

    void rmsNormBackward(DeviceBuffer x, DeviceBuffer weight, DeviceBuffer inv, DeviceBuffer dy, int m, int n, DeviceBuffer dx, boolean accumulate) {
        if (inPieces(x, n, x, weight, dy, dx) && fitsRegisters(x, n)) {
            NormGrid g = normGrid(x, m, n);
            cuda.launch("pan_rms_norm_backward_" + CudaContext.suffix(x)).grid(Math.ceilDiv(m, g.rows)).threads(NORM_WARPS * WARP).shared(g.shared)
                    .arg(x).arg(weight).arg(inv).arg(dy).arg(m).arg(n).arg(g.warps).arg(g.rows).arg(dx).arg(accumulate).run();
        } else {
            cuda.launch("pan_rms_norm_backward_any_" + CudaContext.suffix(x)).grid(m).threads(THREADS).arg(x).arg(weight).arg(inv).arg(dy).arg(n).arg(dx).arg(accumulate).run();
        }
    }

    void rmsNormWeightGrad(DeviceBuffer x, DeviceBuffer inv, DeviceBuffer dy, int m, int n, DeviceBuffer dweight) {
        int rows = Math.max(GRADIENT_ROWS, Math.ceilDiv(Math.ceilDiv(m, GRADIENT_PARTS), GRADIENT_WARPS) * GRADIENT_WARPS);
        int parts = Math.ceilDiv(m, rows);
        boolean pieces = inPieces(x, n, x, dy);
        long partial = cuda.scratch().at("rmsNormWeightGrad", (long) parts * n * Float.BYTES);
        cuda.launch("pan_rms_norm_weight_grad_" + (pieces ? "" : "any_") + CudaContext.suffix(x)).grid(Math.ceilDiv(n, WARP * (pieces ? pieceElements(x) : 1)), parts)
                .threads(GRADIENT_WARPS * WARP).arg(x).arg(inv).arg(dy).arg(m).arg(n).arg(rows).pointer(partial).run();
        cuda.launch("pan_add_partials").grid(Math.ceilDiv(n, THREADS)).threads(THREADS).pointer(partial).arg(parts).arg(n).arg(dweight).run();
    }

    /** @param warps that share a row @param rows of a block @param shared bytes: the weight, and a sum of every warp, twice */
    private record NormGrid(int warps, int rows, int shared) {}

    /** A block has many rows, so that the weight is read seldom, unless there are few: then more blocks, and more warps for a row. */
    private static NormGrid normGrid(DeviceBuffer x, int m, int n) {
        int pieces = n / pieceElements(x);
        int rows = Math.clamp(Integer.highestOneBit(Math.max(1, m / NORM_BLOCKS)), 1, NORM_ROWS);
        int least = powerOfTwo(Math.ceilDiv(pieces, WARP * NORM_PIECES));
        int most = Math.min(NORM_WARPS, powerOfTwo(Math.ceilDiv(pieces, WARP)));
        int warps = Math.max(least, Math.min(most, NORM_WARPS / rows));
        return new NormGrid(warps, Math.max(rows, NORM_WARPS / warps), (n + 2 * NORM_WARPS) * Float.BYTES);
    }

    private static int powerOfTwo(int atLeast) {
        return atLeast <= 1 ? 1 : Integer.highestOneBit(atLeast - 1) << 1;
    }

    private static boolean fitsRegisters(DeviceBuffer x, int n) {
        return n / pieceElements(x) <= NORM_WARPS * WARP * NORM_PIECES;
    }

    // ---- RoPE, SwiGLU, rows ------------------------------------------------------------------------------------------

    void rope(DeviceBuffer x, DeviceBuffer positions, DeviceBuffer cos, DeviceBuffer sin, long tableRows, int m, int heads, int headDim, boolean inverse) {
        Launch launch = cuda.launch("pan_rope_" + (headDim % 8 == 0 && alignedTo(4 * x.type().bytes(), x) && alignedTo(PIECE_BYTES, cos, sin) ? "" : "any_") + CudaContext.suffix(x));
        launch.grid(Math.ceilDiv(m, ROPE_WARPS)).threads(ROPE_WARPS * WARP).arg(x).arg(positions).arg(cos).arg(sin).arg(tableRows).arg(m).arg(heads).arg(headDim).arg(inverse)
                .pointer(cuda.report()).run();
    }

    void swiGlu(DeviceBuffer gate, DeviceBuffer up, long n, DeviceBuffer y) {
        cuda.launch("pan_swiglu_" + CudaContext.suffix(gate)).grid(Math.ceilDiv(n, (long) THREADS * pieceElements(gate))).threads(THREADS).arg(gate).arg(up).arg(n).arg(y).run();
    }

    void swiGluBackward(DeviceBuffer gate, DeviceBuffer up, DeviceBuffer dy, long n, DeviceBuffer dgate, DeviceBuffer dup) {
        cuda.launch("pan_swiglu_backward_" + CudaContext.suffix(gate)).grid(Math.ceilDiv(n, (long) THREADS * pieceElements(gate))).threads(THREADS)
                .arg(gate).arg(up).arg(dy).arg(n).arg(dgate).arg(dup).run();
    }

    void scatterRows(DeviceBuffer x, DeviceBuffer index, int m, int cols, DeviceBuffer y, long yRows, boolean accumulate) {
        long links = 0;
        if (m > FEW_ROWS) {
            links = cuda.scratch().at("scatterRows", (long) m * Integer.BYTES);
            cuda.launch("pan_link_rows").grid(Math.ceilDiv(m, LINKS)).threads(LINKS * WARP).arg(index).arg(m).arg(yRows).pointer(links).pointer(cuda.report()).run();
        }
        int threads = Math.clamp(Math.ceilDiv(Math.ceilDiv(cols, 4), WARP) * WARP, WARP, THREADS);
        cuda.launch("pan_scatter_rows_" + CudaContext.suffix(x) + "_" + CudaContext.suffix(y)).grid(m).threads(threads)
                .arg(x).arg(index).pointer(links).arg(m).arg(cols).arg(y).arg(yRows).arg(accumulate).pointer(cuda.report()).run();
    }

    // ---- alignment ---------------------------------------------------------------------------------------------------

    private static int pieceElements(DeviceBuffer x) {
        return PIECE_BYTES / x.type().bytes();
    }

    /** Whether rows of {@code n} elements of x's type consist of pieces of 16 bytes, and all buffers are aligned to such. */
    private static boolean inPieces(DeviceBuffer x, int n, DeviceBuffer... buffers) {
        return n % pieceElements(x) == 0 && alignedTo(PIECE_BYTES, buffers);
    }

    private static boolean alignedTo(int bytes, DeviceBuffer... buffers) {
        for (DeviceBuffer b : buffers) {
            if (b.address() % bytes != 0) {
                return false;
            }
        }
        return true;
    }
}
