package dev.panacea.examples;

import dev.panacea.kernels.PanaceaException;
import java.io.IOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import java.util.stream.Stream;

/**
 * Where a run puts its results. An earlier run's results are replaced; a folder with anything else in it is refused, so that a slip of
 * the keyboard mixes nothing up.
 */
record OutputFolder(Path path) {
    /** Where results go if nothing else is said. */
    static final String DEFAULT = "finetune-output";

    private static final Set<String> OURS = Set.of("adapter", "metrics.json", "report.html");
    private static final Set<String> OURS_IN_ADAPTER = Set.of("adapter_config.json", "adapter_model.safetensors", "README.md");

    Path adapter() {
        return path.resolve("adapter");
    }

    Path metrics() {
        return path.resolve("metrics.json");
    }

    Path report() {
        return path.resolve("report.html");
    }

    /** What names it in a command to be typed: nothing for the default. */
    String option() {
        return path.equals(Path.of(DEFAULT)) ? "" : " --output " + ShellWord.of(path.toString());
    }

    /**
     * Makes sure, before the long work, that the results can be written at its end.
     *
     * @return whether there are results of an earlier run, which this run will replace
     */
    boolean prepare() {
        try {
            boolean earlier = false;
            Path existing = path.toAbsolutePath();
            while (!Files.exists(existing)) {
                existing = existing.getParent();
            }
            if (!Files.isDirectory(existing)) {
                throw new BadOption("--output", path, existing + " is a file; name a folder, new or empty");
            }
            if (Files.exists(path)) {
                earlier = refuseForeign(path, OURS) > 0;
                if (Files.isDirectory(adapter())) {
                    refuseForeign(adapter(), OURS_IN_ADAPTER);
                } else if (Files.exists(adapter())) {
                    throw new BadOption("--output", path, "adapter in it is a file, not a folder of an earlier run; choose a new or empty folder");
                }
            }
            Files.delete(Files.createTempFile(existing, ".probe", null));
            return earlier;
        } catch (IOException e) {
            throw new BadOption("--output", path, "cannot write there (" + reason(e) + "); choose a folder of yours");
        }
    }

    private int refuseForeign(Path folder, Set<String> ours) throws IOException {
        try (Stream<Path> entries = Files.list(folder)) {
            List<String> names = entries.map(p -> p.getFileName().toString()).sorted().toList();
            List<String> foreign = names.stream().filter(n -> !ours.contains(n)).toList();
            if (!foreign.isEmpty()) {
                throw new BadOption("--output", path, "there are other files in " + (folder.equals(path) ? "it" : folder) + " (" + String.join(", ", foreign.subList(0, Math.min(3,
                        foreign.size()))) + (foreign.size() > 3 ? ", ..." : "") + "); only results of an earlier run are replaced. Choose a new or empty folder");
            }
            return names.size();
        }
    }

    /** Takes away what an earlier run said about its adapter, now that the adapter is another. */
    void forgetEarlierReports() {
        try {
            Files.deleteIfExists(metrics());
            Files.deleteIfExists(report());
        } catch (IOException e) {
            throw new PanaceaException("Cannot remove the results of the earlier run in " + path + ": " + reason(e), e);
        }
    }

    private static String reason(IOException e) {
        return e instanceof AccessDeniedException ? "no permission" : String.valueOf(e.getMessage());
    }

    @Override
    public String toString() {
        return path.toString();
    }
}
