package dev.panacea.bindings;

import java.io.File;
import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.FileAttribute;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.Optional;
import java.util.zip.CRC32;

/**
 * The folder into which the library is unpacked from the jar, because the system's loader takes files only. A file's name carries the hash
 * of its content, so versions live side by side; it is written beside and moved into place, so processes that start at the same time
 * each find a whole file; and it is compared with the jar's content before it is used again, so that a checksum will do for a hash: a cryptographic one takes 60 ms
 * of a fresh JVM.
 */
final class LibraryCache {
    static final Setting FOLDER = new Setting("panacea.cache", "PANACEA_CACHE");

    private LibraryCache() {}

    /** The folder of this user: the setting, else {@code panacea} in {@code XDG_CACHE_HOME} or {@code ~/.cache}; absent where there is no home. */
    static Optional<Path> folder() {
        Optional<Setting.Value> setting = FOLDER.read();
        if (setting.isPresent()) {
            return Optional.of(Path.of(setting.get().text()).toAbsolutePath().resolve("native"));
        }
        // The XDG specification asks to ignore relative paths; a user without an entry in passwd has the home "?".
        return absolute(System.getenv("XDG_CACHE_HOME"))
                .or(() -> absolute(System.getProperty("user.home")).map(home -> home.resolve(".cache")))
                .map(cache -> cache.resolve("panacea").resolve("native"));
    }

    private static Optional<Path> absolute(String path) {
        return Optional.ofNullable(path).filter(p -> !p.isBlank()).map(Path::of).filter(Path::isAbsolute);
    }

    /**
     * The file in {@code folder} that has this content; written if it is not there or has changed.
     *
     * @param name file name without extension, followed by the hash
     * @throws IOException if the folder cannot be used
     */
    static Path place(Path folder, String name, String extension, byte[] content) throws IOException {
        return place(folder, name + "-" + hash(content) + extension, content);
    }

    /** As {@link #place(Path, String, String, byte[])}, under a name that tells nothing of the content. */
    static Path place(Path folder, String fileName, byte[] content) throws IOException {
        Path file = folder.resolve(fileName);
        Files.createDirectories(folder, ownerOnly(folder, "rwx------"));
        requireTrusted(folder);
        if (!holds(file, content)) {
            write(folder, file, content);
        }
        return file;
    }

    /** Whoever can change a folder can exchange a library in it between our look at it and its loading. */
    private static void requireTrusted(Path folder) throws IOException {
        if (posix(folder) && Files.getPosixFilePermissions(folder).contains(PosixFilePermission.OTHERS_WRITE)) {
            throw new IOException(folder + " is writable by every user, so a library in it cannot be trusted (chmod o-w)");
        }
        // What Linux says of this process; the names of users need not be known.
        Path self = Path.of("/proc/self");
        if (unix(folder) && Files.isDirectory(self)) {
            Object owner = Files.getAttribute(folder, "unix:uid");
            if (!owner.equals(0) && !owner.equals(Files.getAttribute(self, "unix:uid"))) {
                throw new IOException(folder + " belongs to another user (number " + owner + "), so a library in it cannot be trusted");
            }
        }
    }

    /** A file in a new folder that only this user can read, for one use: delete it with {@link #delete}. */
    static Path temporary(String name, String extension, byte[] content) throws IOException {
        Path folder = Files.createTempDirectory("panacea-");
        Path file = folder.resolve(name + extension);
        try {
            write(folder, file, content);
        } catch (IOException e) {
            delete(file);
            throw e;
        }
        return file;
    }

    /** Removes a {@link #temporary} file and its folder; a library that is loaded stays usable on Linux and macOS. */
    static void delete(Path temporary) {
        deleteFolder(temporary.getParent());
    }

    /** Removes a folder of files. */
    static void deleteFolder(Path folder) {
        // Files that go at the end go in the opposite order.
        File[] files = Optional.ofNullable(folder.toFile().listFiles()).orElse(new File[0]);
        for (File file : files) {
            file.delete();
        }
        if (!folder.toFile().delete() && folder.toFile().exists()) {
            // Windows keeps a loaded library's file locked; it goes when the process does.
            folder.toFile().deleteOnExit();
            for (File file : files) {
                file.deleteOnExit();
            }
        }
    }

    private static boolean holds(Path file, byte[] content) throws IOException {
        return Files.isRegularFile(file, LinkOption.NOFOLLOW_LINKS) && Files.size(file) == content.length && Arrays.equals(Files.readAllBytes(file), content);
    }

    private static void write(Path folder, Path file, byte[] content) throws IOException {
        Path part = Files.createTempFile(folder, ".unpacking-", ".part", ownerOnly(folder, "rwx------"));
        try {
            try (FileChannel channel = FileChannel.open(part, StandardOpenOption.WRITE)) {
                ByteBuffer rest = ByteBuffer.wrap(content);
                while (rest.hasRemaining()) {
                    channel.write(rest);
                }
            }
            Files.move(part, file, StandardCopyOption.ATOMIC_MOVE);
        } finally {
            Files.deleteIfExists(part);
        }
    }

    private static FileAttribute<?>[] ownerOnly(Path path, String permissions) {
        return posix(path) ? new FileAttribute<?>[] {PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString(permissions))} : new FileAttribute<?>[0];
    }

    private static boolean posix(Path path) {
        return path.getFileSystem().supportedFileAttributeViews().contains("posix");
    }

    private static boolean unix(Path path) {
        return path.getFileSystem().supportedFileAttributeViews().contains("unix");
    }

    static String hash(byte[] content) {
        CRC32 crc = new CRC32();
        crc.update(content);
        return HexFormat.of().toHexDigits((int) crc.getValue()) + HexFormat.of().toHexDigits(content.length);
    }
}
