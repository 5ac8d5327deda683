package dev.panacea.io;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.core.exc.StreamConstraintsException;
import com.fasterxml.jackson.core.json.JsonWriteFeature;
import com.fasterxml.jackson.core.util.DefaultIndenter;
import com.fasterxml.jackson.core.util.DefaultPrettyPrinter;
import com.fasterxml.jackson.core.util.Separators;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectWriter;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.panacea.kernels.PanaceaException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;

/** JSON read strictly (UTF-8, no key twice, nothing after the end, no more than settings can be) and written as Python's {@code json.dumps(indent=2)} writes it. */
final class JsonFiles {
    /** Values, names and brackets in a file of settings: an index of the largest models has some thousands of them. */
    private static final long MOST_TOKENS = 500_000;
    private static final JsonMapper MAPPER = JsonMapper.builder(JsonFactory.builder().streamReadConstraints(StreamReadConstraints.builder().maxTokenCount(MOST_TOKENS).build()).build())
            .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
            .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
            .build();
    private static final ObjectWriter WRITER = MAPPER.writer(new DefaultPrettyPrinter(Separators.createDefaultInstance()
            .withObjectFieldValueSpacing(Separators.Spacing.AFTER).withObjectEmptySeparator("").withArrayEmptySeparator(""))
            .withObjectIndenter(new DefaultIndenter("  ", "\n")).withArrayIndenter(new DefaultIndenter("  ", "\n")))
            .with(JsonWriteFeature.ESCAPE_NON_ASCII);
    private static final long LARGEST = 16L << 20;
    private static final int LONGEST_SHOWN = 200;

    private JsonFiles() {}

    /** The object that a small file holds. */
    static ObjectNode read(Path file) {
        try (MappedFile mapped = MappedFile.open(file)) {
            if (mapped.size() > LARGEST) {
                throw new PanaceaException(file + " has " + mapped.size() + " bytes; a file of settings has at most " + LARGEST);
            }
            String text = mapped.reading(() -> MappedFile.utf8(mapped.bytes())).orElseThrow(() -> new PanaceaException(file + " is not UTF-8 text; download or save it again"));
            return parse(text, file.toString());
        }
    }

    /** The object in a text; {@code what} names it in errors. */
    static ObjectNode parse(String text, String what) {
        try {
            JsonNode node = MAPPER.readTree(text);
            if (node instanceof ObjectNode object) {
                return object;
            }
            throw new PanaceaException(what + ": a JSON object is expected");
        } catch (JsonProcessingException e) {
            throw invalid(what, e);
        }
    }

    /** A strict parser over a text, which it follows as far as {@link #MOST_TOKENS}. */
    static JsonParser parser(String text) throws IOException {
        return MAPPER.createParser(text);
    }

    static PanaceaException invalid(String what, JsonProcessingException e) {
        String where = e.getLocation() == null ? "" : " (line " + e.getLocation().getLineNr() + ", column " + e.getLocation().getColumnNr() + ")";
        if (e instanceof StreamConstraintsException) {
            return new PanaceaException(what + ": more than such a file can hold" + where + ": " + JsonErrors.reason(e) + ". It is not what its name says, or is damaged: download it again", e);
        }
        return new PanaceaException(what + ": not valid JSON" + where + ": " + JsonErrors.reason(e) + ". Download or save it again", e);
    }

    /** A value for a message: its beginning, where it is long. */
    static String shown(JsonNode value) {
        String text = value.isMissingNode() ? "missing" : value.toString();
        return text.length() <= LONGEST_SHOWN ? text : text.substring(0, LONGEST_SHOWN) + "...";
    }

    static String pretty(JsonNode node) {
        try {
            return WRITER.writeValueAsString(node);
        } catch (JsonProcessingException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** A text as a JSON string, with its quotation marks. */
    static String quote(String text) {
        try {
            return MAPPER.writeValueAsString(text);
        } catch (JsonProcessingException e) {
            throw new UncheckedIOException(e);
        }
    }

    static ObjectNode object() {
        return MAPPER.createObjectNode();
    }
}
