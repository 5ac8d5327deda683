package dev.panacea.examples;

import java.nio.file.Path;

/** Where a run puts its results: the names in it. */
record OutputFolder(Path path) {
    /** Where results go if nothing else is said. */
    static final String DEFAULT = "finetune-output";

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

    @Override
    public String toString() {
        return path.toString();
    }
}
