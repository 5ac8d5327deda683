package dev.panacea.data;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/**
 * What a reader found out about a file, for a person to check. Safe for use by several threads.
 *
 * @param format such as {@code JSON Lines} or {@code CSV with ';'}
 * @param encoding such as {@code UTF-8} or {@code Windows-1252}
 * @param rows the number of rows read
 * @param columns what the columns that were used are used as, by their names in the file
 * @param unused columns that have values and were left out, in some row at least; at most 200 names
 * @param notes what was decided that the author of the data may not expect, in sentences without their full stop
 */
public record DatasetSummary(String format, String encoding, long rows, Map<String, String> columns, List<String> unused, List<String> notes) {
    public DatasetSummary {
        columns = Collections.unmodifiableMap(new LinkedHashMap<>(columns));
        unused = List.copyOf(unused);
        notes = List.copyOf(notes);
    }

    /** One line: {@code CSV with ';', Windows-1252, columns question → user, answer → assistant; not used: id, date}. The notes are not in it. */
    @Override
    public String toString() {
        String used = columns.entrySet().stream().map(c -> c.getKey().equals(c.getValue()) ? c.getKey() : c.getKey() + " → " + c.getValue()).collect(Collectors.joining(", "));
        return format + ", " + encoding + ", " + (columns.size() == 1 ? "column " : "columns ") + used
                + (unused.isEmpty() ? "" : "; not used: " + unused.stream().limit(20).map(n -> n.isBlank() ? "\"" + n + "\"" : RowParser.shortened(n)).collect(Collectors.joining(", ")) + (unused.size() > 20 ? " and more" : ""));
    }
}
