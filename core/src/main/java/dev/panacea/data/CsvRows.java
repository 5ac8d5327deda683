package dev.panacea.data;

import java.io.BufferedReader;
import java.io.IOException;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.Set;
import java.util.function.BiConsumer;
import java.util.function.Consumer;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.IntStream;

/**
 * The rows of CSV: separator, quotes and header are found out from the beginning of the file. The first line is the header if its names are
 * understood, or look like names. Without a header the columns go by number, and of two the first is the question.
 */
final class CsvRows {
    /** Excel's own line that says how values are separated. */
    private static final Pattern SEPARATOR_LINE = Pattern.compile("\\A\"?sep=(.)\"?[ ,;\\t]*(\\r\\n|\\n|\\r)", Pattern.CASE_INSENSITIVE);
    /** The line that is drawn under the header of a table. */
    private static final Pattern RULE = Pattern.compile("(?=.*[|+])(?=.*--)[|+:\\-\\s]+");
    private static final int MOST_VALUES = 10_000;
    private static final int LONGEST_NAME = 40;
    private static final int MOST_WORDS = 4;

    private final List<String> names = new ArrayList<>();
    private final Map<String, String> wanted;
    private final CsvRecords records;
    private final CsvDialect dialect;

    /**
     * Finds the dialect and the header.
     *
     * @param in stands at the beginning, where {@code sample} was read
     * @param sample the first characters
     * @param whole whether that is all of the file
     * @param separator as the user says, if he does
     * @param wanted the columns to take, by what they mean, by name or number; empty to take each by its name
     * @param maxRow characters
     * @param note is told of a missing header
     * @throws BadData when there is no header and no way without
     */
    CsvRows(BufferedReader in, String sample, boolean whole, OptionalInt separator, Map<String, String> wanted, long maxRow, Consumer<String> note) throws IOException {
        refuseDrawnTables(sample);
        Matcher line = SEPARATOR_LINE.matcher(sample);
        boolean said = line.find();
        String rest = said ? sample.substring(line.end()) : sample;
        dialect = CsvDialect.of(rest, whole, separator.isPresent() || !said ? separator : OptionalInt.of(line.group(1).charAt(0)), header -> isKnown(header, wanted));
        in.skip(said ? line.end() : 0);
        records = new CsvRecords(in, dialect, said ? 2 : 1, MOST_VALUES, maxRow);
        List<List<String>> first = dialect.firstRecords(rest, whole);
        this.wanted = header(first, wanted, note);
    }

    /** Tables for the eye, as Markdown, psql and mysql have them: the line under the header would be a row, and the blanks around a value part of it. */
    private static void refuseDrawnTables(String sample) {
        if (sample.lines().limit(2).anyMatch(line -> RULE.matcher(line).matches())) {
            throw new BadData("", "a table drawn with lines of dashes (Markdown, or printed by a database's shell), which is not read; write it as CSV");
        }
    }

    /** For people: {@code CSV with ';'}. */
    String form() {
        return names.size() == 1 ? "CSV with a single column" : dialect.displayName();
    }

    /** The columns to take, by what they mean, now by name. */
    Map<String, String> wanted() {
        return wanted;
    }

    private static boolean isKnown(List<String> header, Map<String, String> wanted) {
        return wanted.isEmpty() ? RowParser.understands(header) : header.stream().map(RowColumns::normalized).toList()
                .containsAll(wanted.values().stream().map(RowColumns::normalized).toList());
    }

    private Map<String, String> header(List<List<String>> first, Map<String, String> asked, Consumer<String> note) throws IOException {
        if (first.isEmpty()) {
            // Reading on will say what is wrong.
            return asked;
        }
        List<String> start = first.getFirst();
        boolean known = isKnown(start, asked);
        boolean header = known || isHeader(first);
        for (int i = 0; i < start.size(); i++) {
            String number = Integer.toString(i + 1);
            names.add(!header ? number : RowColumns.stripped(start.get(i)).isEmpty() ? "column " + number : RowColumns.stripped(start.get(i)));
        }
        if (header) {
            records.next();
            tellTwinsApart();
        }
        if (known && hasRowNames(first)) {
            names.addFirst("row");
        }
        boolean numbered = !known && !asked.isEmpty() && asked.values().stream().allMatch(n -> isNumber(n, start.size()));
        if (numbered) {
            if (header) {
                note.accept("the first line, " + shown(start) + ", is taken for the names of the columns");
            }
            Map<String, String> byName = new LinkedHashMap<>();
            asked.forEach((meaning, number) -> byName.put(meaning, names.get(Integer.parseInt(number.strip()) - 1)));
            return byName;
        }
        boolean prose = start.size() == 1 && !RowParser.meanings().contains(RowColumns.normalized(start.getFirst()));
        if (header && (known || !asked.isEmpty() || !prose)) {
            return asked;
        }
        if (!asked.isEmpty()) {
            throw new BadData("", "there is no header line with the names " + RowColumns.list(asked.values()) + ": the first line is " + shown(start)
                    + "; without a header, columns go by number, as in question=1,answer=2");
        }
        if (start.size() == 1) {
            throw new BadData("", "neither JSON nor CSV with a column that is understood: the first line is " + shown(start) + ". Understood are JSON Lines, JSON, and CSV with a header"
                    + " line, with these columns: " + RowParser.UNDERSTOOD);
        }
        if (start.size() != 2) {
            throw new BadData("", "CSV without a header line, it seems, as the first line is " + shown(start) + "; put one before it, such as question" + dialect.separator() + "answer"
                    + ", or say which of the " + start.size() + " columns to take by number, as in question=1,answer=2");
        }
        note.accept("there is no header line: the first column is taken as the question, the second as the answer");
        return Map.of("question", "1", "answer", "2");
    }

    /** R writes a table with the numbers of its rows before the values, and no name above them. */
    private static boolean hasRowNames(List<List<String>> first) {
        return first.size() > 1 && IntStream.range(1, first.size()).allMatch(i -> first.get(i).size() == first.getFirst().size() + 1 && first.get(i).getFirst().equals(Integer.toString(i)));
    }

    private String shown(List<String> record) {
        return "\"" + RowParser.shortened(String.join(String.valueOf(dialect.separator()), record).replaceAll("\\s+", " ")) + "\"";
    }

    /** Of several columns of one name those after the first get their number into the name, unless it matters which is which. */
    private void tellTwinsApart() {
        Set<String> seen = new HashSet<>();
        for (int i = 0; i < names.size(); i++) {
            String name = names.get(i);
            if (seen.add(name)) {
                continue;
            }
            if (RowParser.meanings().contains(RowColumns.normalized(name))) {
                throw new BadData("line " + records.line(), "two columns are named '" + RowParser.shortened(name) + "'; rename one of them");
            }
            names.set(i, name + " (column " + (i + 1) + ")");
        }
    }

    private static boolean isNumber(String text, int most) {
        return text.strip().matches("[1-9]\\d{0,4}") && Integer.parseInt(text.strip()) <= most;
    }

    /** Names are short, and differ from what stands below them. */
    private static boolean isHeader(List<List<String>> first) {
        List<String> start = first.getFirst();
        boolean names = start.stream().allMatch(n -> n.isBlank() || n.strip().length() <= LONGEST_NAME && n.strip().split("\\s+").length <= MOST_WORDS
                && n.chars().anyMatch(Character::isLetter) && !n.strip().matches("(?s).*[.?!:\\n].*"));
        List<String> next = first.size() > 1 ? first.get(1) : List.of();
        boolean alike = !next.isEmpty() && next.size() == start.size() && IntStream.range(0, next.size()).allMatch(i -> pattern(start.get(i)).equals(pattern(next.get(i))));
        return names && !alike;
    }

    private static String pattern(String value) {
        return value.strip().replaceAll("\\d+", "0");
    }

    /** Gives each row, and its place, to the sink; rows without any value are passed over. */
    void read(BiConsumer<Map<String, Object>, String> sink) throws IOException {
        int number = 0;
        List<String> values;
        while ((values = records.next()) != null) {
            if (values.stream().allMatch(String::isBlank)) {
                continue;
            }
            String place = "row " + ++number + " (line " + records.line() + ")";
            if (values.size() < names.size() || values.stream().skip(names.size()).anyMatch(v -> !v.isBlank())) {
                throw new BadData(place, values.size() + (values.size() == 1 ? " value" : " values") + " where " + names.size() + " are expected ("
                        + RowColumns.list(names) + "); a value that contains " + dialect.separatorName() + " must stand in quotes");
            }
            Map<String, Object> row = new LinkedHashMap<>();
            for (int i = 0; i < names.size(); i++) {
                row.put(names.get(i), values.get(i));
            }
            sink.accept(row, place);
        }
    }
}
