package dev.panacea.kernels;

import dev.panacea.kernels.cuda.Launch;
import java.util.Arrays;
import java.util.Optional;

/** Products of dense matrices on a GPU: gemm_bf16.cu (tensor cores), gemm_f32.cu, or cuBLASLt. */
final class CudaGemm {
    /** The kernels count 8 elements within a tile of 256 rows in 31 bits. */
    private static final int LONGEST_ROW = 1 << 26;
    /** Elements of the 16 bytes to which the kernels want rows aligned. */
    private static final int ALIGNMENT = 8;
    /** Parts of k start at multiples of this, the deepest step of a tile. */
    private static final int K_STEP = 128;
    private static final int MAX_PARTS = 32;

    private final CudaContext cuda;
    private final CudaGemmF32 gemmF32;
    private final CudaBlasGemm blasGemm;
    private final int multiprocessors;
    private final Tile[] tiles;
    private final long zeros;

    CudaGemm(CudaContext cuda) {
        this.cuda = cuda;
        gemmF32 = new CudaGemmF32(cuda);
        multiprocessors = cuda.device().multiprocessors();
        tiles = Tile.fitting(cuda);
        zeros = cuda.allocator().allocate(2 * ALIGNMENT);
        cuda.device().clear(zeros, 2 * ALIGNMENT);
        blasGemm = new CudaBlasGemm(cuda, this);
    }

    /** The library of NVIDIA's that products are left to, if any. */
    Optional<String> library() {
        return blasGemm.description();
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

    /** What a block makes; the kernels of gemm_bf16.cu. The largest needs more shared memory than GPUs of compute capability 8.6 and 8.9 have. */
    enum Tile {
        T128X256("128x256", 128, 256, 256, 147456, 4300),
        T128X128("128x128", 128, 128, 128, 73728, 2150),
        T64X128("64x128", 64, 128, 128, 73728, 1150),
        T64X64("64x64", 64, 64, 128, 73728, 750);

        private final String[] kernels = new String[Mode.values().length];
        private final int m;
        private final int n;
        private final int threads;
        private final int shared;
        /** Estimated cycles per {@link #K_STEP} of k: of the tensor cores of an A100, and more where the L2 cache must feed a small tile. Never timed. */
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

        /** Those for which a GPU has shared memory enough. */
        static Tile[] fitting(CudaContext cuda) {
            return Arrays.stream(values()).filter(tile -> tile.shared <= cuda.device().sharedLimit()).toArray(Tile[]::new);
        }

        private long tiles(int rows, int columns) {
            return (long) Math.ceilDiv(rows, m) * Math.ceilDiv(columns, n);
        }
    }

    /** An operand as the kernels take it: rows aligned, {@code stride} elements apart. */
    private record Operand(long address, int stride) {}

    /** @param partK what a block takes of k: all of it, or a multiple of {@link #K_STEP} */
    record Plan(Tile tile, int partK) {}

    /** c[m, n] = a[m, k] b[n, k]^T (+ low rank) (+ c), rounded once. a, b: both BF16 (tensor cores) or both F32 (in single precision); c: F32 or BF16. */
    void nt(DeviceBuffer a, DeviceBuffer b, int m, int n, int k, DeviceBuffer c, boolean accumulate, Optional<LowRank> lowRank) {
        if (a.type() == DType.F32) {
            gemmF32.nt(a, b, m, n, k, c, accumulate, lowRank);
            return;
        }
        multiply(Mode.NT, a, b, m, n, k, c, accumulate, lowRank);
    }

    /** c[m, n] = a[m, k] b[k, n] (+ low rank) (+ c); types as in {@link #nt}. */
    void nn(DeviceBuffer a, DeviceBuffer b, int m, int n, int k, DeviceBuffer c, boolean accumulate, Optional<LowRank> lowRank) {
        if (a.type() == DType.F32) {
            gemmF32.nn(a, b, m, n, k, c, accumulate, lowRank);
            return;
        }
        multiply(Mode.NN, a, b, m, n, k, c, accumulate, lowRank);
    }

    /** c[m, n] += a[k, m]^T b[k, n]; c F32, a and b as in {@link #nt}. In an order that depends on the shape and the GPU alone. */
    void tn(DeviceBuffer a, DeviceBuffer b, int m, int n, int k, DeviceBuffer c) {
        if (a.type() == DType.F32) {
            gemmF32.tn(a, b, m, n, k, c);
            return;
        }
        multiply(Mode.TN, a, b, m, n, k, c, true, Optional.empty());
    }

    private void multiply(Mode mode, DeviceBuffer a, DeviceBuffer b, int m, int n, int k, DeviceBuffer c, boolean accumulate, Optional<LowRank> lowRank) {
        if (blasGemm.multiply(mode, a, b, m, n, k, c, accumulate)) {
            lowRank.ifPresent(low -> addLowRank(low, m, n, c));
        } else {
            own(mode, a, b, m, n, k, c, accumulate, lowRank);
        }
    }

    /** The product by our own kernels; BF16 operands. */
    void own(Mode mode, DeviceBuffer a, DeviceBuffer b, int m, int n, int k, DeviceBuffer c, boolean accumulate, Optional<LowRank> lowRank) {
        run(plan(m, n, k), mode, a, b, m, n, k, c, accumulate, lowRank);
    }

    /** c[m, n] += the low-rank term alone: beside a product of zeros, which all rows share. */
    void addLowRank(LowRank lowRank, int m, int n, DeviceBuffer c) {
        Operand zeros = new Operand(this.zeros, 0);
        launch(new Plan(plan(m, n, ALIGNMENT).tile(), ALIGNMENT), Mode.NT, zeros, zeros, m, n, ALIGNMENT, 0, c, true, Optional.of(lowRank));
    }

    // ---- which kernel ------------------------------------------------------------------------------------------------

    /** The tile, and the number of parts of k, that should take the least time. */
    private Plan plan(int m, int n, int k) {
        Plan best = new Plan(Tile.T64X64, k);
        long least = Long.MAX_VALUE;
        for (Tile tile : tiles) {
            for (int parts = 1; parts <= MAX_PARTS && (parts == 1 || parts * 2L * K_STEP <= k); parts++) {
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

    /** The product by a given kernel. */
    void run(Plan plan, Mode mode, DeviceBuffer a, DeviceBuffer b, int m, int n, int k, DeviceBuffer c, boolean accumulate, Optional<LowRank> lowRank) {
        // Where rows lie along k, k itself is made a multiple of the alignment by zeros in front.
        int skip = mode == Mode.TN ? 0 : Math.floorMod(-k, ALIGNMENT);
        Operand left = mode == Mode.TN ? aligned("left", a, k, m, 0) : aligned("left", a, m, k, skip);
        Operand right = mode == Mode.NT ? aligned("right", b, n, k, skip) : aligned("right", b, k, n, 0);
        launch(plan, mode, left, right, m, n, k + skip, skip, c, accumulate, lowRank);
    }

    /** @param k with the {@code skip} zeros in front */
    private void launch(Plan plan, Mode mode, Operand left, Operand right, int m, int n, int k, int skip, DeviceBuffer c, boolean accumulate, Optional<LowRank> lowRank) {
        Tile tile = plan.tile();
        int partK = plan.partK() < k - skip ? plan.partK() : k;
        int parts = Math.ceilDiv(k, partK);
        long stride = parts == 1 ? n : Math.ceilDiv(n, 4) * 4L;
        long partial = parts == 1 ? 0 : cuda.scratch().at("partial sums of a product", (long) parts * m * stride * Float.BYTES);
        Launch launch = cuda.launch(tile.kernels[mode.ordinal()]).grid(tile.tiles(m, n), parts).threads(tile.threads).shared(tile.shared)
                .pointer(left.address()).arg(left.stride()).pointer(right.address()).arg(right.stride()).arg(c).arg(stride).arg(m).arg(n).arg(k).arg(skip)
                .arg(c.type() == DType.BF16).arg(accumulate);
        if (lowRank.isPresent()) {
            LowRank low = lowRank.get();
            launch.arg(low.s()).arg(low.factor()).arg(low.factorRow()).arg(low.factorCol()).arg(low.rank()).arg(low.scaling());
        } else {
            launch.pointer(0).pointer(0).arg(0L).arg(0L).arg(0).arg(0.0f);
        }
        launch.pointer(partial).arg(partK).run();
        if (parts > 1) {
            long threads = Math.ceilDiv((long) m * n, 4L);
            cuda.launch("pan_gemm_bf16_add_" + CudaContext.suffix(c)).grid(Math.ceilDiv(threads, 256L)).threads(256)
                    .pointer(partial).arg((long) m).arg((long) n).arg(stride).arg(parts).arg(c).arg(accumulate).run();
        }
    }

    /** The matrix [rows, length] with zeros in front of its rows; a copy, if its rows are not aligned as they are. */
    private Operand aligned(String side, DeviceBuffer matrix, int rows, int length, int front) {
        if (length >= LONGEST_ROW) {
            throw new IllegalArgumentException("a product of matrices with rows of " + length + " elements; a GPU multiplies rows of less than " + LONGEST_ROW);
        }
        if (length % ALIGNMENT == 0 && matrix.address() % (ALIGNMENT * (long) matrix.type().bytes()) == 0) {
            return new Operand(matrix.addressOn(cuda.device()), length);
        }
        int stride = Math.ceilDiv(length, ALIGNMENT) * ALIGNMENT;
        long chunks = (long) rows * (stride / ALIGNMENT);
        long copy = cuda.scratch().at(side + " matrix of a product, aligned", chunks * ALIGNMENT * matrix.type().bytes());
        cuda.launch("pan_gemm_bf16_align").grid(Math.ceilDiv(chunks, 256L)).threads(256)
                .arg(matrix).arg((long) rows).arg(length).arg(front).pointer(copy).arg(stride).run();
        return new Operand(copy, stride);
    }
}
