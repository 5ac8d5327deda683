package dev.panacea.io;

import com.fasterxml.jackson.core.JsonProcessingException;

/** What Jackson says of broken JSON, in words for a person. */
public final class JsonErrors {
    private JsonErrors() {}

    /** The reason alone: Jackson puts a note on its own settings where the name of the source would stand. */
    public static String reason(JsonProcessingException e) {
        return e.getOriginalMessage().replaceAll("\\[Source: [^;]*; (line: \\d+, column: \\d+)]", "$1");
    }
}
