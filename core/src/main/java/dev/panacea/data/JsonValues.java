package dev.panacea.data;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParseException;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.exc.StreamConstraintsException;
import com.fasterxml.jackson.core.json.JsonReadFeature;
import dev.panacea.io.JsonErrors;
import java.io.IOException;
import java.io.Reader;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** JSON values as maps, lists, strings, numbers, truth values and null; a row of them may take only so much memory, however it spends it. */
final class JsonValues {
    /** What a value costs beside its characters, in bytes: an entry of a map, a string's or a list's own fields. */
    private static final int VALUE_COST = 64;
    private static final int DEEPEST = 100;

    private final JsonFactory factory;
    private final long maxRow;
    private long cost;

    /** @param maxRow bytes that a row may take, about */
    JsonValues(long maxRow) {
        this.maxRow = maxRow;
        StreamReadConstraints limits = StreamReadConstraints.builder().maxStringLength((int) maxRow).maxNestingDepth(DEEPEST).maxNumberLength(100).maxNameLength(1000).build();
        // Names of strangers are not kept for ever, as interned strings would be. Python writes NaN.
        factory = JsonFactory.builder().disable(JsonFactory.Feature.INTERN_FIELD_NAMES).disable(JsonFactory.Feature.CANONICALIZE_FIELD_NAMES)
                .enable(JsonReadFeature.ALLOW_NON_NUMERIC_NUMBERS).streamReadConstraints(limits).build();
    }

    JsonParser parser(Reader in) throws IOException {
        return factory.createParser(in);
    }

    /** Begins a row: nothing is spent yet. */
    void begin() {
        cost = 0;
    }

    /**
     * The JSON inside a text of the row.
     *
     * @throws JsonProcessingException when it is none
     */
    Object parse(String text) throws JsonProcessingException {
        try (JsonParser parser = factory.createParser(text)) {
            if (parser.nextToken() == null) {
                return null;
            }
            Object value = value(parser);
            if (parser.nextToken() != null) {
                throw new JsonParseException(parser, "something follows the value");
            }
            return value;
        } catch (JsonProcessingException e) {
            throw e;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /**
     * The value that begins with the parser's present token, which is NaN as null.
     *
     * @throws BadRow when it is too much, or names something twice
     */
    Object value(JsonParser parser) throws IOException {
        spend(VALUE_COST);
        return switch (parser.currentToken()) {
            case START_OBJECT -> object(parser);
            case START_ARRAY -> list(parser, parser.nextToken());
            case VALUE_STRING -> {
                String text = parser.getText();
                spend(text.length());
                yield text;
            }
            case VALUE_NUMBER_INT -> parser.getNumberValue();
            case VALUE_NUMBER_FLOAT -> Double.isNaN(parser.getDoubleValue()) ? null : (Object) parser.getDoubleValue();
            case VALUE_TRUE -> true;
            case VALUE_FALSE -> false;
            case VALUE_NULL -> null;
            default -> throw new JsonParseException(parser, "a value is missing");
        };
    }

    private Map<String, Object> object(JsonParser parser) throws IOException {
        Map<String, Object> object = new LinkedHashMap<>();
        while (parser.nextToken() != JsonToken.END_OBJECT) {
            String name = parser.currentName();
            parser.nextToken();
            put(object, name, value(parser));
        }
        return object;
    }

    /** Puts an entry into an object that is read piece by piece. */
    void put(Map<String, Object> object, String name, Object value) {
        spend(name.length());
        if (object.containsKey(name)) {
            throw new BadRow("is not valid JSON: duplicate name '" + RowParser.shortened(name) + "' in an object");
        }
        object.put(name, value);
    }

    /** The list whose first element, or end, is this token. */
    List<Object> list(JsonParser parser, JsonToken first) throws IOException {
        List<Object> list = new ArrayList<>(2);
        for (JsonToken t = first; t != JsonToken.END_ARRAY; t = parser.nextToken()) {
            list.add(value(parser));
        }
        return list;
    }

    private void spend(long bytes) {
        cost += bytes;
        if (cost > maxRow) {
            throw new BadRow(tooLong());
        }
    }

    private String tooLong() {
        return "is longer than " + maxRow + " bytes, the most that is read with this much memory for Java; split it or leave it out";
    }

    /** What is wrong with broken JSON, in words for a person, to follow "the row". */
    String problem(JsonProcessingException e) {
        if (e instanceof StreamConstraintsException) {
            return e.getMessage().contains("nesting") ? "is nested more than " + DEEPEST + " levels deep" : e.getMessage().contains("String value") ? tooLong()
                    : "is not read: " + JsonErrors.reason(e);
        }
        boolean python = e.getMessage().contains("''' (code 39)");
        return "is not valid JSON: " + JsonErrors.reason(e) + (python ? "; is it written by Python's print or str()? json.dumps writes JSON" : "");
    }
}
