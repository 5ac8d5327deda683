package dev.panacea.kernels;

import dev.panacea.kernels.cuda.Launch;

/** Attention for every type and dimension of heads, in single precision without tensor cores: attention_generic.cu. The one for F32, and for heads that {@link CudaAttention} has no kernels for. */
final class CudaGenericAttention {
    private static final int THREADS = 128;
    /** Query rows of a tile in the kernels for few of them. */
    private static final int FEW_ROWS = 8;
    /** Their keys are split so that there are about this many blocks, into parts of this many keys at least. */
    private static final long FULL_GRID = 512;
    private static final int MOST_SPLITS = 64;
    private static final int LEAST_SPLIT = 128;
    private static final int LARGEST_HEAD = 256;
    /** Floats that follow each row of a tile in shared memory. */
    private static final int PAD = 4;

    private final CudaContext cuda;

    CudaGenericAttention(CudaContext cuda) {
        this.cuda = cuda;
    }

    void forward(DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer sequences, int count, AttentionShape shape, DeviceBuffer out, DeviceBuffer lse) {
        Rows rows = Rows.of(shape, q, out, lse, k, v);
        int d = paddedHead(shape);
        long tileRows = rows.queries * group(shape);
        boolean few = tileRows <= (long) FEW_ROWS * count;
        int tile = few ? FEW_ROWS : d == 256 ? 24 : 64;
        int keys = few || d > 64 ? 32 : 64;
        long tiles = tileRows / tile + count;
        int splits = few ? (int) Math.max(1, Math.min(Math.min(MOST_SPLITS, FULL_GRID / (tiles * shape.kvHeads())), Math.ceilDiv(rows.keys, LEAST_SPLIT))) : 1;
        Launch launch = cuda.launch("pan_attention_generic_" + CudaContext.suffix(q) + "_" + d + (few ? "_few" : "")).threads(THREADS)
                .grid(tiles, shape.kvHeads(), splits).shared(Float.BYTES * ((tile + 2 * keys) * (d + PAD) + tile * (keys + PAD)));
        launch.arg(q).arg(k).arg(v).arg(sequences);
        shape(launch, rows, count, shape, q, k, v, out).arg(out).arg(lse).pointer(cuda.report());
        if (!few) {
            launch.run();
            return;
        }
        long parts = rows.queries * shape.heads() * splits;
        // Without splits nothing is written there.
        long partial = splits == 1 ? 0 : cuda.scratch().at("parts of attention", parts * shape.headDim() * Float.BYTES);
        long statistics = splits == 1 ? 0 : cuda.scratch().at("statistics of the parts of attention", parts * 8);
        launch.arg(splits).pointer(partial).pointer(statistics).run();
        if (splits > 1 && rows.queries > 0) {
            cuda.launch("pan_attention_generic_merge_" + CudaContext.suffix(q)).threads(THREADS).grid(Math.ceilDiv(rows.queries * shape.heads(), THREADS / 32)).arg(sequences)
                    .arg(rows.queries).arg(rows.keys).arg(count).arg(shape.heads()).arg(shape.kvHeads()).arg(shape.headDim()).arg(out).arg(lse)
                    .arg(splits).pointer(partial).pointer(statistics).run();
        }
    }

    void backward(DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer out, DeviceBuffer lse, DeviceBuffer dout, DeviceBuffer sequences, int count, AttentionShape shape,
            DeviceBuffer dq, DeviceBuffer dk, DeviceBuffer dv) {
        Rows written = Rows.of(shape, dq, dout, lse, dk, dv);
        Rows rows = Rows.of(shape, q, out, lse, k, v).least(written);
        int d = paddedHead(shape);
        String name = CudaContext.suffix(q) + "_" + d;
        int tile = d == 256 ? 24 : 32;
        int keys = d == 64 ? 64 : d == 128 ? 32 : 16;
        long rowSums = cuda.scratch().at("attentionRowSums", rows.queries * shape.heads() * Float.BYTES);
        int tiles = 2 * (tile + keys) * (d + PAD);

        Launch queries = cuda.launch("pan_attention_generic_dq_" + name).threads(THREADS).grid(rows.queries * group(shape) / tile + count, shape.kvHeads())
                .shared(Float.BYTES * (tiles + tile * (keys + PAD)));
        queries.arg(q).arg(k).arg(v).arg(out).arg(lse).arg(dout).arg(sequences);
        shape(queries, rows, count, shape, q, k, v, out, dout, dq).arg(dq).pointer(rowSums).pointer(cuda.report()).run();

        Launch perKeys = cuda.launch("pan_attention_generic_dkv_" + name).threads(THREADS).grid(rows.keys / keys + count, shape.kvHeads())
                .shared(Float.BYTES * (tiles + 2 * tile * (keys + PAD)));
        perKeys.arg(q).arg(k).arg(v).arg(lse).arg(dout).pointer(rowSums).arg(sequences);
        shape(perKeys, rows, count, shape, q, k, v, dout, dk, dv).arg(dk).arg(dv).run();
    }

    /** The arguments ATTENTION_SHAPE of the kernels; four elements at once are read and written of {@code buffers} where they allow it. */
    private static Launch shape(Launch launch, Rows rows, int count, AttentionShape shape, DeviceBuffer... buffers) {
        boolean whole = shape.headDim() % 4 == 0;
        for (DeviceBuffer b : buffers) {
            whole &= b.address() % (4 * b.type().bytes()) == 0;
        }
        return launch.arg(rows.queries).arg(rows.keys).arg(count).arg(shape.heads()).arg(shape.kvHeads()).arg(shape.headDim()).arg(shape.scale()).arg(whole);
    }

    private static int group(AttentionShape shape) {
        return shape.heads() / shape.kvHeads();
    }

    /** The columns of a tile. */
    private static int paddedHead(AttentionShape shape) {
        if (shape.headDim() > LARGEST_HEAD) {
            throw new IllegalArgumentException("heads of " + shape.headDim() + " elements; the CUDA kernels take up to " + LARGEST_HEAD);
        }
        return shape.headDim() <= 64 ? 64 : shape.headDim() <= 128 ? 128 : 256;
    }

    /** Query and key rows that all buffers have: what the table of sequences, which is on the device, may name. */
    private record Rows(long queries, long keys) {
        static Rows of(AttentionShape shape, DeviceBuffer q, DeviceBuffer out, DeviceBuffer lse, DeviceBuffer k, DeviceBuffer v) {
            long queryWidth = (long) shape.heads() * shape.headDim();
            long keyWidth = (long) shape.kvHeads() * shape.headDim();
            return new Rows(Math.min(Math.min(q.length(), out.length()) / queryWidth, lse.length() / shape.heads()), Math.min(k.length(), v.length()) / keyWidth);
        }

        Rows least(Rows other) {
            return new Rows(Math.min(queries, other.queries), Math.min(keys, other.keys));
        }
    }
}
