package dev.panacea.data;

import dev.panacea.kernels.PanaceaException;
import java.io.BufferedReader;
import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.Charset;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import java.util.function.Consumer;

/**
 * Reads data sets: JSON Lines, JSON, and CSV with any common separator, in UTF-8, UTF-16 or Windows-1252. What a file is shows in its content, not its
 * name; what was found out is told in a {@link DatasetSummary}, and can be said in {@link Options} where it was found out wrongly. The columns say
 * what a row is. Every row must be understood: the first that is not is an error with file and place.
 */
public final class DatasetReader {
    private static final int MAX_ROWS = 50_000_000;
    private static final int SAMPLE = 1 << 20;
    private static final int MOST_NAMES = 200;
    private static final int PROGRESS_ROWS = 500;

    private final Path file;
    private final Options options;
    private final Consumer<Row> sink;
    private final Progress progress;
    private final long maxRow = maxRow(Runtime.getRuntime().maxMemory());
    private final Map<String, String> used = new LinkedHashMap<>();
    private final Set<String> unused = new LinkedHashSet<>();
    private final Set<String> notes = new LinkedHashSet<>();
    private final Map<String, Seen> maybeMissing = new LinkedHashMap<>();
    private final Seen lost = new Seen();
    private long size;
    private long bytesRead;
    private int count;

    private DatasetReader(Path file, Options options, Consumer<Row> sink, Progress progress) {
        this.file = file;
        this.options = options;
        this.sink = sink;
        this.progress = progress;
    }

    /**
     * How to read a file, where that is not to be found out.
     *
     * @param encoding of its text
     * @param separator of values, if it is CSV
     * @param columns which columns to take, by what they mean: {@code question → Frage, answer → Antwort}. The meanings are the names that are understood without being
     *     told ({@code messages}, {@code prompt}, {@code completion}, {@code question}, {@code answer}, {@code text}, {@code system} and others), in lower case. Columns of
     *     CSV can also be given by number, the first being 1
     */
    public record Options(Optional<Charset> encoding, Optional<Character> separator, Map<String, String> columns) {
        /** Find out everything. */
        public static final Options DETECT = new Options(Optional.empty(), Optional.empty(), Map.of());

        /** @throws IllegalArgumentException when a column is given a meaning that is none */
        public Options {
            columns = Collections.unmodifiableMap(new LinkedHashMap<>(columns));
            for (String meaning : columns.keySet()) {
                if (!RowParser.meanings().contains(meaning)) {
                    throw new IllegalArgumentException("\"" + meaning + "\" is not what a column can mean; it can be " + String.join(", ", RowParser.meanings()));
                }
            }
            if (Set.copyOf(columns.values()).size() < columns.size()) {
                throw new IllegalArgumentException("a column is given two meanings: " + columns);
            }
        }

        public Options withEncoding(Charset encoding) {
            return new Options(Optional.of(encoding), separator, columns);
        }

        public Options withSeparator(char separator) {
            return new Options(encoding, Optional.of(separator), columns);
        }

        public Options withColumns(Map<String, String> columns) {
            return new Options(encoding, separator, columns);
        }
    }

    /** Is told how far the reading is. */
    @FunctionalInterface
    public interface Progress {
        /**
         * Called now and then by the thread that reads.
         *
         * @param rows rows so far
         * @param fraction of the file that has been read, from 0 to 1
         */
        void read(long rows, double fraction);
    }

    /** Longest row in bytes: a file from outside must not take all memory for one row. */
    static long maxRow(long memory) {
        return Math.clamp(memory / 16, 1 << 20, 16 << 20);
    }

    /**
     * All rows of a file.
     *
     * @throws PanaceaException when the file is missing, empty or not of these formats, or a row is not understood
     */
    public static List<Row> read(Path file) {
        return read(file, Options.DETECT, (rows, fraction) -> {}).rows();
    }

    /**
     * All rows of a file, and what was found out about it.
     *
     * @throws PanaceaException as {@link #read(Path)}, or when the rows would take more than a third of Java's memory
     */
    public static Dataset read(Path file, Options options, Progress progress) {
        List<Row> all = new ArrayList<>();
        long most = Runtime.getRuntime().maxMemory() / 3;
        long[] bytes = {0};
        DatasetSummary summary = read(file, options, row -> {
            bytes[0] += RetainedBytes.of(row);
            if (bytes[0] > most) {
                throw new PanaceaException(row.place() + ": up to here the rows take more than " + (most >> 20) + " MB, a third of Java's memory; give it more, as in"
                        + " java -Xmx" + Math.max(1, (Runtime.getRuntime().maxMemory() >> 29)) + "g, or take fewer rows");
            }
            all.add(row);
        }, progress);
        return new Dataset(all, summary);
    }

    /** As {@link #read(Path, Options, Progress)}, one row after the other, for files that memory does not hold. */
    public static DatasetSummary read(Path file, Options options, Consumer<Row> sink, Progress progress) {
        if (Files.isDirectory(file)) {
            throw new PanaceaException(file + " is a folder; a file of rows is needed (JSON Lines, JSON or CSV)");
        }
        if (!Files.exists(file)) {
            throw new PanaceaException("there is no data file " + file);
        }
        if (!Files.isRegularFile(file)) {
            throw new PanaceaException(file + " is a pipe or a device; it is read twice, so a file is needed");
        }
        DatasetReader reader = new DatasetReader(file, options, sink, progress);
        try {
            return reader.read();
        } catch (BadData e) {
            throw new PanaceaException(file + e.getMessage(), e);
        } catch (CharacterCodingException e) {
            throw new PanaceaException(file + ", after row " + reader.count + ": not in the encoding that it is said to be in (" + reader.options.encoding.map(Charset::displayName)
                    .orElse("changed while it was read") + ")", e);
        } catch (IOException e) {
            throw new PanaceaException("cannot read " + file + ": " + e.getMessage(), e);
        }
    }

    private DatasetSummary read() throws IOException {
        size = Math.max(1, Files.size(file));
        TextEncoding encoding = TextEncoding.of(file, options.encoding);
        encoding.note().ifPresent(notes::add);
        String form;
        try (InputStream bytes = new Counted(Files.newInputStream(file)); BufferedReader in = new BufferedReader(encoding.reader(bytes), 1 << 16)) {
            form = read(in);
        }
        maybeMissing.forEach((what, seen) -> note(what + " is taken as text, " + seen + ", though programs write that where a value is missing"));
        if (lost.rows > 0) {
            note("characters were lost before (\"\uFFFD\" or half of a surrogate pair stands for them), " + lost);
        }
        if (count == 0) {
            throw new BadData("", "there are no rows in it");
        }
        return new DatasetSummary(form, encoding.displayName(), count, used, List.copyOf(unused), List.copyOf(notes));
    }

    /** Reads all rows; the result says in which form they are. */
    private String read(BufferedReader in) throws IOException {
        in.mark(SAMPLE + 1);
        char[] start = new char[SAMPLE];
        int n = 0;
        for (int k; n < SAMPLE && (k = in.read(start, n, SAMPLE - n)) > 0;) {
            n += k;
        }
        int marks = 0;
        while (marks < n && start[marks] == RowColumns.BYTE_ORDER_MARK) {
            marks++;
        }
        String sample = new String(start, marks, n - marks);
        in.reset();
        in.skip(marks);
        if (sample.isBlank()) {
            if (n == SAMPLE) {
                throw new BadData("", "it begins with " + SAMPLE + " blank characters; is it damaged?");
            }
            return "";
        }
        char first = sample.stripLeading().charAt(0);
        JsonValues json = new JsonValues(maxRow);
        if (first == '{' || first == '[') {
            RowParser parser = new RowParser(json, options.columns, false, this::note);
            JsonRows rows = new JsonRows(in, json, this::isRow, (row, place) -> accept(parser, row, place));
            rows.read();
            rows.besideRows().forEach(unused::add);
            return rows.form();
        }
        OptionalInt separator = options.separator.map(c -> OptionalInt.of(c)).orElse(OptionalInt.empty());
        CsvRows rows = new CsvRows(in, sample, n < SAMPLE, separator, options.columns, maxRow, this::note);
        RowParser parser = new RowParser(json, rows.wanted(), true, this::note);
        rows.read((row, place) -> {
            json.begin();
            try {
                accept(parser, row, place);
            } catch (BadRow e) {
                throw new BadData(place, "the row " + e.getMessage(), e);
            }
        });
        return rows.form();
    }

    private boolean isRow(Set<String> names) {
        return RowParser.understands(names) || !options.columns.isEmpty() && names.containsAll(options.columns.values());
    }

    private void note(String sentence) {
        if (notes.size() < MOST_NAMES) {
            notes.add(sentence);
        }
    }

    private void accept(RowParser parser, Object row, String place) {
        if (++count > MAX_ROWS) {
            throw new BadData(place, "more than " + MAX_ROWS + " rows");
        }
        if (!(row instanceof Map<?, ?> columns)) {
            throw new BadRow("is not a JSON object with columns but " + RowColumns.kind(row));
        }
        Example example = parser.parse(columns, parsed -> remember(parsed, place));
        if (LostCharacters.in(example)) {
            lost.at(place);
        }
        sink.accept(new Row(file + ", " + place, example));
        if (count % PROGRESS_ROWS == 0) {
            progress.read(count, Math.min(1, (double) bytesRead / size));
        }
    }

    private void remember(RowColumns row, String place) {
        row.maybeMissing().forEach((name, text) -> {
            String what = "\"" + text + "\" in '" + name + "'";
            if (maybeMissing.size() < MOST_NAMES || maybeMissing.containsKey(what)) {
                maybeMissing.computeIfAbsent(what, w -> new Seen()).at(place);
            }
        });
        row.used().forEach((name, meaning) -> {
            if (used.size() < MOST_NAMES) {
                used.putIfAbsent(name, meaning);
            }
        });
        for (String name : row.unused()) {
            if (unused.size() < MOST_NAMES) {
                unused.add(name);
            }
        }
    }

    /** How often something is in the file, and where first. */
    private static final class Seen {
        private String first;
        private long rows;

        void at(String place) {
            first = rows++ == 0 ? place : first;
        }

        @Override
        public String toString() {
            return "in " + (rows == 1 ? first : rows + " rows, first in " + first);
        }
    }

    /** Counts the bytes read, for the progress. */
    private final class Counted extends FilterInputStream {
        Counted(InputStream in) {
            super(in);
        }

        @Override
        public int read() throws IOException {
            int b = super.read();
            bytesRead += b < 0 ? 0 : 1;
            return b;
        }

        @Override
        public int read(byte[] bytes, int from, int length) throws IOException {
            int n = super.read(bytes, from, length);
            bytesRead += Math.max(0, n);
            return n;
        }
    }
}
