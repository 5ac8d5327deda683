package dev.panacea.kernels;

import dev.panacea.kernels.cuda.CudaGraph;
import java.util.Optional;
import java.util.concurrent.locks.Lock;

/**
 * Calls as a CUDA graph. The first time they are made one by one, which loads their kernels and takes their scratch memory, neither of which can
 * be recorded; the second time they are recorded; from then on the recording is run. When scratch memory has moved in the meantime, which other,
 * larger calls may cause, it starts anew.
 */
final class CudaRepeatedCalls implements RepeatedCalls {
    private static final long NEVER = -1;

    private final CudaContext cuda;
    private final Lock lock;
    private final Runnable calls;
    private Optional<CudaGraph> graph = Optional.empty();
    private long scratchMoves = NEVER;

    /** @param lock held while calls are made */
    CudaRepeatedCalls(CudaContext cuda, Lock lock, Runnable calls) {
        this.cuda = cuda;
        this.lock = lock;
        this.calls = calls;
    }

    @Override
    public void run() {
        lock.lock();
        try {
            if (cuda.isClosed()) {
                throw new IllegalStateException("these kernels have been closed");
            }
            if (scratchMoves != cuda.scratch().moves()) {
                forget();
                calls.run();
                scratchMoves = cuda.scratch().moves();
                return;
            }
            if (graph.isEmpty()) {
                graph = Optional.of(CudaGraph.record(cuda.device(), calls));
            }
            graph.get().launch();
        } finally {
            lock.unlock();
        }
    }

    private void forget() {
        if (!cuda.isClosed()) {
            graph.ifPresent(CudaGraph::close);
        }
        graph = Optional.empty();
        scratchMoves = NEVER;
    }

    @Override
    public void close() {
        lock.lock();
        try {
            forget();
        } finally {
            lock.unlock();
        }
    }
}
