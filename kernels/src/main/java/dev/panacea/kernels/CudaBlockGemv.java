package dev.panacea.kernels;

import dev.panacea.kernels.cuda.Launch;
import java.util.Locale;
import java.util.Optional;

/** Products of 1 to 8 rows with weights in ggml's blocks, which are decoded on the way: gemv_blocks.cu. */
final class CudaBlockGemv {
    private static final int MAX_ROWS = 8;
    private static final int WARPS = 8;
    private static final int THREADS = 32 * WARPS;
    /** Rows of the weight that a block takes at once, and how many times it may, so that their sums fit shared memory beside the rest. */
    private static final int TILE = 16;
    private static final int MOST_TILES = 32;
    private static final int SUMS_BYTES = TILE * MAX_ROWS * Float.BYTES;
    /** Elements between rows of x in shared memory, beyond their own. */
    private static final int X_PAD = 16;
    /** Blocks of a multiprocessor: more would read x more often. */
    private static final int RESIDENT = 2;

    private final CudaContext cuda;

    CudaBlockGemv(CudaContext cuda) {
        this.cuda = cuda;
    }

    /**
     * y[m, N] = x[m, K] W^T (+ low rank) (+ y), x and y F32 or BF16, each result rounded once.
     *
     * @return false, with nothing done, for more than 8 rows, formats without blocks, and weights at addresses that are no multiple of 16
     */
    boolean linear(BlockWeight w, DeviceBuffer x, int m, DeviceBuffer y, boolean accumulate, Optional<CudaGemm.LowRank> lowRank) {
        GgmlType type = w.type();
        if (m > MAX_ROWS || type.blockElements() == 1 || w.data().address() % 16 != 0) {
            return false;
        }
        // As in gemv_blocks.cu: what of K is in shared memory at a time, x in F32 as three parts of 2 bytes.
        int chunk = x.type() == DType.F32 || type == GgmlType.Q8_0 ? 1024 : 2048;
        int parts = x.type() == DType.F32 ? 3 : 1;
        int pieces = Math.ceilDiv((int) type.byteSize(chunk) + 14, 16) * 16;
        int stride = Math.ceilDiv(pieces - 16, 128) * 128 + 16;
        long tiles = Math.ceilDiv((long) w.rows(), TILE);
        int beforeSums = 2 * TILE * stride + (parts * m + 1) * (chunk + X_PAD) * Short.BYTES + WARPS * SUMS_BYTES;
        // GPUs of compute capability 8.6, 8.9 and 12.0 have room for fewer.
        Launch launch = cuda.launch("pan_gemv_blocks_" + type.name().toLowerCase(Locale.ROOT) + "_" + CudaContext.suffix(x));
        int mostTiles = Math.clamp((launch.sharedRoom() - beforeSums) / SUMS_BYTES, 1, MOST_TILES);
        long blocks = Math.max(Math.min(tiles, (long) RESIDENT * cuda.device().multiprocessors()), Math.ceilDiv(tiles, mostTiles));
        int shared = beforeSums + (int) Math.ceilDiv(tiles, blocks) * SUMS_BYTES;
        launch.grid(blocks).threads(THREADS).shared(shared)
                .arg(w.data()).arg((long) w.rows()).arg((long) w.cols()).arg(w.pairDim()).arg(x).arg(m).arg(y).arg(y.type() == DType.BF16).arg(accumulate)
                .arg(lowRank.map(CudaGemm.LowRank::s)).arg(lowRank.map(CudaGemm.LowRank::factor))
                .arg(lowRank.map(CudaGemm.LowRank::factorRow).orElse(0L)).arg(lowRank.map(CudaGemm.LowRank::factorCol).orElse(0L))
                .arg(lowRank.map(CudaGemm.LowRank::rank).orElse(0)).arg(lowRank.map(CudaGemm.LowRank::scaling).orElse(0f)).run();
        return true;
    }
}
