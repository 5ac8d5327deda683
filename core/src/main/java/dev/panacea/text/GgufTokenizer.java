package dev.panacea.text;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.panacea.kernels.PanaceaException;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.BitSet;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.Set;
import java.util.stream.Collectors;

/** Builds a tokenizer from GGUF metadata, by way of the tokenizer.json that Hugging Face would have written. */
final class GgufTokenizer {
    private static final int NORMAL = 1;
    private static final int UNKNOWN = 2;
    private static final int CONTROL = 3;
    private static final int USER_DEFINED = 4;

    /** As llama.cpp has them: whatever a file says, a generation ends at these, and a template that writes one means the token. */
    private static final Set<String> END_NAMES = Set.of("<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<end_of_turn>", "<|endoftext|>", "<|eom_id|>",
            "<EOT>", "_<EOT>", "<|end_of_text|>", "<end_of_utterance>", "<｜end▁of▁sentence｜>");

    private GgufTokenizer() {}

    /** @param embeddingRows the size of the model's embedding */
    static BpeTokenizer load(GgufVocabulary v, int embeddingRows) {
        check(v);
        PreTokenizer pre = PreTokenizer.of(v.pre(), v.source());
        List<AddedTokens.Token> added = new ArrayList<>();
        BitSet addedIds = new BitSet();
        Set<Integer> ends = ends(v);
        List<String> notes = new ArrayList<>();
        for (int id = 0; id < v.tokens().size(); id++) {
            String name = v.tokens().get(id);
            int type = v.tokenTypes().length == 0 ? NORMAL : v.tokenTypes()[id];
            boolean control = type == UNKNOWN || type == CONTROL || ends.contains(id) && looksLikeControl(name);
            if ((control || type == USER_DEFINED) && !name.isEmpty()) {
                added.add(new AddedTokens.Token(id, name, control));
                addedIds.set(id);
                if (control && type != UNKNOWN && type != CONTROL && v.tokenTypes().length > 0) {
                    notes.add(v.source() + " marks the token '" + name + "' (" + id + ") as an ordinary one; it is taken as the control token that its name or use says it is");
                }
            }
        }
        AddedTokens addedTokens = new AddedTokens(added);
        boolean startsWithBos = v.addBos().orElse(pre.addBos());
        var settings = new BpeTokenizer.Settings(v.id("bos"), v.id("eos"), startsWithBos ? v.id("bos") : OptionalInt.empty(), List.copyOf(ends), v.chatTemplate(),
                templateTokens(v), false, notes);
        return new BpeTokenizer(encoder(v, json(v, pre, addedIds, merged(v.merges(), addedTokens))), v.tokens().toArray(String[]::new), addedTokens, settings, embeddingRows);
    }

    /** The tokens that end a generation: those that the file names as such, and those that llama.cpp knows by their names. */
    private static Set<Integer> ends(GgufVocabulary v) {
        Set<Integer> ends = new LinkedHashSet<>();
        for (String name : List.of("eos", "eot", "eom")) {
            v.id(name).ifPresent(ends::add);
        }
        for (int id = 0; id < v.tokens().size(); id++) {
            if (END_NAMES.contains(v.tokens().get(id))) {
                ends.add(id);
            }
        }
        return ends;
    }

    /** A file may name any word as its end by mistake; that does not make it one that no text can have. */
    private static boolean looksLikeControl(String name) {
        return END_NAMES.contains(name) || name.length() > 2 && (name.startsWith("<") && name.endsWith(">") || name.startsWith("[") && name.endsWith("]"));
    }

    private static Map<String, String> templateTokens(GgufVocabulary v) {
        Map<String, String> byKey = new HashMap<>();
        Map.of("bos", "bos_token", "eos", "eos_token", "unknown", "unk_token", "padding", "pad_token")
                .forEach((name, key) -> v.id(name).ifPresent(id -> byKey.put(key, v.tokens().get(id))));
        return byKey;
    }

    /** The library checks the merges itself; only what it refuses is looked at again, for a message that says where. */
    private static DjlEncoder encoder(GgufVocabulary v, byte[] json) {
        try {
            return new DjlEncoder(json, v.source());
        } catch (PanaceaException e) {
            checkMerges(v);
            throw e;
        }
    }

    private static void check(GgufVocabulary v) {
        if (!v.model().equals("gpt2")) {
            throw new PanaceaException(v.source() + ": tokenizer.ggml.model is '" + v.model() + "'; only byte-level BPE ('gpt2': Llama 3, SmolLM and such) is"
                    + " supported" + (v.model().equals("llama") ? ", not the SentencePiece vocabulary of Llama 2 and older" : ""));
        }
        int n = v.tokens().size();
        if (n == 0) {
            throw new PanaceaException(v.source() + ": tokenizer.ggml.tokens is missing or empty");
        }
        if (v.merges().isEmpty()) {
            throw new PanaceaException(v.source() + ": tokenizer.ggml.merges is missing or empty");
        }
        if (v.tokenTypes().length != 0 && v.tokenTypes().length != n) {
            throw new PanaceaException(v.source() + ": " + v.tokenTypes().length + " entries in tokenizer.ggml.token_type for " + n + " tokens");
        }
        v.ids().forEach((name, id) -> checkId(v, name + "_token_id", id));
    }

    /** Says which merge is wrong, if one is. */
    private static void checkMerges(GgufVocabulary v) {
        Set<String> known = new HashSet<>(v.tokens());
        for (int i = 0; i < v.merges().size(); i++) {
            String merge = v.merges().get(i);
            int space = merge.indexOf(' ', 1);
            boolean ok = space > 0 && space < merge.length() - 1 && known.contains(merge.substring(0, space)) && known.contains(merge.substring(space + 1))
                    && known.contains(merge.substring(0, space) + merge.substring(space + 1));
            if (!ok) {
                throw new PanaceaException(v.source() + ": tokenizer.ggml.merges[" + i + "] is '" + merge + "', which does not join two tokens of the vocabulary"
                        + " into a third; the file is damaged");
            }
        }
    }

    /** Those of the added tokens' names that merging takes or makes. */
    private static Set<String> merged(List<String> merges, AddedTokens added) {
        Set<String> names = added.tokens().stream().map(AddedTokens.Token::text).collect(Collectors.toSet());
        Set<String> merged = new HashSet<>();
        for (String merge : merges) {
            int space = merge.indexOf(' ', 1);
            if (space > 0 && space < merge.length() - 1 && (added.begins(merge.charAt(0)) || added.begins(merge.charAt(space + 1)))) {
                merged.addAll(List.of(merge.substring(0, space), merge.substring(space + 1)));
                merged.add(merge.substring(0, space) + merge.substring(space + 1));
            }
        }
        merged.retainAll(names);
        return merged;
    }

    private static void checkId(GgufVocabulary v, String key, int id) {
        if (id < 0 || id >= v.tokens().size()) {
            throw new PanaceaException(v.source() + ": tokenizer.ggml." + key + " is " + id + ", outside the vocabulary of " + v.tokens().size());
        }
    }

    private static byte[] json(GgufVocabulary v, PreTokenizer pre, BitSet addedIds, Set<String> mergedNames) {
        Set<String> written = HashSet.newHashSet(v.tokens().size());
        ByteArrayOutputStream bytes = new ByteArrayOutputStream(v.tokens().size() * 40);
        try (JsonGenerator g = new JsonFactory(new ObjectMapper()).createGenerator(bytes)) {
            g.writeStartObject();
            g.writeStringField("version", "1.0");
            g.writeArrayFieldStart("added_tokens");
            g.writeEndArray();
            g.writeObjectField("pre_tokenizer", pre.toJson());
            g.writeObjectFieldStart("model");
            g.writeStringField("type", "BPE");
            g.writeBooleanField("ignore_merges", pre.ignoreMerges());
            g.writeObjectFieldStart("vocab");
            for (int id = 0; id < v.tokens().size(); id++) {
                String token = v.tokens().get(id);
                // A special token must not be found as a word of a text; one that merging produces, or that is a byte, is a word too.
                boolean word = !addedIds.get(id) || mergedNames.contains(token) || ByteLevel.isByte(token);
                if (word && written.add(token)) {
                    g.writeNumberField(token, id);
                }
            }
            g.writeEndObject();
            g.writeArrayFieldStart("merges");
            for (String merge : v.merges()) {
                g.writeString(merge);
            }
            g.writeEndArray();
            g.writeEndObject();
            g.writeEndObject();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return bytes.toByteArray();
    }
}
