package dev.panacea.io;

import dev.panacea.kernels.PanaceaException;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.nio.channels.ClosedByInterruptException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import java.nio.file.NotDirectoryException;
import java.nio.file.Path;
import java.nio.file.ReadOnlyFileSystemException;

/** What went wrong with a file, and what to do about it, in words. Thread-safe. */
public final class FileErrors {
    private FileErrors() {}

    /** A failed read of {@code file}. */
    static PanaceaException reading(Path file, Exception cause) {
        return new PanaceaException("Cannot read " + file + ": " + reason(cause, file), cause);
    }

    /** A failed write of {@code file}. */
    static PanaceaException writing(Path file, Exception cause) {
        return new PanaceaException("Cannot write " + file + ": " + reason(cause, file), cause);
    }

    /** Why {@code file} could not be read or written, and the remedy, without its name. */
    public static String reason(Exception cause, Path file) {
        String message = String.valueOf(cause.getMessage());
        if (message.contains("No space left on device") || message.contains("not enough space") || message.contains("Disk quota exceeded")) {
            return "the disk is full; free some space or choose another folder";
        }
        if (message.contains("File too large")) {
            return "the file would be larger than the file system or the user's limit allows; choose another folder";
        }
        if (cause instanceof AccessDeniedException || message.contains("Permission denied") || message.contains("Operation not permitted")) {
            return "no permission; change the permissions of it or of its folder, or choose another folder";
        }
        if (cause instanceof ReadOnlyFileSystemException || message.contains("Read-only file system")) {
            return "the file system is read-only; choose another folder";
        }
        if (cause instanceof NoSuchFileException || cause instanceof FileNotFoundException) {
            return cause instanceof FileSystemException f && f.getFile() != null && !f.getFile().equals(file.toString())
                    ? f.getFile() + " does not exist" : "it does not exist; check the path";
        }
        if (cause instanceof NotDirectoryException || message.contains("Not a directory")) {
            return "a part of the path is a file, not a folder";
        }
        if (cause instanceof ClosedByInterruptException) {
            return "the thread was interrupted";
        }
        return cause instanceof IOException && cause.getMessage() != null ? cause.getMessage() : cause.toString();
    }
}
