package dev.panacea.kernels;

import dev.panacea.kernels.cuda.Launch;
import java.util.Optional;

/** Products of dense matrices on a GPU: gemm_bf16.cu (tensor cores), gemm_f32.cu. */
final class CudaGemm {
    /** Longer rows than this go to the kernels with 64-bit offsets within a tile. */
    private static final int LONGEST_ROW = 1 << 23;
    /** Parts of k start at multiples of this, the deepest step of a tile. */
    private static final int K_STEP = 64;
    private static final int MAX_PARTS = 32;

    private final CudaContext cuda;
    private final CudaGemmF32 gemmF32;
    private final int multiprocessors;

    CudaGemm(CudaContext cuda) {
        this.cuda = cuda;
        gemmF32 = new CudaGemmF32(cuda);
        multiprocessors = cuda.device().multiprocessors();
    }

    /**
     * A low-rank term of a product: {@code C[i, j] += scaling * sum over r of s[i, r] * factor[j * factorRow + r * factorCol]}.
     *
     * @param s F32 [m, rank]
     * @param factor F32: LoRA's B[n, rank] with strides (rank, 1), or A[rank, n] with strides (1, n)
     */
    record LowRank(DeviceBuffer s, DeviceBuffer factor, long factorRow, long factorCol, int rank, float scaling) {}

    /** Which operands are transposed. */
    enum Mode {
        NT("nt"), NN("nn"), TN("tn");

        private final String name;

        Mode(String name) {
            this.name = name;
        }
    }

    /** What a block makes; the kernels of gemm_bf16.cu. */
    enum Tile {
        T128X256("128x256", 128, 256, 256, 98304, 2100),
        T128X128("128x128", 128, 128, 128, 65536, 1070),
        T64X128("64x128", 64, 128, 128, 73728, 550),
        T64X64("64x64", 64, 64, 128, 49152, 350),
        /** Of any alignment. */
        ANY("any", 64, 64, 128, 49152, 1200);

        private final String[] kernels = new String[Mode.values().length];
        private final int m;
        private final int n;
        private final int threads;
        private final int shared;
        /** Estimated cycles per {@link #K_STEP} of k on a multiprocessor that has at least two warps for each of its quarters. */
        private final int cycles;

        Tile(String suffix, int m, int n, int threads, int shared, int cycles) {
            for (Mode mode : Mode.values()) {
                kernels[mode.ordinal()] = "pan_gemm_bf16_" + mode.name + "_" + suffix;
            }
            this.m = m;
            this.n = n;
            this.threads = threads;
            this.shared = shared;
            this.cycles = cycles;
        }

        private long tiles(int rows, int columns) {
            return (long) Math.ceilDiv(rows, m) * Math.ceilDiv(columns, n);
        }
    }

    /** @param partK what a block takes of k: all of it, or a multiple of {@link #K_STEP} */
    record Plan(Tile tile, int partK) {}

    /** c[m, n] = a[m, k] b[n, k]^T (+ low rank) (+ c), rounded once. a, b: both BF16 (tensor cores) or both F32 (in single precision); c: F32 or BF16. */
    void nt(DeviceBuffer a, DeviceBuffer b, int m, int n, int k, DeviceBuffer c, boolean accumulate, Optional<LowRank> lowRank) {
        if (a.type() == DType.F32) {
            gemmF32.nt(a, b, m, n, k, c, accumulate, lowRank);
            return;
        }
        run(plan(Mode.NT, a, b, m, n, k), Mode.NT, a, b, m, n, k, c, accumulate, lowRank);
    }

    /** c[m, n] = a[m, k] b[k, n] (+ low rank) (+ c); types as in {@link #nt}. */
    void nn(DeviceBuffer a, DeviceBuffer b, int m, int n, int k, DeviceBuffer c, boolean accumulate, Optional<LowRank> lowRank) {
        if (a.type() == DType.F32) {
            gemmF32.nn(a, b, m, n, k, c, accumulate, lowRank);
            return;
        }
        run(plan(Mode.NN, a, b, m, n, k), Mode.NN, a, b, m, n, k, c, accumulate, lowRank);
    }

    /** c[m, n] += a[k, m]^T b[k, n]; c F32, a and b as in {@link #nt}. In an order that depends on the shape and the GPU alone. */
    void tn(DeviceBuffer a, DeviceBuffer b, int m, int n, int k, DeviceBuffer c) {
        if (a.type() == DType.F32) {
            gemmF32.tn(a, b, m, n, k, c);
            return;
        }
        run(plan(Mode.TN, a, b, m, n, k), Mode.TN, a, b, m, n, k, c, true, Optional.empty());
    }

    // ---- which kernel ------------------------------------------------------------------------------------------------

    /** The tile, and the number of parts of k, that should take the least time. */
    private Plan plan(Mode mode, DeviceBuffer a, DeviceBuffer b, int m, int n, int k) {
        if (!aligned(a, mode == Mode.TN ? m : k) || !aligned(b, mode == Mode.NT ? k : n)) {
            return plan(m, n, k, Tile.ANY, Tile.ANY);
        }
        return plan(m, n, k, Tile.T128X256, Tile.T64X64);
    }

    private static boolean aligned(DeviceBuffer matrix, int row) {
        return matrix.address() % 16 == 0 && row % 8 == 0 && row < LONGEST_ROW;
    }

    private Plan plan(int m, int n, int k, Tile first, Tile last) {
        Plan best = null;
        long least = Long.MAX_VALUE;
        for (int i = first.ordinal(); i <= last.ordinal(); i++) {
            Tile tile = Tile.values()[i];
            for (int parts = 1; parts <= MAX_PARTS && (parts == 1 || parts * 4L * K_STEP <= k); parts++) {
                int partK = parts == 1 ? k : Math.ceilDiv(Math.ceilDiv(k, parts), K_STEP) * K_STEP;
                long time = cycles(tile, m, n, k, partK);
                if (time < least) {
                    least = time;
                    best = new Plan(tile, partK);
                }
            }
        }
        return best;
    }

    /** An estimate, to compare plans by: the multiprocessor with most blocks, and the sum of partial results through the L2 cache. */
    private long cycles(Tile tile, int m, int n, int k, int partK) {
        int parts = Math.ceilDiv(k, partK);
        long blocks = Math.ceilDiv(tile.tiles(m, n) * parts, multiprocessors);
        long perBlock = 1500 + (long) Math.ceilDiv(partK, K_STEP) * tile.cycles;
        // One warp for a quarter of a multiprocessor does not hide its own latencies.
        long alone = blocks * tile.threads <= 128 ? perBlock / 8 : 0;
        return blocks * perBlock + alone + (parts == 1 ? 0 : 4000 + parts * (long) m * n / 250);
    }

    // ---- launches ----------------------------------------------------------------------------------------------------

    /** The product by a given kernel, which must suit the alignment of its operands. */
    void run(Plan plan, Mode mode, DeviceBuffer a, DeviceBuffer b, int m, int n, int k, DeviceBuffer c, boolean accumulate, Optional<LowRank> lowRank) {
        Tile tile = plan.tile();
        int parts = Math.ceilDiv(k, plan.partK());
        long stride = parts == 1 ? n : Math.ceilDiv(n, 4) * 4L;
        long partial = parts == 1 ? 0 : cuda.scratch().at("partial sums of a product", parts * m * stride * Float.BYTES);
        Launch launch = cuda.launch(tile.kernels[mode.ordinal()]).grid(tile.tiles(m, n), parts).threads(tile.threads).shared(tile.shared)
                .arg(a).arg(b).arg(c).arg(stride).arg(m).arg(n).arg(k).arg(c.type() == DType.BF16).arg(accumulate);
        if (lowRank.isPresent()) {
            LowRank low = lowRank.get();
            launch.arg(low.s()).arg(low.factor()).arg(low.factorRow()).arg(low.factorCol()).arg(low.rank()).arg(low.scaling());
        } else {
            launch.pointer(0).pointer(0).arg(0L).arg(0L).arg(0).arg(0.0f);
        }
        launch.pointer(partial).arg(plan.partK()).run();
        if (parts > 1) {
            long threads = Math.ceilDiv((long) m * n, 4);
            cuda.launch("pan_gemm_bf16_add_" + CudaContext.suffix(c)).grid(Math.ceilDiv(threads, 256)).threads(256).pointer(partial).arg((long) m).arg((long) n).arg(stride).arg(parts)
                    .arg(c).arg(accumulate).run();
        }
    }
}
