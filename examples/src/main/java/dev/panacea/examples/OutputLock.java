package dev.panacea.examples;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ThreadLocalRandom;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * One run at a time in an output folder. The system holds the lock and gives it up with the process, however that ends, so a file that a killed
 * run has left keeps nobody out; what is written in it is for the message only.
 */
final class OutputLock implements AutoCloseable {
    static final String NAME = ".finetune.lock";

    /** Those of this process. The system forgets a process's lock when any channel to the file is closed, so no second one may be opened. */
    private static final Set<Path> HELD = ConcurrentHashMap.newKeySet();
    private static final Pattern OWNER = Pattern.compile("process (\\d{1,10}) since ([0-9TZ:-]{1,24})\\s*");
    private static final int LARGEST = 4096;

    private final Path file;
    private final FileChannel channel;

    private OutputLock(Path file, FileChannel channel) {
        this.file = file;
        this.channel = channel;
    }

    /** Another run has the folder. */
    static final class Held extends Exception {
        private static final long serialVersionUID = 1L;

        Held(String owner) {
            super(owner);
        }
    }

    /**
     * Takes the folder.
     *
     * @throws Held with the run that has it, in words
     * @throws IOException if there can be no such file
     */
    static OutputLock take(Path folder) throws IOException, Held {
        Path file = folder.toRealPath().resolve(NAME);
        if (!HELD.add(file)) {
            throw new Held("this process");
        }
        boolean taken = false;
        try {
            Optional<OutputLock> lock = Optional.empty();
            while (lock.isEmpty()) {
                lock = attempt(file);
            }
            taken = true;
            return lock.get();
        } finally {
            if (!taken) {
                HELD.remove(file);
            }
        }
    }

    /** Empty if another run removed the file between its opening and its locking. */
    private static Optional<OutputLock> attempt(Path file) throws IOException, Held {
        FileChannel channel = FileChannel.open(file, Set.of(StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE, LinkOption.NOFOLLOW_LINKS));
        boolean taken = false;
        boolean locked = false;
        try {
            locked = lock(channel);
            if (!locked) {
                throw new Held(owner(channel));
            }
            // Java cannot tell whether this is still the file of that name, so a length that no other run will choose has to say it.
            int length = ThreadLocalRandom.current().nextInt(LARGEST / 2, LARGEST);
            String text = "process " + ProcessHandle.current().pid() + " since " + Instant.now().truncatedTo(ChronoUnit.SECONDS);
            channel.truncate(0);
            channel.write(ByteBuffer.wrap((text + " ".repeat(length - text.length())).getBytes(StandardCharsets.US_ASCII)), 0);
            taken = Files.exists(file, LinkOption.NOFOLLOW_LINKS) && Files.size(file) == channel.size();
            return taken ? Optional.of(new OutputLock(file, channel)) : Optional.empty();
        } catch (IOException e) {
            if (locked) {
                Files.deleteIfExists(file);
            }
            throw e;
        } finally {
            if (!taken) {
                channel.close();
            }
        }
    }

    /** False if another process has it. Some network drives have no locks: there, nobody is kept out. */
    private static boolean lock(FileChannel channel) {
        try {
            // Beyond the text, which others are to read on systems where a lock keeps them from it.
            FileLock lock = channel.tryLock(LARGEST, 1, false);
            return lock != null;
        } catch (IOException e) {
            return true;
        }
    }

    private static String owner(FileChannel channel) {
        ByteBuffer bytes = ByteBuffer.allocate(LARGEST);
        try {
            channel.read(bytes, 0);
        } catch (IOException e) {
            return "another process";
        }
        Matcher m = OWNER.matcher(new String(bytes.array(), 0, bytes.position(), StandardCharsets.US_ASCII));
        return m.matches() ? "process " + m.group(1) + ", since " + m.group(2) : "another process";
    }

    @Override
    public void close() {
        try (channel) {
            Files.deleteIfExists(file);
        } catch (IOException e) {
            // It stays and keeps nobody out.
            return;
        } finally {
            HELD.remove(file);
        }
    }
}
