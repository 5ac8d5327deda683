package dev.panacea.kernels;

import java.util.Optional;

/**
 * The low-rank products of LoRA on a GPU: lora.cu for BF16 activations, {@link CudaGemmF32} for F32. The terms of rank r inside the large products
 * are {@link CudaGemm.LowRank}.
 */
final class CudaLora {
    private static final int THREADS = 256;
    private static final int WARPS = THREADS / 32;
    /** Rows of x, or columns of it, that a warp takes: of {@code pan_lora_rows}, {@code pan_lora_columns_16} and {@code _64}. */
    private static final int ROWS = 32;
    private static final int COLUMNS_16 = 64;
    private static final int COLUMNS_64 = 32;
    /** Blocks that keep a large GPU busy: one, two for each multiprocessor. Constants, since results must not depend on the GPU. */
    private static final int FEW_BLOCKS = 108;
    private static final int ENOUGH_BLOCKS = 216;

    private final CudaContext cuda;
    private final CudaGemmF32 gemm;

    CudaLora(CudaContext cuda) {
        this.cuda = cuda;
        gemm = new CudaGemmF32(cuda);
    }

    /** s[m, rank] = x[m, k] a[rank, k]^T; x F32 or BF16, the others F32. */
    void down(DeviceBuffer x, DeviceBuffer a, int m, int k, int rank, DeviceBuffer s) {
        if (x.type() == DType.F32) {
            gemm.nt(x, a, m, rank, k, s, false, Optional.empty());
        } else {
            rows("down", x, a, k % 4 == 0 && a.address() % 16 == 0, m, k, rank, s);
        }
    }

    /** t[m, rank] = dy[m, n] b[n, rank]; dy F32 or BF16, the others F32. */
    void up(DeviceBuffer dy, DeviceBuffer b, int m, int n, int rank, DeviceBuffer t) {
        if (dy.type() == DType.F32) {
            gemm.nn(dy, b, m, rank, n, t, false, Optional.empty());
        } else {
            rows("up", dy, b, n % 4 == 0, m, n, rank, t);
        }
    }

    /** da[rank, k] += scaling * t[m, rank]^T x[m, k], in an order that depends on the shape alone. */
    void gradA(DeviceBuffer t, DeviceBuffer x, int m, int k, int rank, float scaling, DeviceBuffer da) {
        if (x.type() == DType.F32) {
            gemm.tn(t, x, rank, k, m, scaling, da);
        } else {
            columns(x, t, m, k, rank, scaling, false, da);
        }
    }

    /** db[n, rank] += scaling * dy[m, n]^T s[m, rank], in an order that depends on the shape alone. */
    void gradB(DeviceBuffer dy, DeviceBuffer s, int m, int n, int rank, float scaling, DeviceBuffer db) {
        if (dy.type() == DType.F32) {
            gemm.tn(dy, s, n, rank, m, scaling, db);
        } else {
            columns(dy, s, m, n, rank, scaling, true, db);
        }
    }

    private void rows(String operation, DeviceBuffer x, DeviceBuffer factor, boolean aligned, int m, int k, int rank, DeviceBuffer out) {
        Shape shape = Shape.of(Math.ceilDiv(m, ROWS), k, rank);
        long elements = (long) m * rank;
        long to = shape.parts() == 1 ? out.addressOn(cuda.device()) : cuda.scratch().at("lora parts", 4 * shape.parts() * elements);
        boolean wide = aligned && x.address() % 8 == 0;
        cuda.launch("pan_lora_" + operation + shape.suffix(wide)).grid(shape.blocks(), shape.parts(), shape.groups()).threads(THREADS)
                .arg(x).arg(factor).arg(m).arg(k).arg(rank).arg(shape.across()).pointer(to).run();
        if (shape.parts() > 1) {
            CudaGemmF32.join(cuda, to, shape.parts(), elements, 1, out, false);
        }
    }

    private void columns(DeviceBuffer x, DeviceBuffer factor, int m, int cols, int rank, float scaling, boolean byColumn, DeviceBuffer out) {
        int own = rank <= 16 ? COLUMNS_16 : COLUMNS_64;
        Shape shape = Shape.of(Math.ceilDiv(cols, own), m, rank);
        long elements = (long) cols * rank;
        long parts = shape.parts() == 1 ? 0 : cuda.scratch().at("lora parts", 4 * shape.parts() * elements);
        int neighbours = own / 8; // what a lane loads at once
        boolean wide = cols % neighbours == 0 && x.address() % (2 * neighbours) == 0;
        cuda.launch("pan_lora_columns" + shape.suffix(wide)).grid(shape.blocks(), shape.parts(), shape.groups()).threads(THREADS)
                .arg(x).arg(factor).arg(m).arg(cols).arg(rank).arg(shape.across()).arg(scaling).arg(byColumn).arg(out).pointer(parts).run();
        if (shape.parts() > 1) {
            CudaGemmF32.join(cuda, parts, shape.parts(), elements, scaling, out, true);
        }
    }

    /**
     * How the work is divided.
     *
     * @param across warps of a block that have different rows (or columns); the others of its 8 have other parts of the reduced dimension
     * @param blocks in the direction of the rows
     * @param parts of the reduced dimension, in blocks of their own
     * @param groups of ranks
     */
    private record Shape(int across, int blocks, int parts, int groups, boolean few) {
        /** {@code strips}: what one warp takes each; {@code reduced}: the length of the sums. */
        static Shape of(int strips, int reduced, int rank) {
            int across = Math.clamp(Integer.highestOneBit(Math.max(1, strips / FEW_BLOCKS)), 1, WARPS);
            int blocks = Math.ceilDiv(strips, across);
            int groups = Math.ceilDiv(rank, 64);
            // Parts cost 8 bytes for each of their results, reading x 2 for each of its elements: no more than 1/16 of that.
            int parts = Math.clamp(reduced / (64L * rank), 1, Math.ceilDiv(ENOUGH_BLOCKS, blocks * groups));
            return new Shape(across, blocks, parts, groups, rank <= 16);
        }

        String suffix(boolean wide) {
            return (few ? "_16" : "_64") + (wide ? "" : "_scalar");
        }
    }
}
