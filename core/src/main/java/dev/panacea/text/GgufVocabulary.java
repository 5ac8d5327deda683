package dev.panacea.text;

import dev.panacea.io.GgufMetadata;
import dev.panacea.kernels.PanaceaException;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;

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

    /** @param source the name of the file, for messages */
    public static GgufVocabulary of(GgufMetadata metadata, String source) {
        String model = metadata.string("tokenizer.ggml.model").orElseThrow(() -> new PanaceaException(source
                + " has no tokenizer (tokenizer.ggml.model is missing); is it an adapter or a part of a model?"));
        return new GgufVocabulary(source, model, metadata.string("tokenizer.ggml.pre"), metadata.strings("tokenizer.ggml.tokens"),
                metadata.strings("tokenizer.ggml.merges"), metadata.ints("tokenizer.ggml.token_type"), id(metadata, source, "bos"), id(metadata, source, "eos"),
                id(metadata, source, "eot"), metadata.bool("tokenizer.ggml.add_bos_token"), metadata.string("tokenizer.chat_template"));
    }

    private static OptionalInt id(GgufMetadata metadata, String source, String token) {
        String key = "tokenizer.ggml." + token + "_token_id";
        OptionalLong id = metadata.integer(key);
        if (id.isPresent() && id.getAsLong() != (int) id.getAsLong()) {
            throw new PanaceaException(source + ": " + key + " is " + id.getAsLong() + ", which is no token");
        }
        return id.isPresent() ? OptionalInt.of((int) id.getAsLong()) : OptionalInt.empty();
    }
}
