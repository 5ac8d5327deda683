package dev.panacea.io;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Assumptions;

/** The folder of reference figures, where it is there. */
final class Golden {
    private Golden() {}

    /** Files or folders in it; the test is skipped, with the reason, if one is missing. */
    static List<Path> files(String... names) {
        Path folder = Path.of(System.getProperty("panacea.golden", "../../shared/golden")).toAbsolutePath().normalize();
        List<Path> files = Arrays.stream(names).map(folder::resolve).toList();
        for (Path file : files) {
            if (!Files.exists(file)) {
                String reason = file + " is missing; set -Dpanacea.golden to the folder of reference figures";
                System.out.println("skipped: " + reason);
                Assumptions.abort(reason);
            }
        }
        return files;
    }
}
