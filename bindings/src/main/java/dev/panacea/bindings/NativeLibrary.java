package dev.panacea.bindings;

import dev.panacea.bindings.generated.PanaceaCpu;
import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * The native library of the CPU kernels, found and loaded once per process: a file named by {@code -Dpanacea.cpu.library} or
 * {@code PANACEA_CPU_LIBRARY}, else the one in the jar, unpacked into the user's cache ({@code -Dpanacea.cache}, {@code PANACEA_CACHE}, or
 * {@code panacea} in {@code XDG_CACHE_HOME} or {@code ~/.cache}).
 *
 * @param file the file that was loaded; a temporary one is gone by then
 * @param origin where it came from, for logs and reports
 */
public record NativeLibrary(Path file, String origin) {
    private static final Logger LOG = LoggerFactory.getLogger(NativeLibrary.class);
    private static final String NAME = "panacea_cpu";
    private static final Setting FILE = new Setting("panacea.cpu.library", "PANACEA_CPU_LIBRARY");
    // Looks in this class's loader, so the generated classes must be in the same jar as this one.
    private static final SymbolLookup SYMBOLS = SymbolLookup.loaderLookup();

    private static volatile Optional<NativeLibrary> loaded = Optional.empty();

    /**
     * Loads the library, if that has not been done, and compares its ABI with the generated bindings.
     *
     * @throws NativeLibraryException if there is none for this platform or it cannot be used; {@link NativeLibraryException#isUnsupported()}
     *     tells whether it makes sense to go on without
     */
    public static synchronized NativeLibrary load() {
        if (loaded.isEmpty()) {
            NativeAccess.require();
            NativeLibrary library = FILE.read().map(NativeLibrary::loadNamed).orElseGet(NativeLibrary::loadPacked);
            library.checkAbi();
            loaded = Optional.of(library);
        }
        return loaded.get();
    }

    /** Whether {@link #load()} has succeeded in this process. */
    public static boolean isLoaded() {
        return loaded.isPresent();
    }

    /**
     * The address of a function, for the generated bindings.
     *
     * @throws NativeLibraryException if the library is not loaded or lacks it
     */
    public static MemorySegment symbol(String name) {
        return SYMBOLS.find(name).orElseThrow(() -> NativeLibraryException.misconfigured(
                "the native library has no function " + name + ": NativeLibrary.load() must come first, and the library must be of the same build as the jar", null));
    }

    private static NativeLibrary loadNamed(Setting.Value path) {
        Path file = Path.of(path.text()).toAbsolutePath();
        if (!Files.isRegularFile(file)) {
            throw NativeLibraryException.misconfigured(path.origin() + " names " + file + ", which is not a file; correct or unset it", null);
        }
        try {
            System.load(file.toString());
        } catch (UnsatisfiedLinkError e) {
            throw NativeLibraryException.misconfigured(path.origin() + " names " + file + ", which cannot be loaded: " + e.getMessage(), e);
        }
        return new NativeLibrary(file, path.origin());
    }

    private static NativeLibrary loadPacked() {
        Platform platform = Platform.current();
        String resource = platform.resource(NAME);
        byte[] content = read(resource, platform);
        String fileName = System.mapLibraryName(NAME);
        String stem = fileName.substring(0, fileName.lastIndexOf('.')) + "-abi" + PanaceaCpu.PAN_ABI_VERSION();
        String extension = fileName.substring(fileName.lastIndexOf('.'));
        String refusal;
        try {
            Path folder = LibraryCache.folder().orElseThrow(() -> new IOException("this user has no home folder"));
            Path file = LibraryCache.place(folder, stem, extension, content);
            System.load(file.toString());
            return new NativeLibrary(file, "the jar's " + resource);
        } catch (IOException | UnsatisfiedLinkError e) {
            // Not writable, full, mounted noexec, or loaded by another class loader of this process: a private copy may still do.
            refusal = reason(e);
        }
        LOG.warn("The cache for the native library cannot be used ({}); unpacking it into a temporary folder at every start. Set {} to a folder that can.",
                refusal, LibraryCache.FOLDER);
        return loadTemporary(resource, stem, extension, content, refusal);
    }

    private static NativeLibrary loadTemporary(String resource, String stem, String extension, byte[] content, String refusal) {
        Path file;
        try {
            file = LibraryCache.temporary(stem, extension, content);
        } catch (IOException e) {
            throw NativeLibraryException.unsupported("the native library can be unpacked neither into the cache (" + refusal + ") nor into a temporary folder (" + reason(e)
                    + "); set " + LibraryCache.FOLDER + " to a folder that can be written", e);
        }
        try {
            System.load(file.toString());
        } catch (UnsatisfiedLinkError e) {
            throw NativeLibraryException.unsupported("the native library of this jar cannot be loaded on this machine: " + reason(e) + " (from the cache: " + refusal
                    + "). Where these folders forbid programs (noexec), set " + LibraryCache.FOLDER + " to one that does not", e);
        } finally {
            LibraryCache.delete(file);
        }
        return new NativeLibrary(file, "a temporary copy of the jar's " + resource);
    }

    private static String reason(Throwable e) {
        if (e instanceof AccessDeniedException) {
            return "no permission for " + e.getMessage();
        }
        // The loader begins with the file's name, and Java puts it before that once more.
        return String.valueOf(e.getMessage()).replaceFirst("^(.+): \\1: ", "$1: ");
    }

    private static byte[] read(String resource, Platform platform) {
        try (InputStream in = NativeLibrary.class.getClassLoader().getResourceAsStream(resource)) {
            if (in == null) {
                throw NativeLibraryException.unsupported("this build of Panacea has no native library for " + platform + " (no " + resource + " on the class path); build it from native/ and name it by "
                        + FILE, null);
            }
            return in.readAllBytes();
        } catch (IOException e) {
            throw NativeLibraryException.misconfigured("the jar's " + resource + " cannot be read: " + e.getMessage(), e);
        }
    }

    private void checkAbi() {
        if (SYMBOLS.find("pan_abi_version").isEmpty()) {
            throw NativeLibraryException.misconfigured(file + " is not a library of Panacea's CPU kernels (no pan_abi_version in it); from " + origin, null);
        }
        int version = PanaceaCpu.pan_abi_version();
        if (version != PanaceaCpu.PAN_ABI_VERSION()) {
            throw NativeLibraryException.misconfigured("the native library " + file + " (from " + origin + ") has ABI version " + version + ", but this jar needs version "
                    + PanaceaCpu.PAN_ABI_VERSION() + "; use the library and the jar of one build", null);
        }
    }
}
