package dev.panacea.data;

import java.io.IOException;
import java.io.Reader;
import java.util.ArrayList;
import java.util.List;

/** The records of CSV one after the other, whatever its line ends. Blank lines are passed over; line ends inside quotes belong to the value. */
final class CsvRecords {
    /** What DOS ended a text with, and some programs still do. */
    private static final String END_OF_FILE = "\u001A";

    private final Reader in;
    private final CsvDialect dialect;
    private final int mostValues;
    private final long maxCharacters;
    private final char[] buffer = new char[1 << 14];
    private int at;
    private int filled;
    private int line;
    private int recordLine;
    private long recordEnd;
    private long read;

    /**
     * @param firstLine the number of the line at which {@code in} stands
     * @param mostValues of a record
     * @param maxCharacters longest record
     */
    CsvRecords(Reader in, CsvDialect dialect, int firstLine, int mostValues, long maxCharacters) {
        this.in = in;
        this.dialect = dialect;
        this.line = firstLine;
        this.mostValues = mostValues;
        this.maxCharacters = maxCharacters;
    }

    /** The line in which the last record begins. */
    int line() {
        return recordLine;
    }

    /** Whether all has been read. */
    boolean ended() throws IOException {
        return peek() < 0;
    }

    /**
     * The values of the next record; null at the end.
     *
     * @throws BadData when quotes are not as they should be, or a record is too long
     */
    List<String> next() throws IOException {
        while (peek() >= 0) {
            recordLine = line;
            recordEnd = read + maxCharacters;
            List<String> values = record();
            if (values.size() > 1 || !values.getFirst().isBlank() && !(values.getFirst().equals(END_OF_FILE) && ended())) {
                return values;
            }
        }
        return null;
    }

    private List<String> record() throws IOException {
        List<String> values = new ArrayList<>();
        StringBuilder value = new StringBuilder();
        boolean quoted = false;
        while (true) {
            int c = read();
            if (c < 0 || c == '\n' || c == '\r' || c == dialect.separator()) {
                if (values.size() == mostValues) {
                    throw new BadData("line " + recordLine, "more than " + mostValues + " values in a row");
                }
                values.add(value.toString());
                if (c != dialect.separator()) {
                    if (c == '\r' && peek() == '\n') {
                        read();
                    }
                    return values;
                }
                value.setLength(0);
                quoted = false;
            } else if (c == '"' && dialect.quoting() != CsvDialect.Quoting.NONE && !quoted && isSpaces(value)) {
                value.setLength(0);
                quotedValue(value);
                quoted = true;
            } else if (!quoted) {
                value.append((char) c);
            } else if (c != ' ') {
                throw new BadData("line " + line, "text follows a closing quote; a quote inside a quoted value must be doubled (\"\")");
            }
        }
    }

    private void quotedValue(StringBuilder value) throws IOException {
        int opened = line;
        while (true) {
            int c = read();
            if (c < 0) {
                throw new BadData("line " + opened, "a quote opens here and is never closed");
            }
            if (c == '\\' && dialect.quoting() == CsvDialect.Quoting.BACKSLASH && (peek() == '"' || peek() == '\\')) {
                value.append((char) read());
            } else if (c != '"') {
                value.append((char) c);
            } else if (peek() == '"') {
                value.append((char) read());
            } else {
                return;
            }
        }
    }

    private static boolean isSpaces(StringBuilder value) {
        for (int i = 0; i < value.length(); i++) {
            if (value.charAt(i) != ' ') {
                return false;
            }
        }
        return true;
    }

    private int peek() throws IOException {
        if (at == filled) {
            filled = Math.max(0, in.read(buffer));
            at = 0;
        }
        return at == filled ? -1 : buffer[at];
    }

    private int read() throws IOException {
        int c = peek();
        if (c < 0) {
            return c;
        }
        at++;
        if (read++ > recordEnd) {
            throw new BadData("line " + recordLine, "the row that begins here is longer than " + maxCharacters + " characters; is a quote never closed?");
        }
        if (c == '\n' || c == '\r' && peek() != '\n') {
            line++;
        }
        return c;
    }
}
