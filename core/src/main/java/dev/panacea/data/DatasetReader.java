package dev.panacea.data;

import com.fasterxml.jackson.core.JsonLocation;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.MappingIterator;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.dataformat.csv.CsvFactory;
import com.fasterxml.jackson.dataformat.csv.CsvMapper;
import com.fasterxml.jackson.dataformat.csv.CsvParser;
import com.fasterxml.jackson.dataformat.csv.CsvSchema;
import dev.panacea.io.JsonErrors;
import dev.panacea.kernels.PanaceaException;
import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.Reader;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Consumer;

/**
 * Reads data sets: JSON Lines, a JSON array, CSV or TSV with a header line, all in UTF-8. The columns say what a row is; see
 * {@link RowParser#UNDERSTOOD}. Every row must be understood: the first that is not is an error with file and place.
 */
public final class DatasetReader {
    /** Longest row in bytes (JSON Lines) and longest text in characters. */
    static final int MAX_ROW = 16 << 20;
    private static final int MAX_ROWS = 50_000_000;

    private static final StreamReadConstraints LIMITS = StreamReadConstraints.builder().maxStringLength(MAX_ROW).maxNestingDepth(50).maxNumberLength(100)
            .maxNameLength(1000).build();

    private final Path file;
    private final Consumer<Row> sink;
    private final JsonMapper json;
    private final RowParser rows;
    private int count;

    private DatasetReader(Path file, Consumer<Row> sink) {
        this.file = file;
        this.sink = sink;
        json = JsonMapper.builder().enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION).build();
        json.getFactory().setStreamReadConstraints(LIMITS);
        rows = new RowParser(json);
    }

    /**
     * All rows of a file.
     *
     * @throws PanaceaException when the file is missing, empty, not UTF-8 or not of these formats, or a row is not understood
     */
    public static List<Row> read(Path file) {
        List<Row> all = new ArrayList<>();
        read(file, all::add);
        return all;
    }

    /** As {@link #read(Path)}, one row after the other, for files that memory does not hold. */
    public static void read(Path file, Consumer<Row> sink) {
        if (!Files.isRegularFile(file)) {
            throw new PanaceaException("there is no data file " + file);
        }
        DatasetReader reader = new DatasetReader(file, sink);
        try (InputStream in = new BufferedInputStream(Files.newInputStream(file), 1 << 16)) {
            reader.read(in);
        } catch (IOException e) {
            throw new PanaceaException("cannot read " + file + ": " + e.getMessage(), e);
        }
        if (reader.count == 0) {
            throw new PanaceaException(file + " has no rows");
        }
    }

    private void read(InputStream in) throws IOException {
        skipByteOrderMark(in);
        String name = file.getFileName().toString().toLowerCase(Locale.ROOT);
        if (name.endsWith(".csv") || name.endsWith(".tsv")) {
            if (firstCharacter(in, " \r\n") >= 0) {
                readCsv(in, name.endsWith(".tsv") ? '\t' : ',');
            }
            return;
        }
        int first = firstCharacter(in, " \t\r\n");
        if (first == '[') {
            readArray(in);
        } else if (first == '{') {
            readLines(in);
        } else if (first >= 0) {
            throw new PanaceaException(file + " begins with neither '{' (JSON Lines) nor '[' (JSON); is it CSV? Then its name must end in .csv or .tsv");
        }
    }

    private void skipByteOrderMark(InputStream in) throws IOException {
        in.mark(3);
        byte[] start = in.readNBytes(3);
        if (start.length >= 2 && ((start[0] & 0xFF) == 0xFF && (start[1] & 0xFF) == 0xFE || (start[0] & 0xFF) == 0xFE && (start[1] & 0xFF) == 0xFF)) {
            throw new PanaceaException(file + " is UTF-16; save it as UTF-8");
        }
        boolean mark = start.length == 3 && (start[0] & 0xFF) == 0xEF && (start[1] & 0xFF) == 0xBB && (start[2] & 0xFF) == 0xBF;
        if (!mark) {
            in.reset();
        }
    }

    /** The first byte that is not to be skipped, which stays in the stream; -1 for none. */
    private static int firstCharacter(InputStream in, String skipped) throws IOException {
        while (true) {
            in.mark(1);
            int c = in.read();
            if (c < 0 || skipped.indexOf(c) < 0) {
                in.reset();
                return c;
            }
        }
    }

    private void readLines(InputStream in) throws IOException {
        ByteArrayOutputStream line = new ByteArrayOutputStream();
        byte[] buffer = new byte[1 << 16];
        int number = 1;
        int n;
        while ((n = in.read(buffer)) >= 0) {
            int start = 0;
            for (int i = 0; i <= n; i++) {
                if (i < n && buffer[i] != '\n') {
                    continue;
                }
                if (line.size() + i - start > MAX_ROW) {
                    throw new PanaceaException(file + ", line " + number + ": longer than " + MAX_ROW + " bytes");
                }
                line.write(buffer, start, i - start);
                start = i + 1;
                if (i < n) {
                    readLine(line.toByteArray(), number++);
                    line.reset();
                }
            }
        }
        readLine(line.toByteArray(), number);
    }

    private void readLine(byte[] bytes, int number) {
        String place = "line " + number;
        String text;
        try {
            text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
        } catch (CharacterCodingException e) {
            throw new PanaceaException(file + ", " + place + ": not UTF-8; save the file as UTF-8", e);
        }
        if (text.isBlank()) {
            return;
        }
        try (JsonParser parser = json.createParser(text)) {
            JsonNode row = json.readTree(parser);
            if (parser.nextToken() != null) {
                throw new PanaceaException(file + ", " + place + ": more than one JSON value");
            }
            accept(row, place);
        } catch (JsonProcessingException e) {
            throw new PanaceaException(file + ", " + place + ": not valid JSON (every line of JSON Lines must be an object of its own): " + JsonErrors.reason(e), e);
        } catch (IOException e) {
            throw new PanaceaException(file + ", " + place + ": " + e.getMessage(), e);
        }
    }

    private Reader utf8(InputStream in) {
        return new InputStreamReader(in, StandardCharsets.UTF_8.newDecoder());
    }

    private void readArray(InputStream in) throws IOException {
        try (JsonParser parser = json.createParser(utf8(in))) {
            parser.nextToken();
            while (parser.nextToken() != JsonToken.END_ARRAY) {
                String place = "row " + (count + 1) + " (line " + parser.currentTokenLocation().getLineNr() + ")";
                JsonNode row = json.readTree(parser);
                if (row == null) {
                    throw new PanaceaException(file + ": the file ends before its JSON array does, after row " + count);
                }
                accept(row, place);
            }
            if (parser.nextToken() != null) {
                throw new PanaceaException(file + ": there is something after the end of the JSON array in line " + parser.currentTokenLocation().getLineNr());
            }
        } catch (JsonProcessingException e) {
            throw new PanaceaException(file + ", after row " + count + line(e.getLocation()) + ": not valid JSON: " + JsonErrors.reason(e), e);
        } catch (CharacterCodingException e) {
            throw new PanaceaException(file + ", after row " + count + ": not UTF-8; save the file as UTF-8", e);
        }
    }

    private void readCsv(InputStream in, char separator) throws IOException {
        CsvFactory factory = new CsvFactory();
        factory.setStreamReadConstraints(LIMITS);
        CsvMapper csv = CsvMapper.builder(factory).enable(CsvParser.Feature.FAIL_ON_MISSING_COLUMNS).enable(CsvParser.Feature.SKIP_EMPTY_LINES)
                .build();
        CsvSchema schema = CsvSchema.emptySchema().withHeader().withColumnSeparator(separator);
        try (MappingIterator<Map<String, String>> rowsOfFile = csv.readerForMapOf(String.class).with(schema).readValues(utf8(in))) {
            while (rowsOfFile.hasNextValue()) {
                Map<String, String> row = rowsOfFile.nextValue();
                JsonLocation end = rowsOfFile.getCurrentLocation();
                accept(json.valueToTree(row), "row " + (count + 1) + " (it ends in line " + Math.max(2, end.getLineNr() - (end.getColumnNr() <= 1 ? 1 : 0)) + ")");
            }
        } catch (JsonProcessingException e) {
            throw new PanaceaException(file + ", after row " + count + line(e.getLocation()) + ": not valid CSV: " + JsonErrors.reason(e), e);
        } catch (CharacterCodingException e) {
            throw new PanaceaException(file + ", after row " + count + ": not UTF-8; save the file as UTF-8", e);
        }
    }

    private static String line(JsonLocation location) {
        return location == null || location.getLineNr() < 1 ? "" : " (line " + location.getLineNr() + ")";
    }

    private void accept(JsonNode row, String place) {
        if (++count > MAX_ROWS) {
            throw new PanaceaException(file + " has more than " + MAX_ROWS + " rows");
        }
        try {
            sink.accept(new Row(file + ", " + place, rows.parse(row)));
        } catch (RowParser.BadRow e) {
            throw new PanaceaException(file + ", " + place + ": the row " + e.getMessage(), e);
        }
    }
}
