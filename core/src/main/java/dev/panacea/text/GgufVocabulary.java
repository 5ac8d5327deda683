package dev.panacea.text;

import dev.panacea.io.GgufMetadata;
import dev.panacea.kernels.PanaceaException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
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
 * @param ids {@code tokenizer.ggml.NAME_token_id} by NAME: bos, eos, eot (end of turn), eom (end of message), unknown, padding
 */
public record GgufVocabulary(String source, String model, Optional<String> pre, List<String> tokens, List<String> merges, int[] tokenTypes,
        Map<String, Integer> ids, Optional<Boolean> addBos, Optional<String> chatTemplate) {
    private static final List<String> NAMES = List.of("bos", "eos", "eot", "eom", "unknown", "padding");

    public GgufVocabulary {
        Objects.requireNonNull(source, "source");
        Objects.requireNonNull(model, "model");
        tokens = List.copyOf(tokens);
        merges = List.copyOf(merges);
        tokenTypes = tokenTypes.clone();
        ids = Map.copyOf(ids);
    }

    /** The id of a token by what the file calls it, such as {@code eos}. */
    public OptionalInt id(String name) {
        return ids.containsKey(name) ? OptionalInt.of(ids.get(name)) : OptionalInt.empty();
    }

    /** @param source the name of the file, for messages */
    public static GgufVocabulary of(GgufMetadata metadata, String source) {
        String model = metadata.string("tokenizer.ggml.model").orElseThrow(() -> new PanaceaException(source
                + " has no tokenizer (tokenizer.ggml.model is missing); is it an adapter or a part of a model?"));
        Map<String, Integer> ids = new LinkedHashMap<>();
        for (String name : NAMES) {
            String key = "tokenizer.ggml." + name + "_token_id";
            OptionalLong id = metadata.integer(key);
            if (id.isPresent() && id.getAsLong() != (int) id.getAsLong()) {
                throw new PanaceaException(source + ": " + key + " is " + id.getAsLong() + ", which is no token");
            }
            id.ifPresent(i -> ids.put(name, (int) i));
        }
        return new GgufVocabulary(source, model, metadata.string("tokenizer.ggml.pre"), metadata.strings("tokenizer.ggml.tokens"),
                metadata.strings("tokenizer.ggml.merges"), metadata.ints("tokenizer.ggml.token_type"), ids, metadata.bool("tokenizer.ggml.add_bos_token"),
                metadata.string("tokenizer.chat_template"));
    }
}
