package dev.panacea.kernels;

import java.lang.foreign.MemorySegment;

/** AdamW and sums of squares on a GPU: adamw.cu, sums.cu. */
final class CudaOptimizer {
    private static final int THREADS = 256;
    private static final int PER_THREAD = 4;
    private static final int WARPS = THREADS / 32;
    /** Blocks of 256 parameters for a warp, at least, before there are more thread blocks: these read the levels each. */
    private static final int BLOCKS_PER_WARP = 4;

    /** Elements for a block of a sum, at least, and blocks, at most. */
    private static final long SUM_ELEMENTS = 16L * PER_THREAD * THREADS;
    private static final long SUM_BLOCKS = 1024;

    private final CudaContext cuda;

    CudaOptimizer(CudaContext cuda) {
        this.cuda = cuda;
    }

    void adamW(DeviceBuffer p, DeviceBuffer g, DeviceBuffer m, DeviceBuffer v, long n, AdamWStep s) {
        float correction1 = (float) (1 - power(s.beta1(), s.step()));
        float correction2 = (float) Math.sqrt(1 - power(s.beta2(), s.step()));
        cuda.launch("pan_adamw").grid(Math.ceilDiv(n, (long) PER_THREAD * THREADS)).threads(THREADS).arg(p).arg(g).arg(m).arg(v).arg(n).arg(s.gradScale())
                .arg(s.beta1()).arg((float) (1.0 - s.beta1())).arg(s.beta2()).arg((float) (1.0 - s.beta2()))
                .arg(s.learningRate()).arg(correction1).arg(correction2).arg(s.eps()).arg(keep(s)).run();
    }

    void adamW8bit(DeviceBuffer p, DeviceBuffer g, Moments8bit moments, long n, AdamWStep s) {
        double correction1 = 1 - power(s.beta1(), s.step());
        double correction2 = Math.sqrt(1 - power(s.beta2(), s.step()));
        long grid = Math.ceilDiv(n, (long) Moments8bit.BLOCK * WARPS * BLOCKS_PER_WARP);
        cuda.launch("pan_adamw8bit").grid(grid).threads(THREADS).arg(p).arg(g)
                .arg(moments.mCodes()).arg(moments.vCodes()).arg(moments.mAbsmax()).arg(moments.vAbsmax()).arg(moments.mLevels()).arg(moments.vLevels()).arg(n).arg(s.gradScale())
                .arg(s.beta1()).arg((float) (1.0 - s.beta1())).arg(s.beta2()).arg((float) (1.0 - s.beta2()))
                .arg((float) ((double) s.learningRate() * correction2 / correction1)).arg((float) (correction2 * s.eps())).arg(keep(s)).run();
    }

    private static float keep(AdamWStep s) {
        return (float) (1 - (double) s.learningRate() * s.weightDecay());
    }

    /** By squaring, as the other backends have it: the factors must be the same to the bit. */
    private static double power(double base, long exponent) {
        double result = 1;
        double factor = base;
        for (long e = exponent; e > 0; e >>= 1) {
            if ((e & 1) == 1) {
                result *= factor;
            }
            factor *= factor;
        }
        return result;
    }

    double sumOfSquares(DeviceBuffer x, long n) {
        long pack = (long) PER_THREAD * THREADS;
        long perBlock = Math.max(SUM_ELEMENTS, Math.ceilDiv(Math.ceilDiv(n, SUM_BLOCKS), pack) * pack);
        int blocks = (int) Math.ceilDiv(n, perBlock);
        long partial = cuda.scratch().at("sumOfSquares", (1L + SUM_BLOCKS) * Double.BYTES);
        long sum = partial + SUM_BLOCKS * Double.BYTES;
        cuda.launch("pan_sum_of_squares_" + CudaContext.suffix(x)).grid(blocks).threads(THREADS).arg(x).arg(n).arg(perBlock).pointer(partial).run();
        cuda.launch("pan_sum_partials").grid(1).threads(THREADS).pointer(partial).arg(blocks).pointer(sum).run();
        double[] result = new double[1];
        cuda.transfers().download(sum, MemorySegment.ofArray(result), Double.BYTES);
        return result[0];
    }
}
