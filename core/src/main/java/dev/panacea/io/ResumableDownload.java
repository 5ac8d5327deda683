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
import java.util.Optional;
import java.util.OptionalLong;
import java.util.function.Consumer;
import java.util.function.IntConsumer;

/**
 * One file from the hub into the cache. What has come stays in {@code <target>.incomplete} until all is there and checked, so that a later
 * try, of this program or the next, goes on from there. Whatever a server answers, the tries are bounded: by how many in a row bring next to nothing, and in all.
 */
final class ResumableDownload {
    private static final int ATTEMPTS_WITHOUT_PROGRESS = 4;
    private static final int ATTEMPTS = 200;
    /** An attempt that brings less counts as one without progress, and a stream that brings less within {@link #STALL_LIMIT} as one that stands still. */
    private static final long PROGRESS = 64 << 10;
    private static final Duration HEADER_LIMIT = Duration.ofSeconds(20);
    private static final Duration STALL_LIMIT = Duration.ofSeconds(30);
    private static final long LARGEST_OF_UNKNOWN_SIZE = 64 << 20;

    private final HubRequests requests;
    private final URI place;
    private final Path target;
    private final String name;
    private final OptionalLong size;
    private final String sha256;
    private final Consumer<String> messages;
    private final ModelLocator.Progress progress;
    private final Duration pause;
    /** Whether the server has not yet shown that it cannot go on from the middle of a file. */
    private boolean ranges = true;

    /**
     * Nothing is asked for yet.
     *
     * @param name for people
     * @param size of the whole file, where the hub told it
     * @param sha256 of the whole file; empty where the hub told none
     * @param pause before the second try; doubled for each that was in vain
     */
    ResumableDownload(HubRequests requests, URI place, Path target, String name, OptionalLong size, String sha256, Consumer<String> messages, ModelLocator.Progress progress,
            Duration pause) {
        this.requests = requests;
        this.place = place;
        this.target = target;
        this.name = name;
        this.size = size;
        this.sha256 = sha256;
        this.messages = messages;
        this.progress = progress;
        this.pause = pause;
    }

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
        long most = channel.size();
        int inVain = 0;
        for (int attempt = 1; ; attempt++) {
            if (size.isPresent() && channel.size() > size.getAsLong()) {
                channel.truncate(0);
            }
            if (size.isPresent() && channel.size() == size.getAsLong()) {
                return;
            }
            Optional<String> failure = attempt(channel, checkStatus);
            if (failure.isEmpty()) {
                return;
            }
            inVain = channel.size() >= most + PROGRESS ? 0 : inVain + 1;
            most = Math.max(most, channel.size());
            if (inVain == ATTEMPTS_WITHOUT_PROGRESS || attempt == ATTEMPTS) {
                throw new HubUnavailable("The download of " + name + " stopped at " + ByteCount.text(channel.size()) + " (" + failure.get() + "); start again to go on from there");
            }
            pause(inVain);
        }
    }

    /** What kept the rest from coming; empty if all is there. */
    private Optional<String> attempt(FileChannel channel, IntConsumer checkStatus) throws IOException {
        long have = channel.size();
        boolean range = ranges && have > 0;
        HttpResponse<InputStream> response;
        try {
            response = requests.get(place, range ? OptionalLong.of(have) : OptionalLong.empty(), HEADER_LIMIT);
        } catch (HubUnavailable e) {
            if (e.getCause() instanceof Exception) {
                return Optional.of(e.getMessage());
            }
            throw e;
        }
        try (InputStream body = response.body(); StallGuard guard = new StallGuard(body, STALL_LIMIT)) {
            int status = response.statusCode();
            if (status >= 500 || status == 429) {
                return Optional.of("the server answers with status " + status);
            }
            if (status == 416 || status == 206 && !isRest(response, have)) {
                ranges = false;
                return Optional.of("the server does not give the part that it is asked for");
            }
            checkStatus.accept(status);
            requests.requirePlain(response, name);
            return copy(body, channel, status == 206 ? 0 : have, guard);
        }
    }

    /** Whether an answer brings the bytes from {@code have} on, of a file of our size. */
    private boolean isRest(HttpResponse<?> response, long have) {
        String range = response.headers().firstValue("Content-Range").orElse("");
        return range.startsWith("bytes " + have + "-") && (size.isEmpty() || range.endsWith("/" + size.getAsLong()) || range.endsWith("/*"));
    }

    /** @param known bytes at the beginning of the body that are there already: a server that cannot go on sends them again, and they are passed over */
    private Optional<String> copy(InputStream body, FileChannel channel, long known, StallGuard guard) throws IOException {
        byte[] buffer = new byte[1 << 16];
        long before = channel.size() - known;
        channel.position(channel.size());
        long limit = size.orElse(LARGEST_OF_UNKNOWN_SIZE);
        long came = 0;
        long alive = 0;
        while (true) {
            int n;
            try {
                n = body.read(buffer);
            } catch (IOException cut) {
                return Optional.of("the connection was cut");
            }
            if (n < 0) {
                if (came < known && size.isEmpty()) {
                    channel.truncate(0);
                    return Optional.of("the server gives less than it did before");
                }
                return size.isEmpty() || before + came == size.getAsLong() ? Optional.empty() : Optional.of("the server ends it before its end");
            }
            long fresh = Math.min(n, Math.max(0, came + n - known));
            came += n;
            if (came - alive >= PROGRESS) {
                alive = came;
                guard.alive();
            }
            if (before + came > limit) {
                channel.truncate(0);
                throw new PanaceaException(name + " from " + requests.endpoint() + " is longer than the " + limit + " bytes that it should have");
            }
            AtomicFiles.writeFully(channel, ByteBuffer.wrap(buffer, (int) (n - fresh), (int) fresh));
            progress.progress(name, channel.size(), size.orElse(-1));
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

    private void pause(int inVain) {
        try {
            Thread.sleep(pause.toMillis() << inVain);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new PanaceaException("interrupted while downloading", e);
        }
    }
}
