package dev.panacea.kernels;

import dev.panacea.kernels.cuda.Launch;
import java.util.Optional;

/**
 * Products of few rows with weights that are decoded on the way: gemv.cu (to 8 rows), gemv_codes.cu and gemm_few_rows.cu (4-bit codes and BF16 rows on the
 * tensor cores, 1 or 2 rows and to 64), gemv_blocks.cu (ggml's blocks, to 8 rows).
 */
final class CudaFewRows {
    private static final int GEMV_ROWS = 8;
    /** From here on the tensor cores are ahead: with more than one row, gemv.cu's shuffles and reads of x take longer than the codes' way from memory. */
    private static final int TENSOR_FROM = 2;
    private static final int TENSOR_ROWS = 64;
    /** Elements of k of a warp in a stage of gemm_few_rows.cu. */
    private static final int SLICE = 64;
    private static final int WARPS = 8;
    /** So that sums of indices within a row stay within 32 bits. */
    private static final int MAX_COLUMNS = 1 << 30;

    /** Bytes that a multiprocessor's shared memory has beyond what one block can have, and that each block takes of it beside its own. */
    private static final int KEPT_SHARED = 1 << 10;

    private final CudaContext cuda;
    private final int multiprocessors;
    private final int sharedLimit;
    private final CudaBlockGemv blockGemv;

    CudaFewRows(CudaContext cuda) {
        this.cuda = cuda;
        multiprocessors = cuda.device().multiprocessors();
        sharedLimit = cuda.device().sharedLimit();
        blockGemv = new CudaBlockGemv(cuda);
    }

    /**
     * One of gemv.cu's kernels for up to {@code rows} rows: the columns of y of a warp, its blocks of {@code threads}, {@code resident} of them on a
     * multiprocessor, and their shared memory for x, where there is as much.
     */
    private record Gemv(String name, int rows, int columns, int threads, int resident, int sharedBytes) {
        private static final Gemv ONE = new Gemv("m1", 1, 2, 1024, 1, 135 << 10);
        /** For 4-bit codes, where there are enough columns to give every warp four: half the reads of x. */
        private static final Gemv ONE_WIDE = new Gemv("m1_wide", 1, 4, 512, 1, 135 << 10);
        private static final Gemv TWO = new Gemv("m2", 2, 2, 384, 2, 67 << 10);
        private static final Gemv FOUR = new Gemv("m4", 4, 2, 512, 1, 135 << 10);
        private static final Gemv EIGHT = new Gemv("m8", 8, 2, 512, 1, 135 << 10);

        /** Shared memory for x, such that the resident blocks find room in that of a multiprocessor. */
        int sharedBytes(int sharedLimit, int room) {
            return Math.min(sharedBytes, (sharedLimit + KEPT_SHARED) / resident - KEPT_SHARED - (sharedLimit - room));
        }

        static Gemv of(int m) {
            return m == 1 ? ONE : m == 2 ? TWO : m <= 4 ? FOUR : EIGHT;
        }

        int warps() {
            return threads / 32;
        }
    }

    /** How a weight is read: in steps of {@code step} elements a warp, which take {@code stepBytes} of shared memory for each row of x, if it is {@code aligned}; else one by one. */
    private record Reading(boolean aligned, int step, int stepBytes) {}

    /** One of gemm_few_rows.cu's kernels for up to {@code rows} rows, by the parameters of its template. */
    private record Tile(String kernel, int rows, int groups, int warpsN, int slots) {
        private static final Tile EIGHT = new Tile("pan_few_rows_q4_8", 8, 1, 1, 3);
        /** For weights of so many rows that larger blocks leave no multiprocessor without one. */
        private static final Tile EIGHT_WIDE = new Tile("pan_few_rows_q4_8_wide", 8, 2, 1, 2);
        private static final Tile SIXTEEN = new Tile("pan_few_rows_q4_16", 16, 2, 2, 2);
        private static final Tile THIRTY_TWO = new Tile("pan_few_rows_q4_32", 32, 2, 2, 3);
        private static final Tile SIXTY_FOUR = new Tile("pan_few_rows_q4_64", 64, 2, 2, 2);

        static Tile of(int m, int weightRows, int multiprocessors) {
            if (m <= 8) {
                return weightRows / EIGHT_WIDE.weightRows() < multiprocessors ? EIGHT : EIGHT_WIDE;
            }
            return m <= 16 ? SIXTEEN : m <= 32 ? THIRTY_TWO : SIXTY_FOUR;
        }

        /** Rows of W of a block. */
        int weightRows() {
            return 16 * groups * warpsN;
        }

        /** Elements of k of a stage. */
        int stage() {
            return SLICE * WARPS / warpsN;
        }

        /** Dynamic ones. */
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
                if (m <= Decoding.MOST && x.type() == DType.BF16 && decoding(q4, x, m, y, accumulate, lowRank)) {
                    yield true;
                }
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
        // A lane's two quarters of BF16 stand 36 float4 apart.
        Reading reading = new Reading(w.cols() % elements == 0 && aligned(w.data(), 16), 32 * elements, w.data().type() == DType.BF16 ? 2 * 36 * 16 : 32 * 16);
        Gemv kernel = Gemv.of(m);
        Launch launch = cuda.launch("pan_gemv_dense_" + CudaContext.suffix(w.data()) + "_" + (reading.aligned() ? kernel.name() : "any")).arg(w.data());
        gemv(launch, kernel, reading, w, x, m, y, accumulate, lowRank);
    }

    private void gemv(Q4Weight w, DeviceBuffer x, int m, DeviceBuffer y, boolean accumulate, Optional<CudaGemm.LowRank> lowRank) {
        Reading reading = new Reading(w.cols() % 32 == 0 && aligned(w.packed(), 16), 1024, 8 * 33 * 16);
        Gemv kernel = m == 1 && w.rows() / Gemv.ONE_WIDE.columns() >= multiprocessors * Gemv.ONE_WIDE.warps() ? Gemv.ONE_WIDE : Gemv.of(m);
        Launch launch = codes(cuda.launch("pan_gemv_q4_" + (reading.aligned() ? kernel.name() : "any")), w);
        gemv(launch, kernel, reading, w, x, m, y, accumulate, lowRank);
    }

    private void gemv(Launch launch, Gemv kernel, Reading reading, Weight w, DeviceBuffer x, int m, DeviceBuffer y, boolean accumulate, Optional<CudaGemm.LowRank> lowRank) {
        int steps = Math.ceilDiv(w.cols(), reading.step());
        int parts = Math.ceilDiv(steps, kernel.sharedBytes(sharedLimit, launch.sharedRoom()) / (kernel.rows() * reading.stepBytes()));
        int held = Math.ceilDiv(steps, parts);
        boolean vector = w.cols() % 4 == 0 && aligned(x, 4 * x.type().bytes());
        launch.arg(w.rows()).arg(w.cols()).arg(m).arg(x).arg(x.type() == DType.BF16).arg(vector);
        output(launch, y, accumulate, lowRank).arg(held);
        if (reading.aligned()) {
            int groups = Math.ceilDiv(w.rows(), kernel.columns());
            int wanted = Math.ceilDiv(groups, multiprocessors * kernel.warps());
            int blocks = Math.min(groups, multiprocessors * Math.min(wanted, kernel.resident()));
            launch.grid(blocks).threads(kernel.threads()).shared(held * kernel.rows() * reading.stepBytes()).run();
        } else {
            launch.grid(Math.ceilDiv(w.rows(), WARPS)).threads(32 * WARPS).run();
        }
    }

    // ---- gemv_codes.cu -----------------------------------------------------------------------------------------------

    /** The numbers of gemv_codes.cu: rows of x that it takes, threads, rows of a tile, the most rows of a turn, elements of k of a unit; bytes of its table, and of x in a unit. */
    private static final class Decoding {
        private static final int MOST = 2;
        private static final int THREADS = 512;
        private static final int TILE = 16;
        private static final int TURN = 128;
        private static final int UNIT = 128;
        private static final int TABLE_BYTES = 64 << 10;
        private static final int X_BYTES = 4 * 80;
        /** Of a turn's scales, about; two turns have them at once. */
        private static final int SCALES_BYTES = 24 << 10;
    }

    /** @return false, with nothing done, for rows that do not begin at 16 bytes, cut a block of scales within 64 elements, or are too long */
    private boolean decoding(Q4Weight w, DeviceBuffer x, int m, DeviceBuffer y, boolean accumulate, Optional<CudaGemm.LowRank> lowRank) {
        if (w.cols() % Math.min(w.blockSize(), SLICE) != 0 || !aligned(x, 16) || !aligned(w.packed(), 16)) {
            return false;
        }
        // The rows of a block are a multiple of 8, so that it writes whole sectors' halves of y, and no multiprocessor has more than the others' most.
        int groups = Math.ceilDiv(w.rows(), 8);
        int blockRows = 8 * Math.ceilDiv(groups, multiprocessors);
        int units = Math.ceilDiv(w.cols(), Decoding.UNIT);
        // One more than the blocks that a row can touch, and 2 more than a multiple of 4, so that 8 rows' scales stand in different banks.
        int pitch = ((w.cols() + w.blockSize() - 2) / w.blockSize() + 3) / 4 * 4 + 2;
        int fitting = Decoding.SCALES_BYTES / (4 * pitch) / Decoding.TILE * Decoding.TILE;
        int turnRows = Math.min(Math.ceilDiv(blockRows, Decoding.TILE) * Decoding.TILE, Math.clamp(fitting, Decoding.TILE, Decoding.TURN));
        long shared = Decoding.TABLE_BYTES + (long) m * units * Decoding.X_BYTES + 2L * turnRows * pitch * 4 + 3L * turnRows * 2 * 4
                + 2L * (turnRows / Decoding.TILE + Decoding.THREADS / 32) * 2 * Decoding.TILE * 4 + ((long) blockRows * w.cols() / w.blockSize() / 256 + 3) * 4;
        Launch launch = cuda.launch("pan_gemv_codes");
        if (shared > launch.sharedRoom()) {
            return false;
        }
        codes(launch, w).arg(w.rows()).arg(w.cols()).arg(m).arg(x);
        output(launch, y, accumulate, lowRank).arg(blockRows).arg(turnRows).arg(pitch);
        launch.grid(Math.ceilDiv(w.rows(), blockRows)).threads(Decoding.THREADS).shared((int) shared).run();
        return true;
    }

    // ---- gemm_few_rows.cu --------------------------------------------------------------------------------------------

    private void tensorCores(Q4Weight w, DeviceBuffer x, int m, DeviceBuffer y, boolean accumulate, Optional<CudaGemm.LowRank> lowRank) {
        Tile tile = Tile.of(m, w.rows(), multiprocessors);
        int scaleElements = w.blockSize() == 32 ? 1024 : 2048;
        // The blocks that so many elements can touch; 2 more than a multiple of 4, so that 8 rows' scales stand in different banks.
        int pitch = ((scaleElements - 1) / w.blockSize() + 3) / 4 * 4 + 2;
        if (tile.sharedBytes(pitch) > cuda.launch(tile.kernel()).sharedRoom()) {
            // GPUs of compute capability 8.6, 8.9 and 12.0 have room for 16 rows: the codes, read up to four times, are still fewer bytes than a dense copy.
            int rows = Tile.SIXTEEN.rows();
            for (int from = 0; from < m; from += rows) {
                rows = Math.min(rows, m - from);
                tensorCores(w, rows(x, from, rows, w.cols()), rows, rows(y, from, rows, w.rows()), accumulate, rows(lowRank, from, rows));
            }
            return;
        }
        int tiles = Math.ceilDiv(w.rows(), tile.weightRows());
        int stages = Math.ceilDiv(w.cols(), tile.stage());
        // As many parts of k as give every multiprocessor a block and none two.
        int perPart = Math.ceilDiv(stages, Math.clamp(multiprocessors / tiles, 1, stages));
        int parts = Math.ceilDiv(stages, perPart);
        long count = (long) m * w.rows();
        long sums = parts == 1 ? 0 : cuda.scratch().at("few rows", parts * count * 4);
        Launch launch = codes(cuda.launch(tile.kernel()), w).arg(w.rows()).arg(w.cols()).arg(m).arg(x);
        output(launch, y, accumulate, lowRank).pointer(sums).arg(perPart * tile.stage()).arg(scaleElements).arg(pitch);
        launch.grid(tiles, parts).threads(32 * WARPS).shared(tile.sharedBytes(pitch)).run();
        if (parts > 1) {
            cuda.launch("pan_few_rows_sum").grid(Math.ceilDiv(count, 256)).threads(256).pointer(sums).arg(parts).arg(count).arg(y).arg(y.type() == DType.BF16).arg(accumulate).run();
        }
    }

    private static DeviceBuffer rows(DeviceBuffer matrix, int from, int rows, int cols) {
        return matrix.slice((long) from * cols, (long) rows * cols);
    }

    private static Optional<CudaGemm.LowRank> rows(Optional<CudaGemm.LowRank> lowRank, int from, int rows) {
        return lowRank.map(low -> new CudaGemm.LowRank(rows(low.s(), from, rows, low.rank()), low.factor(), low.factorRow(), low.factorCol(), low.rank(), low.scaling()));
    }

    // ---- arguments ---------------------------------------------------------------------------------------------------

    private static Launch codes(Launch launch, Q4Weight w) {
        launch.arg(w.packed()).arg(w.levels()).arg(w.absmax()).arg(w.nested().map(Q4Weight.Nested::levels)).arg(w.nested().map(Q4Weight.Nested::scale));
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
