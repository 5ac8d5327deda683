package dev.panacea.kernels;

import dev.panacea.kernels.cuda.Launch;

/** Cross-entropy on a GPU: loss.cu. */
final class CudaLoss {
    private static final int WARP = 32;
    private static final int MAX_THREADS = 1024;
    /** Elements of a row for a thread, about, so that short rows have small blocks. */
    private static final int ELEMENTS = 16;

    /** Elements that the kernel keeps together in shared memory. */
    private static final int GROUP = 4;

    private final CudaContext cuda;

    CudaLoss(CudaContext cuda) {
        this.cuda = cuda;
    }

    void crossEntropy(DeviceBuffer logits, DeviceBuffer targets, int rows, int vocab, DeviceBuffer losses) {
        cuda.launch("pan_cross_entropy").grid(rows).threads(threads(vocab)).arg(logits).arg(targets).arg(vocab).arg(losses).pointer(cuda.report()).run();
    }

    void crossEntropyWithGrad(DeviceBuffer logits, DeviceBuffer targets, int rows, int vocab, float gradScale, DeviceBuffer losses, DeviceBuffer gradient) {
        int threads = threads(vocab);
        int kept = vocab / GROUP;
        Launch launch = cuda.launch("pan_cross_entropy_grad_" + CudaContext.suffix(gradient));
        int most = launch.sharedRoom() / (GROUP * Float.BYTES);
        if (kept > most) {
            kept = most / threads * threads;
        }
        launch.grid(rows).threads(threads).shared(kept * GROUP * Float.BYTES)
                .arg(logits).arg(targets).arg(vocab).arg(gradScale).arg(losses).arg(gradient).arg(kept).pointer(cuda.report()).run();
    }

    private static int threads(int vocab) {
        return Math.clamp(Math.ceilDiv(Math.ceilDiv(vocab, ELEMENTS), WARP) * WARP, WARP, MAX_THREADS);
    }
}
