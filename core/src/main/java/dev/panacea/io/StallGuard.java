package dev.panacea.io;

import java.io.IOException;
import java.io.InputStream;
import java.time.Duration;

/** Closes a stream that gives next to nothing for a while, so that reading from it fails instead of waiting for ever. */
final class StallGuard implements AutoCloseable {
    private final Thread watcher;
    private volatile long last = System.nanoTime();

    StallGuard(InputStream stream, Duration limit) {
        watcher = Thread.ofVirtual().start(() -> {
            try {
                while (System.nanoTime() - last < limit.toNanos()) {
                    Thread.sleep(Math.max(1, limit.toMillis() / 10));
                }
                stream.close();
            } catch (InterruptedException | IOException e) {
                // Interrupted because the reader is done; or closing failed because it was closed.
                return;
            }
        });
    }

    /** To be called when something came that is worth going on for. */
    void alive() {
        last = System.nanoTime();
    }

    @Override
    public void close() {
        watcher.interrupt();
    }
}
