package dev.panacea.kernels;

/** What choosing a token takes of the logits on a GPU, so that a step downloads a few numbers for a sequence and not its whole vocabulary: sampling.cu. */
final class CudaSampling {
    /** The most that {@link #topK} gives. */
    static final int MAX_K = 1024;
    private static final int THREADS = 256;
    private static final int SORT_THREADS = 1024;
    /** Elements that a block sorts, and elements of a row of which a block finds the largest. */
    private static final int TILE = 4096;
    private static final int PART = 2048;

    private final CudaContext cuda;

    CudaSampling(CudaContext cuda) {
        this.cuda = cuda;
    }

    /**
     * ids[i] = the index of the largest of logits[i,:]; of equal ones the lowest. What is not a number is the least.
     *
     * @param logits F32 [rows, vocab]
     * @param ids I32 [rows]
     */
    void argMax(DeviceBuffer logits, int rows, int vocab, DeviceBuffer ids) {
        Checks.positive("vocab", vocab);
        Checks.typed("logits", logits, DType.F32, Checks.elements(rows, vocab));
        Checks.typed("ids", ids, DType.I32, rows);
        if (rows == 0) {
            return;
        }
        int parts = Math.ceilDiv(vocab, PART);
        long keys = cuda.scratch().at("argMax", (long) rows * parts * Long.BYTES);
        cuda.launch("pan_arg_max_parts").grid(parts, rows).threads(THREADS).arg(logits).arg(vocab).arg(PART).pointer(keys).run();
        cuda.launch("pan_arg_max").grid(rows).threads(32).pointer(keys).arg(parts).arg(ids).run();
    }

    /**
     * The {@code k} largest of each row, the largest first, of equal ones the lower id first: ids[i,j], and values[i,j] = logits[i, ids[i,j]]. What is not a
     * number is the least.
     *
     * @param logits F32 [rows, vocab]
     * @param k at most {@link #MAX_K} and at most {@code vocab}
     * @param ids I32 [rows, k]
     * @param values F32 [rows, k]
     */
    void topK(DeviceBuffer logits, int rows, int vocab, int k, DeviceBuffer ids, DeviceBuffer values) {
        Checks.positive("vocab", vocab);
        Checks.positive("k", k);
        if (k > Math.min(MAX_K, vocab)) {
            throw new IllegalArgumentException("k is " + k + ", it must be at most " + Math.min(MAX_K, vocab));
        }
        Checks.typed("logits", logits, DType.F32, Checks.elements(rows, vocab));
        Checks.typed("ids", ids, DType.I32, Checks.elements(rows, k));
        Checks.typed("values", values, DType.F32, Checks.elements(rows, k));
        if (rows == 0) {
            return;
        }
        int parts = Math.ceilDiv(vocab, TILE);
        long keys = cuda.scratch().at("topK", (long) rows * parts * k * Long.BYTES);
        long others = cuda.scratch().at("topK, second", (long) rows * Math.ceilDiv((long) parts * k, TILE) * k * Long.BYTES);
        cuda.launch("pan_top_k_logits").grid(parts, rows).threads(SORT_THREADS).arg(logits).arg(vocab).arg(k).pointer(keys).run();
        while (parts > 1) {
            int count = Math.multiplyExact(parts, k);
            parts = Math.ceilDiv(count, TILE);
            cuda.launch("pan_top_k_keys").grid(parts, rows).threads(SORT_THREADS).pointer(keys).arg(count).arg(k).pointer(others).run();
            long next = others;
            others = keys;
            keys = next;
        }
        cuda.launch("pan_top_k_results").grid(rows).threads(THREADS).pointer(keys).arg(logits).arg(vocab).arg(k).arg(ids).arg(values).run();
    }
}
