package dev.panacea.data;

import java.util.List;

/**
 * The rows of a file, and how it was read. Safe for use by several threads.
 *
 * @param rows in the order of the file
 */
public record Dataset(List<Row> rows, DatasetSummary summary) {
    public Dataset {
        rows = List.copyOf(rows);
    }
}
