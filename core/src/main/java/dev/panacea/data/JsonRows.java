package dev.panacea.data;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.io.Reader;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.function.BiConsumer;
import java.util.function.Predicate;

/**
 * The rows of JSON: one value after the other (JSON Lines, whatever its line ends, and objects over several lines), an array, an object that holds
 * the array under a name such as {@code data}, or an object of rows by number.
 */
final class JsonRows {
    private static final Set<String> CONTAINERS = Set.of("data", "rows", "train", "training", "train_data", "examples", "items", "records", "samples", "dataset", "instances",
            "entries");


    private final Reader in;
    private final JsonValues values;
    private final Predicate<Set<String>> understood;
    private final BiConsumer<Object, String> sink;
    private final List<String> besideRows = new ArrayList<>();
    private String form = "JSON Lines";
    private String place = "";
    private int count;

    /**
     * @param values reads the values
     * @param understood whether an object with these names is a row
     * @param sink is given each row, as maps, lists, strings, numbers, truth values and null, and its place
     */
    JsonRows(Reader in, JsonValues values, Predicate<Set<String>> understood, BiConsumer<Object, String> sink) {
        this.in = in;
        this.values = values;
        this.understood = understood;
        this.sink = sink;
    }

    /** For people: {@code JSON Lines}, {@code JSON}, {@code JSON, the rows in 'data'}. */
    String form() {
        return form;
    }

    /** Names beside the one that holds the rows. */
    List<String> besideRows() {
        return besideRows;
    }

    /** Reads all rows. */
    void read() throws IOException {
        try (JsonParser parser = values.parser(in)) {
            JsonToken first = parser.nextToken();
            if (first == JsonToken.START_ARRAY) {
                form = "JSON";
                array(parser, parser.nextToken());
                end(parser);
            } else if (first == JsonToken.START_OBJECT && holder(parser)) {
                end(parser);
            } else {
                lines(parser);
            }
        } catch (BadRow e) {
            throw new BadData(place, "the row " + e.getMessage(), e);
        } catch (JsonProcessingException e) {
            throw new BadData(place, (place.startsWith("after") ? "what follows " : "the row ") + values.problem(e) + where(e), e);
        }
    }

    private static String where(JsonProcessingException e) {
        return e.getLocation() == null || e.getLocation().getLineNr() < 1 ? "" : " (line " + e.getLocation().getLineNr() + ", column " + e.getLocation().getColumnNr() + ")";
    }

    // ---- the forms ---------------------------------------------------------------------------------------------------

    /** After the first token: all the values to the end. The first of them may have been read already. */
    private void lines(JsonParser parser) throws IOException {
        while (parser.currentToken() != null) {
            begin(parser, "line ");
            deliver(values.value(parser));
            parser.nextToken();
        }
    }

    /** The rows of an array from this token on, to its end. */
    private void array(JsonParser parser, JsonToken token) throws IOException {
        for (JsonToken t = token; t != JsonToken.END_ARRAY; t = parser.nextToken()) {
            begin(parser, "row " + (count + 1) + " (line ");
            deliver(values.value(parser));
        }
    }

    private void end(JsonParser parser) throws IOException {
        if (parser.nextToken() != null) {
            throw new BadData("", "there is something after the end of the JSON " + (form.equals("JSON") ? "array" : "object") + ", in line "
                    + parser.currentTokenLocation().getLineNr());
        }
    }

    /**
     * Reads the first object, which may be a row, or hold the rows.
     *
     * @return false when it was a row: it is delivered then, and the parser stands behind it
     */
    private boolean holder(JsonParser parser) throws IOException {
        begin(parser, "line ");
        Map<String, Object> row = new LinkedHashMap<>();
        while (parser.nextToken() != JsonToken.END_OBJECT) {
            String name = parser.currentName();
            JsonToken token = parser.nextToken();
            if (token == JsonToken.START_OBJECT && row.isEmpty() && isNumber(name)) {
                keyed(parser);
                return true;
            }
            Object value;
            if (token == JsonToken.START_ARRAY && CONTAINERS.contains(name.toLowerCase(Locale.ROOT)) && !understood.test(row.keySet())) {
                JsonToken inner = parser.nextToken();
                if (inner == JsonToken.START_OBJECT || inner == JsonToken.END_ARRAY) {
                    form = "JSON, the rows in '" + name + "'";
                    besideRows.addAll(row.keySet());
                    array(parser, inner);
                    skipRest(parser);
                    return true;
                }
                value = values.list(parser, inner);
            } else {
                value = values.value(parser);
            }
            values.put(row, name, value);
        }
        deliver(row);
        parser.nextToken();
        return false;
    }

    /** Rows by number, as pandas writes them with orient="index", and PubMedQA comes. */
    private void keyed(JsonParser parser) throws IOException {
        form = "JSON, rows by number";
        JsonToken token = JsonToken.FIELD_NAME;
        for (; token == JsonToken.FIELD_NAME; token = parser.nextToken()) {
            if (count > 0) {
                parser.nextToken();
            }
            begin(parser, "row " + (count + 1) + " (line ");
            deliver(values.value(parser));
        }
    }

    private void skipRest(JsonParser parser) throws IOException {
        while (parser.nextToken() == JsonToken.FIELD_NAME) {
            if (besideRows.size() < 20) {
                besideRows.add(parser.currentName());
            }
            parser.nextToken();
            parser.skipChildren();
        }
    }

    private static boolean isNumber(String name) {
        return !name.isEmpty() && name.length() < 20 && name.chars().allMatch(c -> c >= '0' && c <= '9');
    }

    private void begin(JsonParser parser, String prefix) {
        place = prefix + parser.currentTokenLocation().getLineNr() + (prefix.endsWith("(line ") ? ")" : "");
        values.begin();
    }

    private void deliver(Object row) {
        count++;
        sink.accept(row, place);
        place = "after " + place;
    }
}
