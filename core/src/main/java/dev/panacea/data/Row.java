package dev.panacea.data;

import java.util.Objects;

/**
 * An example, and where it stands: whoever finds a fault in it names the place.
 *
 * @param place the file and the line or row in it, as a message begins: {@code data.jsonl, line 3}
 */
public record Row(String place, Example example) {
    public Row {
        Objects.requireNonNull(place, "place");
        Objects.requireNonNull(example, "example");
    }
}
