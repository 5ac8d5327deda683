package dev.panacea.io;

import dev.panacea.kernels.PanaceaException;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.OptionalLong;
import java.util.function.Consumer;
import java.util.function.IntConsumer;

/**
 * One file from the hub into the cache. What has come stays in {@code <target>.incomplete} until all is there and checked, so that a later
 * try, of this program or the next, goes on from there.
 *
 * @param name for people
 * @param size of the whole file, where the hub told it
 * @param sha256 of the whole file; empty where the hub told none
 */
record ResumableDownload(HubRequests requests, URI place, Path target, String name, OptionalLong size, String sha256, Consumer<String> messages, ModelLocator.Progress progress) {
    private static final int ATTEMPTS_WITHOUT_PROGRESS = 4;
    private static final Duration HEADER_LIMIT = Duration.ofSeconds(20);
    private static final Duration STALL_LIMIT = Duration.ofSeconds(30);
    private static final long LARGEST_OF_UNKNOWN_SIZE = 64 << 20;

    /** @param checkStatus throws for a status that will not get better */
    void run(IntConsumer checkStatus) {
        Path incomplete = target.resolveSibling(target.getFileName() + ".incomplete");
        try {
            AtomicFiles.createDirectories(target.getParent());
            requireSpace(incomplete);
            try (FileChannel channel = FileChannel.open(incomplete, StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE); FileLock lock = lock(channel)) {
                if (!Files.exists(target) && lock.isValid()) {
                    fill(channel, checkStatus);
                    channel.force(true);
                    check(incomplete);
                    AtomicFiles.move(incomplete, target);
                } else {
                    AtomicFiles.deleteQuietly(incomplete);
                }
            }
        } catch (IOException e) {
            throw FileErrors.writing(target, e);
        }
    }

    /** Another program may be downloading the same file; then this one waits and finds it done. */
    private FileLock lock(FileChannel channel) throws IOException {
        try {
            FileLock lock = channel.tryLock();
            if (lock == null) {
                messages.accept("Waiting for another program that downloads " + name);
                lock = channel.lock();
            }
            return lock;
        } catch (OverlappingFileLockException e) {
            throw new PanaceaException("this program is downloading " + name + " already", e);
        }
    }

    private void requireSpace(Path incomplete) throws IOException {
        long missing = size.orElse(0) - (Files.exists(incomplete) ? Files.size(incomplete) : 0);
        long free = Files.getFileStore(target.getParent()).getUsableSpace();
        // Some file systems do not tell, and say 0.
        if (free > 0 && missing > free) {
            throw new PanaceaException("Cannot download " + name + " to " + target.getParent() + ": " + ByteCount.text(missing) + " are needed, but only " + ByteCount.text(free)
                    + " are free; free some space, or set HF_HOME to a folder on another disk");
        }
    }

    private void fill(FileChannel channel, IntConsumer checkStatus) throws IOException {
        int attempts = 0;
        while (true) {
            long before = channel.size();
            if (size.isPresent() && before > size.getAsLong()) {
                channel.truncate(0);
                before = 0;
            }
            if (size.isPresent() && before == size.getAsLong()) {
                return;
            }
            String failure = "the connection was cut";
            try {
                if (attempt(channel, before, checkStatus)) {
                    return;
                }
            } catch (HubUnavailable e) {
                if (!(e.getCause() instanceof Exception)) {
                    throw e;
                }
                failure = e.getMessage();
            }
            attempts = channel.size() > before ? 0 : attempts + 1;
            if (attempts == ATTEMPTS_WITHOUT_PROGRESS) {
                throw new HubUnavailable("The download of " + name + " stopped at " + ByteCount.text(channel.size()) + " (" + failure + "); start again to go on from there");
            }
            pause(attempts);
        }
    }

    /** Whether all has come; {@code false} if the connection was cut. */
    private boolean attempt(FileChannel channel, long have, IntConsumer checkStatus) throws IOException {
        HttpResponse<InputStream> response = requests.get(place, have > 0 ? OptionalLong.of(have) : OptionalLong.empty(), HEADER_LIMIT);
        try (InputStream body = response.body(); StallGuard guard = new StallGuard(body, STALL_LIMIT)) {
            int status = response.statusCode();
            boolean goesOn = status == 206 && response.headers().firstValue("Content-Range").orElse("").startsWith("bytes " + have + "-");
            if (status == 416 || status == 206 && !goesOn) {
                channel.truncate(0);
                return false;
            }
            if (status >= 500 || status == 429) {
                return false;
            }
            checkStatus.accept(status);
            if (!goesOn) {
                channel.truncate(0);
            }
            return copy(body, channel, guard);
        }
    }

    private boolean copy(InputStream body, FileChannel channel, StallGuard guard) throws IOException {
        byte[] buffer = new byte[1 << 16];
        long done = channel.size();
        channel.position(done);
        long limit = size.orElse(LARGEST_OF_UNKNOWN_SIZE);
        while (true) {
            int n;
            try {
                n = body.read(buffer);
            } catch (IOException cut) {
                return false;
            }
            if (n < 0) {
                return size.isEmpty() || done == size.getAsLong();
            }
            guard.alive();
            done += n;
            if (done > limit) {
                channel.truncate(0);
                throw new PanaceaException(name + " from " + requests.endpoint() + " is longer than the " + limit + " bytes that it should have");
            }
            AtomicFiles.writeFully(channel, ByteBuffer.wrap(buffer, 0, n));
            progress.progress(name, done, size.orElse(-1));
        }
    }

    private void check(Path incomplete) {
        if (!sha256.isEmpty()) {
            String found = Sha256.of(incomplete);
            if (!found.equals(sha256)) {
                AtomicFiles.deleteQuietly(incomplete);
                throw new PanaceaException(name + " from " + requests.endpoint() + " has the SHA-256 " + found + ", not " + sha256
                        + " as announced; it was damaged on the way and has been removed. Start again");
            }
        }
    }

    private static void pause(int attempts) {
        try {
            Thread.sleep(200L << attempts);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new PanaceaException("interrupted while downloading", e);
        }
    }
}
