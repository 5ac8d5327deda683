package dev.panacea.examples;

import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Supplier;

/**
 * What happens on Ctrl-C: files that are being written are finished, and the person reads what there is and what there is not. Closing it
 * ends the watch.
 */
final class Interruption implements AutoCloseable {
    private final ReentrantLock writing = new ReentrantLock();
    private final Thread hook;

    /**
     * @param farewell asked for when the program is stopped
     * @param tidying done then, when nothing is being written any more
     */
    Interruption(Console console, Supplier<String> farewell, Runnable tidying) {
        hook = new Thread(() -> {
            try {
                // A write takes moments; a disk that hangs must not keep the program for ever.
                if (writing.tryLock(20, TimeUnit.SECONDS)) {
                    tidying.run();
                    console.endLine();
                    console.line("Stopped. " + farewell.get());
                }
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            } catch (PipeOutput.Closed e) {
                // Nobody listens.
                return;
            }
        }, "farewell");
        Runtime.getRuntime().addShutdownHook(hook);
    }

    /** Writes files that are to be there whole even if the program is stopped meanwhile. */
    void writing(Runnable work) {
        writing.lock();
        try {
            work.run();
        } finally {
            writing.unlock();
        }
    }

    @Override
    public void close() {
        try {
            Runtime.getRuntime().removeShutdownHook(hook);
        } catch (IllegalStateException e) {
            // The program is being stopped just now: the hook has the word.
            return;
        }
    }
}
