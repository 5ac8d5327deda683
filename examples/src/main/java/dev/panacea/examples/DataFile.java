package dev.panacea.examples;

import dev.panacea.data.Dataset;
import dev.panacea.data.DatasetReader;
import dev.panacea.data.Row;
import dev.panacea.kernels.PanaceaException;
import java.nio.file.Path;
import java.util.List;
import java.util.function.Supplier;

/** Reads a file of rows, shows how far it is, and says what was found out about the file, for a person to check before a run. */
final class DataFile {
    private DataFile() {}

    static List<Row> read(Path file, DatasetReader.Options options, Console console) {
        Dataset data = understood(() -> DatasetReader.read(file, options, new DataProgress("Reading " + file.getFileName(), console)::at));
        console.endLine();
        console.line(Figures.format("%s: %,d %s, %s", file, data.summary().rows(), data.summary().rows() == 1 ? "row" : "rows", data.summary()));
        data.summary().notes().forEach(note -> console.line("Note: " + note));
        return data.rows();
    }

    /** What the reader asks to be told is told by options here. */
    private static Dataset understood(Supplier<Dataset> reading) {
        try {
            return reading.get();
        } catch (PanaceaException e) {
            if (e.getMessage().contains("say which") || e.getMessage().contains("say in which")) {
                throw new PanaceaException(e.getMessage() + ". The options for that are --columns, --encoding and --separator", e);
            }
            throw e;
        }
    }
}
