package dev.panacea.examples;

import dev.panacea.kernels.Backends;
import dev.panacea.kernels.Kernels;
import java.util.List;
import java.util.Optional;

/** What is running, for {@code --version} and the reports. */
final class Versions {
    private Versions() {}

    /** Of this program, by the manifest of its jar. */
    static String panacea() {
        return Optional.ofNullable(Versions.class.getPackage().getImplementationVersion()).orElse("unpackaged");
    }

    static String java() {
        return System.getProperty("java.runtime.version") + " (" + System.getProperty("java.vendor") + ")";
    }

    static String system() {
        return System.getProperty("os.name") + " " + System.getProperty("os.version") + ", " + System.getProperty("os.arch") + ", " + Runtime.getRuntime().availableProcessors()
                + " processors";
    }

    static List<String> lines() {
        try (Kernels kernels = Backends.cpu()) {
            return List.of("Panacea " + panacea(), "Kernels: " + kernels.description(), "Java:    " + java(), "System:  " + system());
        }
    }
}
