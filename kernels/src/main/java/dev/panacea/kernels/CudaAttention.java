package dev.panacea.kernels;

/**
 * Flash attention on a GPU: attention.cu, attention_backward.cu, attention_few.cu for BF16 and heads of 64 or 128, {@link CudaGenericAttention}
 * for everything else.
 *
 * <p>The table of sequences is in device memory, so grids are chosen from what is known here: the number of sequences, and the rows that the
 * buffers have room for.
 */
final class CudaAttention {
    private static final int THREADS = 128;
    private static final int WARPS = 4;
    /** Keys of a tile of the forward kernel. */
    private static final int TILE_KEYS = 64;
    /** Bytes of the forward kernel's {@code Parked}, and more of them for each 16 rows of a warp. */
    private static final int PARKED = 96;
    private static final int PARKED_PER_TILE = 4 * THREADS * Float.BYTES;
    /** Query rows, times the heads of a group, of a block of the kernel for few rows; it takes calls of up to twice as many per sequence. */
    private static final int FEW = 16;
    /** Its keys are split so that there are about this many blocks, into parts of this many keys at least. */
    private static final long FULL_GRID = 512;
    private static final int MOST_SPLITS = 64;
    private static final int LEAST_SPLIT = 256;
    /** Rows that pass in a tile of the backward kernels, and the bytes beside these tiles: the statistics and limits of two, and what is parked. */
    private static final int PASSING = 64;
    private static final int PARKED_BACKWARD = 2 * PASSING * 12 + 88;
    /** Rows and heads of a block of statistics. */
    private static final int STATISTICS = 32;
    private static final int STATISTICS_THREADS = 256;

    private final CudaContext cuda;
    private final CudaGenericAttention generic;
    private final int multiprocessors;

    CudaAttention(CudaContext cuda) {
        this.cuda = cuda;
        generic = new CudaGenericAttention(cuda);
        multiprocessors = cuda.device().multiprocessors();
    }

    void forward(DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer sequences, int count, AttentionShape shape, DeviceBuffer out, DeviceBuffer lse) {
        if (!tensorCores(shape, q, k, v, out)) {
            generic.forward(q, k, v, sequences, count, shape, out, lse);
            return;
        }
        int queryRows = queryRows(shape, lse, q, out);
        int keyRows = keyRows(shape, k, v);
        long packedRows = (long) queryRows * group(shape);
        if (packedRows <= 2L * FEW * count) {
            fewRows(q, k, v, sequences, count, shape, queryRows, keyRows, out, lse);
            return;
        }
        // Twice the blocks where there are too few to fill the GPU twice over.
        int warpTiles = blocks(packedRows, 128, count) * shape.kvHeads() < 2L * multiprocessors ? 1 : 2;
        int rows = 16 * WARPS * warpTiles;
        int tiles = (rows + 2 * TILE_KEYS) * shape.headDim() * DType.BF16.bytes();
        cuda.launch("pan_attention_forward_bf16_" + shape.headDim() + (warpTiles == 1 ? "_narrow" : "_wide")).grid(blocks(packedRows, rows, count) * shape.kvHeads()).threads(THREADS)
                .shared(tiles + PARKED + warpTiles * PARKED_PER_TILE)
                .arg(q).arg(k).arg(v).arg(sequences).arg(count).arg(queryRows).arg(keyRows).arg(shape.kvHeads()).arg(group(shape)).arg(shape.scale()).arg(out).arg(lse).pointer(cuda.report()).run();
    }

    private void fewRows(DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer sequences, int count, AttentionShape shape, int queryRows, int keyRows, DeviceBuffer out, DeviceBuffer lse) {
        long blocks = blocks((long) queryRows * group(shape), FEW, count) * shape.kvHeads();
        int splits = (int) Math.max(1, Math.min(Math.min(MOST_SPLITS, FULL_GRID / blocks), Math.ceilDiv(keyRows, LEAST_SPLIT)));
        long parts = (long) queryRows * shape.heads() * splits;
        // Without splits nothing is written there.
        long partial = splits == 1 ? 0 : cuda.scratch().at("parts of attention", parts * shape.headDim() * Float.BYTES);
        long statistics = splits == 1 ? 0 : cuda.scratch().at("statistics of the parts of attention", parts * 8);
        int shared = (1 + 4 * WARPS) * FEW * shape.headDim() * DType.BF16.bytes() + 2 * WARPS * FEW * Float.BYTES;
        cuda.launch("pan_attention_few_bf16_" + shape.headDim()).grid(blocks, splits).threads(THREADS).shared(shared)
                .arg(q).arg(k).arg(v).arg(sequences).arg(count).arg(queryRows).arg(keyRows).arg(shape.kvHeads()).arg(group(shape)).arg(shape.scale())
                .arg(splits).pointer(partial).pointer(statistics).arg(out).arg(lse).pointer(cuda.report()).run();
        if (splits > 1 && queryRows > 0) {
            cuda.launch("pan_attention_merge_bf16_" + shape.headDim()).grid(Math.ceilDiv((long) queryRows * shape.heads(), WARPS)).threads(THREADS)
                    .pointer(partial).pointer(statistics).arg(sequences).arg(count).arg(queryRows).arg(keyRows).arg(shape.heads()).arg(group(shape)).arg(shape.scale())
                    .arg(splits).arg(out).arg(lse).run();
        }
    }

    void backward(DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer out, DeviceBuffer lse, DeviceBuffer dout, DeviceBuffer sequences, int count, AttentionShape shape,
            DeviceBuffer dq, DeviceBuffer dk, DeviceBuffer dv) {
        if (!tensorCores(shape, q, k, v, out, dout, dq, dk, dv)) {
            generic.backward(q, k, v, out, lse, dout, sequences, count, shape, dq, dk, dv);
            return;
        }
        int queryRows = queryRows(shape, lse, q, out, dout, dq);
        int keyRows = keyRows(shape, k, v, dk, dv);
        int group = group(shape);
        // Pairs of [heads, stride], so that a head's rows begin with a sector.
        int stride = Math.ceilDiv(Math.max(1, queryRows), 4) * 4;
        long statistics = cuda.scratch().at("statistics of attention", 8L * shape.heads() * stride);
        if (queryRows > 0) {
            cuda.launch("pan_attention_statistics_bf16_" + shape.headDim()).grid(Math.ceilDiv(queryRows, STATISTICS), Math.ceilDiv(shape.heads(), STATISTICS)).threads(STATISTICS_THREADS)
                    .arg(out).arg(dout).arg(lse).arg(queryRows).arg(shape.heads()).arg(stride).pointer(statistics).run();
        }
        int own = shape.headDim() == 64 ? 128 : 64;
        int tiles = 4 * PASSING * shape.headDim() * DType.BF16.bytes();
        cuda.launch("pan_attention_backward_kv_bf16_" + shape.headDim()).grid(blocks(keyRows, own, count) * shape.kvHeads()).threads(THREADS).shared(tiles + PARKED_BACKWARD)
                .arg(q).arg(k).arg(v).arg(dout).pointer(statistics).arg(stride).arg(sequences).arg(count).arg(queryRows).arg(keyRows).arg(shape.kvHeads()).arg(group).arg(shape.scale())
                .arg(dk).arg(dv).pointer(cuda.report()).run();
        cuda.launch("pan_attention_backward_q_bf16_" + shape.headDim()).grid(blocks((long) queryRows * group, own, count) * shape.kvHeads()).threads(THREADS).shared(tiles)
                .arg(q).arg(k).arg(v).arg(dout).pointer(statistics).arg(stride).arg(sequences).arg(count).arg(queryRows).arg(keyRows).arg(shape.kvHeads()).arg(group).arg(shape.scale())
                .arg(dq).pointer(cuda.report()).run();
    }

    // ---- what the host knows -----------------------------------------------------------------------------------------

    /** Whether the kernels of this class take these: their scores are compared before they are scaled, and rows are copied 16 bytes at a time. */
    private static boolean tensorCores(AttentionShape shape, DeviceBuffer... activations) {
        boolean is = (shape.headDim() == 64 || shape.headDim() == 128) && shape.scale() > 0 && Float.isFinite(shape.scale());
        for (DeviceBuffer b : activations) {
            is &= b.type() == DType.BF16 && b.address() % 16 == 0;
        }
        return is;
    }

    private static int group(AttentionShape shape) {
        return shape.heads() / shape.kvHeads();
    }

    /** The query rows that all of these have room for. */
    private static int queryRows(AttentionShape shape, DeviceBuffer lse, DeviceBuffer... activations) {
        return rows(lse.length() / shape.heads(), (long) shape.heads() * shape.headDim(), activations);
    }

    private static int keyRows(AttentionShape shape, DeviceBuffer... activations) {
        return rows(Integer.MAX_VALUE, (long) shape.kvHeads() * shape.headDim(), activations);
    }

    private static int rows(long most, long width, DeviceBuffer... activations) {
        long rows = Math.min(most, Integer.MAX_VALUE);
        for (DeviceBuffer b : activations) {
            rows = Math.min(rows, b.length() / width);
        }
        return (int) rows;
    }

    /** At least as many blocks of {@code size} rows as {@code count} sequences have that share {@code rows} rows: all but one of a sequence's blocks are full. At least one, which looks at the table. */
    private static long blocks(long rows, int size, int count) {
        return Math.max(1, Math.min((rows + (size - 1L) * count) / size, rows));
    }
}
