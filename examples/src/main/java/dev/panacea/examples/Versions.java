package dev.panacea.examples;

import dev.panacea.kernels.Backends;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.PanaceaException;
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
        return List.of("Panacea " + panacea(), "Kernels: " + kernels("cpu"), "         " + kernels("cuda"), "Java:    " + java(), "System:  " + system());
    }

    /** What runs on a device, or why nothing does. */
    private static String kernels(String device) {
        try (Kernels kernels = Backends.open(device)) {
            return kernels.description();
        } catch (PanaceaException e) {
            return device + ": " + e.getMessage();
        }
    }
}
