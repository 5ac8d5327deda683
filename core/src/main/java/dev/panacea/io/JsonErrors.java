package dev.panacea.io;

import com.fasterxml.jackson.core.JsonProcessingException;

/** What Jackson says of broken JSON, in words for a person. */
public final class JsonErrors {
    private JsonErrors() {}

    /** The reason alone: Jackson puts notes on its own settings where the name of the source would stand, and behind each limit. */
    public static String reason(JsonProcessingException e) {
        return e.getOriginalMessage().replaceAll("\\[Source: [^;]*; (line: \\d+, column: \\d+)]", "$1").replaceAll(",? from `StreamReadConstraints[^`]*`", "");
    }
}
