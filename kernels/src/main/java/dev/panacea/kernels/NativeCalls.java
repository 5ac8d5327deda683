package dev.panacea.kernels;

import java.util.concurrent.locks.Lock;
import java.util.concurrent.locks.ReentrantReadWriteLock;

/**
 * Native calls of all kernels in this process on one side, and the freeing of memory that they may read on the other: never at the same time. The memory of a
 * call's own arguments is kept open by the foreign-function interface, but the struct of a weight holds mere addresses.
 */
final class NativeCalls {
    private static final ReentrantReadWriteLock LOCK = new ReentrantReadWriteLock();

    private NativeCalls() {}

    /** Held during a native call. */
    static Lock running() {
        return LOCK.readLock();
    }

    /** Waits for the native calls that are running, and has new ones wait. */
    static void whileNoneRuns(Runnable free) {
        LOCK.writeLock().lock();
        try {
            free.run();
        } finally {
            LOCK.writeLock().unlock();
        }
    }
}
