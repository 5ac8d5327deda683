package dev.panacea.text;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** Small vocabularies for tests. */
public final class TestVocabularies {
    private static final String[] MERGES = {"Ġ t", "h e", "i n", "Ġt he", "e r", "o n", "a s", "1 2", "12 3", "Ċ Ċ", "Ġ a", "< |"};

    private TestVocabularies() {}

    /** All bytes (ids 0 to 255), a few merges, then control tokens of these names; the first is bos, the last eos. */
    public static GgufVocabulary bytes(String pre, Optional<String> chatTemplate, List<String> control) {
        List<String> tokens = new ArrayList<>();
        for (int b = 0; b < 256; b++) {
            tokens.add(String.valueOf(ByteLevel.charOf(b)));
        }
        for (String merge : MERGES) {
            tokens.add(merge.replace(" ", ""));
        }
        int first = tokens.size();
        tokens.addAll(control);
        int[] types = new int[tokens.size()];
        Arrays.fill(types, 0, first, 1);
        Arrays.fill(types, first, types.length, 3);
        return new GgufVocabulary("test.gguf", "gpt2", Optional.of(pre), tokens, List.of(MERGES), types,
                Map.of("bos", first, "eos", tokens.size() - 1), Optional.of(false), chatTemplate);
    }

    /** The part of SmolLM2's vocabulary that the cases in the same file can touch; the rest of the ids are taken by names that match nothing. */
    public static GgufVocabulary smollm2() {
        JsonNode file = resource("smollm2-excerpt.json");
        int size = file.get("size").intValue();
        List<String> tokens = new ArrayList<>();
        for (int id = 0; id < size; id++) {
            tokens.add(file.get("tokens").path(String.valueOf(id)).asText("[left out " + id + "]"));
        }
        int[] types = new int[size];
        Arrays.fill(types, 1);
        file.get("control").forEach(id -> types[id.intValue()] = 3);
        List<String> merges = new ArrayList<>();
        file.get("merges").forEach(m -> merges.add(m.asText()));
        return new GgufVocabulary("smollm2", "gpt2", Optional.of(file.get("pre").asText()), tokens, merges, types, Map.of("bos", 1, "eos", 2),
                Optional.of(false), Optional.of(file.get("chat_template").asText()));
    }

    static JsonNode resource(String name) {
        try (InputStream in = TestVocabularies.class.getResourceAsStream(name)) {
            return new ObjectMapper().readTree(in);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    static int[] ints(JsonNode list) {
        int[] out = new int[list.size()];
        for (int i = 0; i < out.length; i++) {
            out[i] = list.get(i).intValue();
        }
        return out;
    }

    static List<Message> messages(JsonNode list) {
        List<Message> out = new ArrayList<>();
        list.forEach(m -> out.add(new Message(m.get("role").asText(), m.get("content").asText())));
        return out;
    }
}
