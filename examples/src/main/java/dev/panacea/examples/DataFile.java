package dev.panacea.examples;

import dev.panacea.data.Dataset;
import dev.panacea.data.DatasetReader;
import dev.panacea.data.Row;
import java.nio.file.Path;
import java.util.List;

/** Reads a file of rows, shows how far it is, and says what was found out about the file, for a person to check before a run. */
final class DataFile {
    /** A file that is read sooner needs no word of progress; a log gets a line less often than a terminal. */
    private static final long FIRST_NANOS = 500_000_000L;
    private static final long TERMINAL_NANOS = 100_000_000L;
    private static final long LOG_NANOS = 5_000_000_000L;

    private DataFile() {}

    static List<Row> read(Path file, DatasetReader.Options options, Console console) {
        Dataset data = DatasetReader.read(file, options, progress(file, console));
        console.endLine();
        console.line(Figures.format("%s: %,d %s, %s", file, data.summary().rows(), data.summary().rows() == 1 ? "row" : "rows", data.summary()));
        data.summary().notes().forEach(note -> console.line("Note: " + note));
        return data.rows();
    }

    private static DatasetReader.Progress progress(Path file, Console console) {
        long[] next = {System.nanoTime() + FIRST_NANOS};
        return (rows, fraction) -> {
            if (System.nanoTime() - next[0] >= 0) {
                next[0] = System.nanoTime() + (console.terminal() ? TERMINAL_NANOS : LOG_NANOS);
                console.progress(Figures.format("Reading %s: %,d rows, %.0f %%", file.getFileName(), rows, 100 * fraction));
            }
        };
    }
}
