package dev.panacea.kernels;

import dev.panacea.kernels.cuda.Launch;
import java.util.Optional;

/**
 * Products of few rows with weights that are decoded on the way: gemv.cu (to 8 rows), gemm_few_rows.cu (4-bit codes and BF16 rows on the tensor
 * cores, from 3 rows to 64), gemv_blocks.cu (ggml's blocks, to 8 rows).
 */
final class CudaFewRows {
    private static final int GEMV_ROWS = 8;
    /** From here on the tensor cores are ahead: the multiply-adds of the vector units take longer than the codes' way from memory. */
    private static final int TENSOR_FROM = 3;
    private static final int TENSOR_ROWS = 64;
    /** Elements of k of a warp in a stage of gemm_few_rows.cu. */
    private static final int SLICE = 64;
    private static final int WARPS = 8;
    /** So that sums of indices within a row stay within 32 bits. */
    private static final int MAX_COLUMNS = 1 << 30;

    private final CudaContext cuda;
    private final int multiprocessors;
    private final CudaBlockGemv blockGemv;

    CudaFewRows(CudaContext cuda) {
        this.cuda = cuda;
        multiprocessors = cuda.device().multiprocessors();
        blockGemv = new CudaBlockGemv(cuda);
    }

    /** One of gemv.cu's kernels for up to {@code rows} rows: its blocks of {@code threads}, {@code resident} of them on a multiprocessor, and their shared memory for x. */
    private record Gemv(int rows, int threads, int resident, int sharedBytes) {
        private static final Gemv[] ALL = {new Gemv(1, 512, 2, 67 << 10), new Gemv(2, 384, 2, 67 << 10), new Gemv(4, 512, 1, 135 << 10), new Gemv(8, 512, 1, 135 << 10)};

        static Gemv of(int m) {
            return ALL[m == 1 ? 0 : m == 2 ? 1 : m <= 4 ? 2 : 3];
        }
    }

    /** How a weight is read: {@code whole} steps of {@code step} elements, which take {@code stepBytes} of shared memory for each row of x, or element by element. */
    private record Reading(String kernels, boolean whole, int step, int stepBytes) {
        String kernel(int m) {
            return whole ? kernels + "_m" + Gemv.of(m).rows() : kernels + "_any";
        }
    }

    /** One of gemm_few_rows.cu's kernels for up to {@code rows} rows, by the parameters of its template. */
    private record Tile(int rows, int groups, int warpsN, int slots) {
        private static final Tile[] ALL = {new Tile(8, 1, 1, 3), new Tile(16, 2, 2, 2), new Tile(32, 2, 2, 3), new Tile(64, 2, 2, 2)};

        static Tile of(int m) {
            return ALL[m <= 8 ? 0 : m <= 16 ? 1 : m <= 32 ? 2 : 3];
        }

        /** Rows of W of a block. */
        int weightRows() {
            return 16 * groups * warpsN;
        }

        /** Elements of k of a stage. */
        int stage() {
            return SLICE * WARPS / warpsN;
        }

        int sharedBytes(int scalePitch) {
            return slots * (rows * 2 * stage() + weightRows() * (stage() / 2 + 16)) + weightRows() * scalePitch * 4;
        }
    }

    /**
     * y[m, N] = x[m, K] W^T (+ low rank) (+ y), where that is faster than a dense copy of the weight; false, with nothing done, where it is not.
     * Served are: 1 to 8 rows of F32 or BF16 with dense weights, 4-bit codes and ggml's blocks; to 64 rows of BF16 with 4-bit codes, if K is a multiple of
     * 64, and x and the codes are aligned to 16 bytes.
     */
    boolean linear(Weight w, DeviceBuffer x, int m, DeviceBuffer y, boolean accumulate, Optional<CudaGemm.LowRank> lowRank) {
        if (w.rows() < 1 || w.cols() < 1 || w.cols() > MAX_COLUMNS || m < 1) {
            return false;
        }
        return switch (w) {
            case BlockWeight blocks -> m <= GEMV_ROWS && blockGemv.linear(blocks, x, m, y, accumulate, lowRank);
            case DenseWeight dense -> {
                if (m <= GEMV_ROWS) {
                    gemv(dense, x, m, y, accumulate, lowRank);
                }
                yield m <= GEMV_ROWS;
            }
            case Q4Weight q4 -> {
                boolean tensor = x.type() == DType.BF16 && m >= TENSOR_FROM && m <= TENSOR_ROWS && q4.cols() % SLICE == 0 && aligned(x, 16) && aligned(q4.packed(), 16);
                if (tensor) {
                    tensorCores(q4, x, m, y, accumulate, lowRank);
                } else if (m <= GEMV_ROWS) {
                    gemv(q4, x, m, y, accumulate, lowRank);
                }
                yield tensor || m <= GEMV_ROWS;
            }
        };
    }

    private static boolean aligned(DeviceBuffer b, int bytes) {
        return b.address() % bytes == 0;
    }

    // ---- gemv.cu -----------------------------------------------------------------------------------------------------

    private void gemv(DenseWeight w, DeviceBuffer x, int m, DeviceBuffer y, boolean accumulate, Optional<CudaGemm.LowRank> lowRank) {
        int elements = 16 / w.data().type().bytes();
        // Of 32 lanes' 16 bytes: a BF16 lane's two quarters of x stand 36 float4 apart.
        int stepBytes = w.data().type() == DType.BF16 ? 2 * 36 * 16 : 32 * 16;
        Reading reading = new Reading("pan_gemv_dense_" + CudaContext.suffix(w.data()), w.cols() % elements == 0 && aligned(w.data(), 16), 32 * elements, stepBytes);
        finish(reading, cuda.launch(reading.kernel(m)).arg(w.data()), w, x, m, y, accumulate, lowRank);
    }

    private void gemv(Q4Weight w, DeviceBuffer x, int m, DeviceBuffer y, boolean accumulate, Optional<CudaGemm.LowRank> lowRank) {
        Reading reading = new Reading("pan_gemv_q4", w.cols() % 32 == 0 && aligned(w.packed(), 16), 1024, 8 * 33 * 16);
        finish(reading, codes(cuda.launch(reading.kernel(m)), w), w, x, m, y, accumulate, lowRank);
    }

    private void finish(Reading reading, Launch launch, Weight w, DeviceBuffer x, int m, DeviceBuffer y, boolean accumulate, Optional<CudaGemm.LowRank> lowRank) {
        Gemv kernel = Gemv.of(m);
        int steps = Math.ceilDiv(w.cols(), reading.step());
        int parts = Math.ceilDiv(steps, kernel.sharedBytes() / (kernel.rows() * reading.stepBytes()));
        int held = Math.ceilDiv(steps, parts);
        boolean vector = w.cols() % 4 == 0 && aligned(x, 4 * x.type().bytes());
        launch.arg(w.rows()).arg(w.cols()).arg(m).arg(x).arg(x.type() == DType.BF16).arg(vector);
        output(launch, y, accumulate, lowRank).arg(held);
        if (reading.whole()) {
            int groups = Math.ceilDiv(w.rows(), 2);
            int wanted = Math.ceilDiv(groups, multiprocessors * (kernel.threads() / 32));
            launch.grid(Math.min(groups, multiprocessors * Math.min(wanted, kernel.resident()))).threads(kernel.threads()).shared(held * kernel.rows() * reading.stepBytes()).run();
        } else {
            launch.grid(Math.ceilDiv(w.rows(), WARPS)).threads(32 * WARPS).run();
        }
    }

    // ---- gemm_few_rows.cu --------------------------------------------------------------------------------------------

    private void tensorCores(Q4Weight w, DeviceBuffer x, int m, DeviceBuffer y, boolean accumulate, Optional<CudaGemm.LowRank> lowRank) {
        Tile tile = Tile.of(m);
        int tiles = Math.ceilDiv(w.rows(), tile.weightRows());
        int stages = Math.ceilDiv(w.cols(), tile.stage());
        // As many parts of k as give every multiprocessor a block and none two.
        int perPart = Math.ceilDiv(stages, Math.clamp(multiprocessors / tiles, 1, stages));
        int parts = Math.ceilDiv(stages, perPart);
        int scaleElements = w.blockSize() == 32 ? 1024 : 2048;
        // The blocks that so many elements can touch; 2 more than a multiple of 4, so that 8 rows' scales stand in different banks.
        int pitch = ((scaleElements - 1) / w.blockSize() + 3) / 4 * 4 + 2;
        long count = (long) m * w.rows();
        long sums = parts == 1 ? 0 : cuda.scratch().at("few rows", parts * count * 4);
        Launch launch = codes(cuda.launch("pan_few_rows_q4_" + tile.rows()), w).arg(w.rows()).arg(w.cols()).arg(m).arg(x);
        output(launch, y, accumulate, lowRank).pointer(sums).arg(perPart * tile.stage()).arg(scaleElements).arg(pitch);
        launch.grid(tiles, parts).threads(32 * WARPS).shared(tile.sharedBytes(pitch)).run();
        if (parts > 1) {
            cuda.launch("pan_few_rows_sum").grid(Math.ceilDiv(count, 256)).threads(256).pointer(sums).arg(parts).arg(count).arg(y).arg(y.type() == DType.BF16).arg(accumulate).run();
        }
    }

    // ---- arguments ---------------------------------------------------------------------------------------------------

    private static Launch codes(Launch launch, Q4Weight w) {
        launch.arg(w.packed()).arg(w.levels()).arg(w.absmax()).pointer(w.nested().map(n -> n.levels().address()).orElse(0L)).pointer(w.nested().map(n -> n.scale().address()).orElse(0L));
        return launch.arg(w.nested().map(Q4Weight.Nested::offset).orElse(0f)).arg(Integer.numberOfTrailingZeros(w.blockSize()));
    }

    private static Launch output(Launch launch, DeviceBuffer y, boolean accumulate, Optional<CudaGemm.LowRank> lowRank) {
        launch.arg(y).arg(y.type() == DType.BF16).arg(accumulate);
        if (lowRank.isEmpty()) {
            return launch.pointer(0).pointer(0).arg(0L).arg(0L).arg(0).arg(0f);
        }
        CudaGemm.LowRank low = lowRank.get();
        return launch.arg(low.s()).arg(low.factor()).arg(low.factorRow()).arg(low.factorCol()).arg(low.rank()).arg(low.scaling());
    }
}
