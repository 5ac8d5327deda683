package dev.panacea.bindings;

import java.util.Locale;

/**
 * An operating system and a processor architecture, by the names that the folders in the jar have.
 *
 * @param os {@code linux}, {@code macos} or {@code windows}, else what Java calls it
 * @param arch {@code x86_64} or {@code aarch64}, else what Java calls it
 */
record Platform(String os, String arch) {

    static Platform current() {
        return of(System.getProperty("os.name"), System.getProperty("os.arch"));
    }

    /** Normalises the values of {@code os.name} and {@code os.arch}. */
    static Platform of(String osName, String osArch) {
        String os = osName.toLowerCase(Locale.ROOT).replaceAll("[^a-z0-9]", "");
        String arch = osArch.toLowerCase(Locale.ROOT).replaceAll("[^a-z0-9_]", "");
        return new Platform(
                os.startsWith("linux") ? "linux" : os.startsWith("mac") || os.startsWith("darwin") ? "macos" : os.startsWith("windows") ? "windows" : os,
                switch (arch) {
                    case "amd64", "x64", "x86_64" -> "x86_64";
                    case "arm64", "aarch64" -> "aarch64";
                    default -> arch;
                });
    }

    /** Where the jar has the library of this platform. */
    String resource(String library) {
        return "native/" + this + "/" + System.mapLibraryName(library);
    }

    @Override
    public String toString() {
        return os + "-" + arch;
    }
}
