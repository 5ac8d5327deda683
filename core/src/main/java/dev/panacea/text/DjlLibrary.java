package dev.panacea.text;

import ai.djl.huggingface.tokenizers.jni.LibUtils;
import ai.djl.util.Platform;
import dev.panacea.bindings.NativeLibraryException;
import dev.panacea.bindings.UnpackedLibraries;
import dev.panacea.kernels.PanaceaException;
import java.io.IOException;
import java.io.InputStream;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * The native library of the tokenizer. DJL would load whatever file it finds under its name in a folder of its own; so the library is unpacked here, and
 * compared with the jar's content each time, as that of the kernels is.
 */
final class DjlLibrary {
    /** Names a library that DJL is to load instead of its own. */
    private static final String PATH = "RUST_LIBRARY_PATH";

    private static final String LIBRARY = System.mapLibraryName("tokenizers");

    private static boolean loaded;

    private DjlLibrary() {}

    /**
     * Loads it once per process.
     *
     * @throws PanaceaException if that is not possible on this machine
     */
    static synchronized void load() {
        if (loaded) {
            return;
        }
        // Otherwise DJL looks for a GPU build of its library on the network, and reports its use there. Settings of the user's own win.
        setIfMissing("RUST_FLAVOR", "cpu");
        setIfMissing("ai.djl.offline", "true");
        try {
            Map<String, byte[]> files = isSet(PATH) ? Map.of() : packed(Platform.detectPlatform("tokenizers"));
            if (files.isEmpty()) {
                LibUtils.checkStatus();
            } else {
                loadFrom(files);
            }
            loaded = true;
        } catch (NativeLibraryException e) {
            throw new PanaceaException(e.getMessage(), e);
        } catch (RuntimeException | LinkageError e) {
            throw new PanaceaException("the native library of the tokenizer cannot be loaded on this machine (" + System.getProperty("os.name") + ", "
                    + System.getProperty("os.arch") + "): " + e.getMessage(), e);
        }
    }

    private static void loadFrom(Map<String, byte[]> files) {
        try (UnpackedLibraries libraries = UnpackedLibraries.of("tokenizers", files)) {
            // The file, whose folder DJL then takes all it needs from: with the folder's name its 0.38 fails where there is no GPU.
            System.setProperty(PATH, libraries.folder().resolve(LIBRARY).toString());
            LibUtils.checkStatus();
        } finally {
            System.clearProperty(PATH);
        }
    }

    /** The files of this platform; none where the jar has none, which DJL tells in its own words. */
    private static Map<String, byte[]> packed(Platform platform) {
        boolean windows = platform.getOsPrefix().equals("win");
        Map<String, byte[]> files = new LinkedHashMap<>();
        for (String name : windows ? List.of("libwinpthread-1.dll", "libgcc_s_seh-1.dll", "libstdc++-6.dll", LIBRARY) : List.of(LIBRARY)) {
            String resource = "native/lib/" + platform.getClassifier() + "/cpu/" + name;
            try (InputStream in = LibUtils.class.getClassLoader().getResourceAsStream(resource)) {
                if (in == null) {
                    return Map.of();
                }
                files.put(name, in.readAllBytes());
            } catch (IOException e) {
                throw new PanaceaException("the jar's " + resource + " cannot be read: " + e.getMessage(), e);
            }
        }
        return files;
    }

    private static boolean isSet(String setting) {
        return System.getProperty(setting) != null || System.getenv(setting) != null;
    }

    private static void setIfMissing(String setting, String value) {
        if (!isSet(setting)) {
            System.setProperty(setting, value);
        }
    }
}
