package dev.panacea.bindings;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Native libraries of another project that come in a jar, unpacked for its loader under the names they have: into the cache, where they are compared
 * with the jar's content before each use as {@link NativeLibrary} is, or where that cannot be, into a temporary folder that {@link #close} removes. Thread-safe.
 *
 * @param folder that holds nothing but them
 * @param temporary whether they are for one use
 */
public record UnpackedLibraries(Path folder, boolean temporary) implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(UnpackedLibraries.class);

    /**
     * Unpacks libraries, unless they are there.
     *
     * @param name of the folder, followed by a hash
     * @param files content by the names of the files
     * @throws NativeLibraryException if neither the cache nor a temporary folder can be written
     */
    public static UnpackedLibraries of(String name, Map<String, byte[]> files) {
        String refusal;
        try {
            StringBuilder hash = new StringBuilder(name);
            files.values().forEach(content -> hash.append('-').append(LibraryCache.hash(content)));
            Path cache = LibraryCache.folder().orElseThrow(() -> new IOException("this user has no home folder"));
            Path folder = cache.resolve(hash.toString());
            for (Map.Entry<String, byte[]> file : files.entrySet()) {
                LibraryCache.place(folder, file.getKey(), file.getValue());
            }
            return new UnpackedLibraries(folder, false);
        } catch (IOException e) {
            refusal = e.toString();
        }
        LOG.info("The cache for native libraries cannot be used ({}); unpacking {} into a temporary folder. Set {} to a folder that can.", refusal, name, LibraryCache.FOLDER);
        try {
            return temporary(files);
        } catch (IOException e) {
            throw NativeLibraryException.unsupported("the native library " + name + " can be unpacked neither into the cache (" + refusal + ") nor into a temporary folder (" + e
                    + "); set " + LibraryCache.FOLDER + " to a folder that can be written", e);
        }
    }

    private static UnpackedLibraries temporary(Map<String, byte[]> files) throws IOException {
        UnpackedLibraries libraries = new UnpackedLibraries(Files.createTempDirectory("panacea-"), true);
        boolean done = false;
        try {
            for (Map.Entry<String, byte[]> file : files.entrySet()) {
                LibraryCache.place(libraries.folder(), file.getKey(), file.getValue());
            }
            done = true;
            return libraries;
        } finally {
            if (!done) {
                libraries.close();
            }
        }
    }

    /** To be called once they are loaded: removes temporary ones, which stay usable, on Windows when the process ends. */
    @Override
    public void close() {
        if (temporary) {
            LibraryCache.deleteFolder(folder);
        }
    }
}
