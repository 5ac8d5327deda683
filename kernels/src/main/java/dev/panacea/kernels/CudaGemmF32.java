package dev.panacea.kernels;

import java.util.Optional;

/** Products of dense F32 matrices on a GPU, in single precision without tensor cores: gemm_f32.cu. */
final class CudaGemmF32 {
    private static final int THREADS = 256;
    /** Blocks that keep a large GPU busy: about one, two for each multiprocessor. Constants, since results must not depend on the GPU. */
    private static final int FEW_BLOCKS = 100;
    private static final int ENOUGH_BLOCKS = 216;
    /** Steps of the reduced dimension that a block takes at a time, and the fewest worth a part of their own. */
    private static final int STEPS = 16;
    private static final int LEAST_PART = 128;
    /** Offsets within a tile are 32 bits wide. */
    private static final int LONGEST_ROW = 1 << 25;

    /** Rows and columns of c that a block makes; the kernels of gemm_f32.cu. */
    private record Tile(String suffix, int rows, int cols) {
        static final Tile LARGE = new Tile("_128", 128, 128);
        static final Tile SMALL = new Tile("_64", 64, 64);
        static final Tile COLS_16 = new Tile("_16", 128, 16);
        static final Tile ROWS_16 = new Tile("_16_rows", 16, 128);

        long count(Product p) {
            return (long) Math.ceilDiv(p.m(), rows) * Math.ceilDiv(p.n(), cols);
        }
    }

    private final CudaContext cuda;

    CudaGemmF32(CudaContext cuda) {
        this.cuda = cuda;
    }

    /** What the three products have in common. The rows of a, b and c have so many elements. */
    private record Product(String mode, DeviceBuffer a, int aRow, DeviceBuffer b, int bRow, int m, int n, int k, DeviceBuffer c, boolean accumulate, float scaling) {
        boolean aligned() {
            return aRow % 4 == 0 && bRow % 4 == 0 && a.address() % 16 == 0 && b.address() % 16 == 0;
        }
    }

    /** c[m, n] = a[m, k] b[n, k]^T (+ low rank) (+ c), rounded once. a, b: F32; c: F32 or BF16. */
    void nt(DeviceBuffer a, DeviceBuffer b, int m, int n, int k, DeviceBuffer c, boolean accumulate, Optional<CudaGemm.LowRank> lowRank) {
        run(new Product("nt", a, k, b, k, m, n, k, c, accumulate, 1), lowRank);
    }

    /** c[m, n] = a[m, k] b[k, n] (+ low rank) (+ c); types as in {@link #nt}. */
    void nn(DeviceBuffer a, DeviceBuffer b, int m, int n, int k, DeviceBuffer c, boolean accumulate, Optional<CudaGemm.LowRank> lowRank) {
        run(new Product("nn", a, k, b, n, m, n, k, c, accumulate, 1), lowRank);
    }

    /** c[m, n] += a[k, m]^T b[k, n]; all F32. In an order that depends on the shape alone. */
    void tn(DeviceBuffer a, DeviceBuffer b, int m, int n, int k, DeviceBuffer c) {
        tn(a, b, m, n, k, 1, c);
    }

    /** c[m, n] += scaling * a[k, m]^T b[k, n], as {@link #tn(DeviceBuffer, DeviceBuffer, int, int, int, DeviceBuffer)}. */
    void tn(DeviceBuffer a, DeviceBuffer b, int m, int n, int k, float scaling, DeviceBuffer c) {
        run(new Product("tn", a, m, b, n, m, n, k, c, true, scaling), Optional.empty());
    }

    private void run(Product p, Optional<CudaGemm.LowRank> lowRank) {
        if (Math.max(p.aRow(), p.bRow()) > LONGEST_ROW) {
            throw new IllegalArgumentException("a matrix with rows of " + Math.max(p.aRow(), p.bRow()) + " elements; a product in F32 on a GPU takes up to " + LONGEST_ROW);
        }
        Tile tile = tile(p);
        long blocks = tile.count(p);
        int part = Math.ceilDiv(Math.ceilDiv(p.k(), parts(p, blocks)), STEPS) * STEPS;
        int parts = Math.ceilDiv(p.k(), part);
        long elements = (long) p.m() * p.n();
        boolean bf16 = p.c().type() == DType.BF16;
        boolean wide = p.n() % 4 == 0 && p.c().address() % (4 * p.c().type().bytes()) == 0;
        long scratch = parts == 1 ? 0 : cuda.scratch().at("gemm parts", 4 * parts * elements);
        cuda.launch("pan_gemm_f32_" + p.mode() + tile.suffix() + (p.aligned() ? "" : "_scalar")).grid(blocks, parts).threads(THREADS)
                .arg(p.a()).arg(p.b()).arg(p.m()).arg(p.n()).arg(p.k()).arg(part).arg(p.c()).arg(bf16).arg(wide).arg(p.accumulate()).arg(p.scaling()).pointer(scratch)
                .arg(lowRank.map(CudaGemm.LowRank::s)).arg(lowRank.map(CudaGemm.LowRank::factor))
                .arg(lowRank.map(CudaGemm.LowRank::factorRow).orElse(0L)).arg(lowRank.map(CudaGemm.LowRank::factorCol).orElse(0L))
                .arg(lowRank.map(CudaGemm.LowRank::rank).orElse(0)).arg(lowRank.map(CudaGemm.LowRank::scaling).orElse(0f)).run();
        if (parts > 1) {
            join(cuda, scratch, parts, elements, p.scaling(), p.c(), p.accumulate());
        }
    }

    /** Narrow where the result is, large where that gives blocks enough. Unaligned operands: of few rows or small. */
    private static Tile tile(Product p) {
        if (p.m() <= Tile.ROWS_16.rows()) {
            return Tile.ROWS_16;
        } else if (!p.aligned()) {
            return Tile.SMALL;
        } else if (p.n() <= Tile.COLS_16.cols()) {
            return Tile.COLS_16;
        }
        long large = Tile.LARGE.count(p);
        return large * parts(p, large) >= FEW_BLOCKS ? Tile.LARGE : Tile.SMALL;
    }

    /**
     * In how many parts the reduced dimension is taken: one if there are blocks enough; else as many as the GPU has room for, as long as the sums of the
     * parts cost little beside the reading of a and b (1/16: 8 bytes for each of m n and part, to 4 (m + n) k) or beside the arithmetic (512 steps).
     */
    private static int parts(Product p, long blocks) {
        long byBytes = (long) p.k() * (p.m() + (long) p.n()) / (32L * p.m() * p.n());
        long most = Math.min(Math.max(byBytes, p.k() / 512), p.k() / LEAST_PART);
        return (int) Math.max(1, Math.min(ENOUGH_BLOCKS / blocks, most));
    }

    /** c (+)= scaling * the sum of {@code parts} runs of {@code elements} F32, in their order. */
    static void join(CudaContext cuda, long address, int parts, long elements, float scaling, DeviceBuffer c, boolean accumulate) {
        cuda.launch("pan_gemm_f32_join").grid(Math.ceilDiv(elements, 4L * THREADS)).threads(THREADS).pointer(address).arg(parts).arg(elements).arg(scaling)
                .arg(c).arg(c.type() == DType.BF16).arg(accumulate).run();
    }
}
