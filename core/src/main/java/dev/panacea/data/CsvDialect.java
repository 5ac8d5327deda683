package dev.panacea.data;

import java.io.IOException;
import java.io.StringReader;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.function.Predicate;

/** How a CSV file separates and quotes its values. */
record CsvDialect(char separator, Quoting quoting) {
    private static final String SEPARATORS = ",;\t|";
    private static final int SAMPLED_RECORDS = 500;

    /** How a quote inside a quoted value is written; {@code NONE} where quotes are characters like others, as in many TSV files. */
    enum Quoting { DOUBLED, BACKSLASH, NONE }

    /**
     * The dialect under which the beginning of a file makes most sense: a header that is understood, then rows of as many values as the header.
     *
     * @param sample the first characters
     * @param whole whether that is all of the file
     * @param separator the separator, if known
     * @param understood whether a header is understood
     */
    static CsvDialect of(String sample, boolean whole, OptionalInt separator, Predicate<List<String>> understood) {
        CsvDialect best = null;
        double most = -1;
        String separators = separator.isPresent() ? String.valueOf((char) separator.getAsInt()) : SEPARATORS;
        for (Quoting quoting : Quoting.values()) {
            for (char s : separators.toCharArray()) {
                CsvDialect dialect = new CsvDialect(s, quoting);
                double score = dialect.score(sample, whole, understood);
                if ((quoting != Quoting.NONE || s == '\t') && score > most) {
                    best = dialect;
                    most = score;
                }
            }
        }
        return best;
    }

    private double score(String sample, boolean whole, Predicate<List<String>> understood) {
        Sample s = sample(sample, whole);
        if (s.records.isEmpty()) {
            return 0;
        }
        int columns = s.records.getFirst().size();
        double even = (double) s.records.stream().filter(r -> r.size() == columns).count() / s.records.size();
        return (understood.test(s.records.getFirst()) ? 8 : 0) + (columns > 1 ? 4 : 1) * even + Math.min(columns, 20) * 0.01 + (s.fault.isPresent() ? 0 : 2);
    }

    /** The first records of a file, as far as they can be read. */
    private record Sample(List<List<String>> records, Optional<BadData> fault) {}

    private Sample sample(String text, boolean whole) {
        List<List<String>> records = new ArrayList<>();
        CsvRecords in = new CsvRecords(new StringReader(text), this, 1, Integer.MAX_VALUE, Long.MAX_VALUE / 2);
        try {
            return new Sample(records, readInto(records, in, whole));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Reads records as far as the sample and its faults let them; a quote that the end of the sample leaves open is no fault. */
    private static Optional<BadData> readInto(List<List<String>> records, CsvRecords in, boolean whole) throws IOException {
        try {
            List<String> record;
            while (records.size() < SAMPLED_RECORDS && (record = in.next()) != null) {
                records.add(record);
            }
            if (!whole && records.size() > 1 && records.size() < SAMPLED_RECORDS) {
                records.removeLast();
            }
            return Optional.empty();
        } catch (BadData e) {
            return !whole && in.ended() ? Optional.empty() : Optional.of(e);
        }
    }

    /** The first records of a file. */
    List<List<String>> firstRecords(String sample, boolean whole) {
        return sample(sample, whole).records;
    }

    /** For people: {@code ';'}, {@code a tab}. */
    String separatorName() {
        return separator == '\t' ? "a tab" : "'" + separator + "'";
    }

    /** For people: {@code CSV with ';'}. */
    String displayName() {
        return separator == '\t' ? "tab-separated values" + (quoting == Quoting.NONE ? ", quotes as characters" : "")
                : "CSV with '" + separator + "'" + (quoting == Quoting.BACKSLASH ? ", quotes escaped by \\" : "");
    }
}
