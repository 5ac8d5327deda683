package dev.panacea.text;

import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalInt;

/**
 * What a GGUF file says of its tokenizer: the keys {@code tokenizer.ggml.*} and {@code tokenizer.chat_template}.
 *
 * @param source the name of the file, for messages
 * @param model {@code tokenizer.ggml.model}
 * @param pre {@code tokenizer.ggml.pre}: how a text is cut into words
 * @param tokens the names by id
 * @param merges pairs of names with a space between, the most frequent first
 * @param tokenTypes a type by id, or none at all: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
 * @param endOfTurn {@code tokenizer.ggml.eot_token_id}
 */
public record GgufVocabulary(String source, String model, Optional<String> pre, List<String> tokens, List<String> merges, int[] tokenTypes,
        OptionalInt bos, OptionalInt eos, OptionalInt endOfTurn, Optional<Boolean> addBos, Optional<String> chatTemplate) {
    public GgufVocabulary {
        Objects.requireNonNull(source, "source");
        Objects.requireNonNull(model, "model");
        tokens = List.copyOf(tokens);
        merges = List.copyOf(merges);
        tokenTypes = tokenTypes.clone();
    }
}
