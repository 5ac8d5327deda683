package dev.panacea.io;

import dev.panacea.kernels.PanaceaException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.AtomicMoveNotSupportedException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.concurrent.ThreadLocalRandom;

/**
 * Files that are there whole or not at all: written beside the target, brought to disk, and moved into its place. What a failed write left
 * is removed; an older file of the name stays as it was.
 */
public final class AtomicFiles {
    private AtomicFiles() {}

    /** Writes the bytes of a file. */
    @FunctionalInterface
    public interface Body {
        void write(FileChannel channel) throws IOException;
    }

    /**
     * Writes a file, whose folder is created if need be.
     *
     * @throws PanaceaException naming the file and the remedy, if it cannot be written
     */
    public static void write(Path target, Body body) {
        Path file = target.toAbsolutePath();
        Path temporary = null;
        try {
            createDirectories(file.getParent());
            temporary = beside(file);
            try (FileChannel channel = FileChannel.open(temporary, StandardOpenOption.CREATE_NEW, StandardOpenOption.WRITE)) {
                body.write(channel);
                channel.force(true);
            }
            move(temporary, file);
        } catch (IOException | UnsupportedOperationException e) {
            throw FileErrors.writing(target, e);
        } finally {
            deleteQuietly(temporary);
        }
    }

    /** Writes a text file in UTF-8, as {@link #write} does. */
    public static void writeString(Path target, String text) {
        write(target, channel -> writeFully(channel, ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8))));
    }

    static void writeFully(FileChannel channel, ByteBuffer bytes) throws IOException {
        while (bytes.hasRemaining()) {
            channel.write(bytes);
        }
    }

    /** As {@link Files#createDirectories}, which fails on a link to a folder. */
    static void createDirectories(Path folder) throws IOException {
        if (folder != null && !Files.isDirectory(folder)) {
            try {
                Files.createDirectories(folder);
            } catch (FileAlreadyExistsException e) {
                throw new IOException(e.getFile() + " is a file, a folder is needed there", e);
            }
        }
    }

    /** Whether a name is one under which a file or folder {@code name} is written until it is whole; one that stays was left by a process that was killed. */
    public static boolean isUnfinished(String candidate, String name) {
        return candidate.startsWith("." + name + ".") && candidate.substring(name.length() + 2).matches("[0-9a-z]{1,13}\\.incomplete");
    }

    /** A name in the same folder that nobody else uses. */
    static Path beside(Path file) {
        return file.resolveSibling("." + file.getFileName() + "." + Long.toString(ThreadLocalRandom.current().nextLong() >>> 1, 36) + ".incomplete");
    }

    /**
     * Moves a file, or a folder to where there is none, in one step, so that a reader sees the old one or the new one.
     *
     * @throws IOException if it cannot be moved, or a folder is in its place
     */
    public static void move(Path from, Path to) throws IOException {
        if (Files.isDirectory(to)) {
            throw new IOException("it is a folder");
        }
        try {
            Files.move(from, to, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
        } catch (AtomicMoveNotSupportedException e) {
            Files.move(from, to, StandardCopyOption.REPLACE_EXISTING);
        }
        forceDirectory(to.getParent());
    }

    /** Makes a new name in a folder survive a power cut, where the system can do that. */
    static void forceDirectory(Path folder) {
        try (FileChannel channel = FileChannel.open(folder, StandardOpenOption.READ)) {
            channel.force(true);
        } catch (IOException e) {
            // Not every system opens folders; the file itself is complete and on disk.
            return;
        }
    }

    static void deleteQuietly(Path file) {
        try {
            if (file != null) {
                Files.deleteIfExists(file);
            }
        } catch (IOException e) {
            // The first error is the one worth telling.
            return;
        }
    }
}
