package dev.panacea.text;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Predicate;

/**
 * What the settings of a Hugging Face tokenizer call bos, eos and so on, as transformers reads them: special_tokens_map.json comes first unless
 * tokenizer_config.json lists its tokens itself (added_tokens_decoder); null means that there is none.
 */
final class SpecialTokens {
    /** That class names it where the settings name nothing. */
    private static final String GPT2_DEFAULT = "<|endoftext|>";

    private final Map<String, String> byKey = new LinkedHashMap<>();
    private final JsonNode config;

    /** @param known whether the vocabulary has a token of this name */
    SpecialTokens(JsonNode config, JsonNode map, Predicate<String> known) {
        this.config = config;
        if (config.path("tokenizer_class").asText().startsWith("GPT2Tokenizer") && known.test(GPT2_DEFAULT)) {
            List.of("bos_token", "eos_token", "unk_token").forEach(key -> byKey.put(key, GPT2_DEFAULT));
        }
        config.properties().stream().filter(e -> e.getValue().isNull()).forEach(e -> byKey.remove(e.getKey()));
        put(config);
        put(config.path("extra_special_tokens"));
        if (!config.has("added_tokens_decoder")) {
            put(map);
        }
    }

    private void put(JsonNode settings) {
        settings.properties().forEach(e -> {
            JsonNode value = e.getValue();
            String name = value.isObject() ? value.path("content").asText() : value.isTextual() ? value.asText() : "";
            if (e.getKey().endsWith("_token") && !name.isEmpty()) {
                byKey.put(e.getKey(), name);
            }
        });
    }

    Optional<String> name(String key) {
        return Optional.ofNullable(byKey.get(key));
    }

    /** Whether there is none, in so many words. */
    boolean forbids(String key) {
        return config.path(key).isNull() && !byKey.containsKey(key);
    }

    Collection<String> names() {
        return byKey.values();
    }

    /** By the names that chat templates use. */
    Map<String, String> forTemplates() {
        return Map.copyOf(byKey);
    }
}
