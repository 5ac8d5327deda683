package dev.panacea.kernels;

/** What choosing a token takes of the logits on a GPU: sampling.cu. */
final class CudaSampling {
    private static final int THREADS = 256;
    private static final int SORT_THREADS = 1024;
    /** Elements that a block sorts, and elements of a row of which a block finds the largest. */
    private static final int TILE = 4096;
    private static final int PART = 2048;

    private final CudaContext cuda;

    CudaSampling(CudaContext cuda) {
        this.cuda = cuda;
    }

    void argMax(DeviceBuffer logits, int rows, int vocab, DeviceBuffer ids) {
        int parts = Math.ceilDiv(vocab, PART);
        long keys = cuda.scratch().at("argMax", (long) rows * parts * Long.BYTES);
        cuda.launch("pan_arg_max_parts").grid(parts, rows).threads(THREADS).arg(logits).arg(vocab).arg(PART).pointer(keys).run();
        cuda.launch("pan_arg_max").grid(rows).threads(32).pointer(keys).arg(parts).arg(ids).run();
    }

    void topK(DeviceBuffer logits, int rows, int vocab, int k, double temperature, DeviceBuffer ids, DeviceBuffer values, DeviceBuffer sums) {
        float inverse = (float) (1 / temperature);
        int tiles = Math.ceilDiv(vocab, TILE);
        int parts = tiles;
        long keys = cuda.scratch().at("topK", (long) rows * parts * k * Long.BYTES);
        long others = cuda.scratch().at("topK, second", (long) rows * Math.ceilDiv((long) parts * k, TILE) * k * Long.BYTES);
        long tileSums = cuda.scratch().at("topK, sums", (long) rows * tiles * 2 * Float.BYTES);
        cuda.launch("pan_top_k_logits").grid(tiles, rows).threads(SORT_THREADS).arg(logits).arg(vocab).arg(k).arg(inverse).pointer(keys).pointer(tileSums).run();
        while (parts > 1) {
            int count = Math.multiplyExact(parts, k);
            parts = Math.ceilDiv(count, TILE);
            cuda.launch("pan_top_k_keys").grid(parts, rows).threads(SORT_THREADS).pointer(keys).arg(count).arg(k).pointer(others).run();
            long next = others;
            others = keys;
            keys = next;
        }
        cuda.launch("pan_top_k_results").grid(rows).threads(THREADS).pointer(keys).pointer(tileSums).arg(tiles).arg(logits).arg(vocab).arg(k).arg(inverse)
                .arg(ids).arg(values).arg(sums).run();
    }
}
