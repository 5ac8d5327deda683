package dev.panacea.text;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.MissingNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.panacea.io.JsonErrors;
import dev.panacea.kernels.PanaceaException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;

/**
 * Reads the tokenizer of a Hugging Face model folder: tokenizer.json; where present tokenizer_config.json, special_tokens_map.json,
 * generation_config.json, config.json and chat_template.jinja.
 */
final class FolderTokenizer {
    private static final long MAX_FILE = 100L << 20;
    /** Values, names and brackets of a file: twice as many as the largest vocabulary takes, and no more than Java has memory for. */
    private static final long MAX_TOKENS = Math.min(6_000_000, Runtime.getRuntime().maxMemory() / 100);
    /** Far above any published vocabulary; a lying id must not make us allocate. */
    private static final int MAX_ID = 1 << 22;

    private final Path folder;
    private final Path file;
    private final ObjectMapper json = new ObjectMapper(
            JsonFactory.builder().streamReadConstraints(StreamReadConstraints.builder().maxTokenCount(MAX_TOKENS).build()).build());

    private FolderTokenizer(Path folder) {
        this.folder = folder;
        file = folder.resolve("tokenizer.json");
    }

    static BpeTokenizer load(Path folder) {
        return new FolderTokenizer(folder).load();
    }

    private BpeTokenizer load() {
        if (!Files.isRegularFile(file)) {
            String instead = Files.isRegularFile(folder.resolve("tokenizer.model"))
                    ? "; its tokenizer.model (SentencePiece, Llama 2 and older) is not supported" : "; is this the folder of a model?";
            throw new PanaceaException("there is no tokenizer.json in " + folder + instead);
        }
        if (!(read(file) instanceof ObjectNode root)) {
            throw new PanaceaException(file + " is not a JSON object");
        }
        checkByteLevelBpe(root);
        List<AddedTokens.Token> added = addedTokens(root);
        ObjectNode vocab = (ObjectNode) root.path("model").path("vocab");
        String[] names = names(vocab, added);

        JsonNode config = optional("tokenizer_config.json");
        JsonNode map = optional("special_tokens_map.json");
        JsonNode model = optional("config.json");
        OptionalInt bos = special("bos_token", List.of(config, map), model, names, added);
        OptionalInt eos = special("eos_token", List.of(config, map), model, names, added);
        Set<Integer> ends = new LinkedHashSet<>();
        eos.ifPresent(ends::add);
        ids(optional("generation_config.json").path("eos_token_id"), names.length).forEach(ends::add);
        ids(model.path("eos_token_id"), names.length).forEach(ends::add);
        boolean addsBos = bos.isPresent() && startsWithBos(root.path("post_processor"), names[bos.getAsInt()]);
        var settings = new BpeTokenizer.Settings(bos, eos, addsBos, List.copyOf(ends), chatTemplate(config));
        return new BpeTokenizer(new DjlEncoder(plainJson(root, vocab, added), file.toString()), names, new AddedTokens(added), settings);
    }

    private void checkByteLevelBpe(JsonNode root) {
        JsonNode model = root.path("model");
        if (!model.path("type").asText("BPE").equals("BPE") || !model.path("vocab").isObject() || !model.path("merges").isArray()) {
            throw new PanaceaException(file + ": the tokenizer is of type '" + model.path("type").asText("unknown") + "'; only byte-level BPE is supported");
        }
        if (!has(root.path("pre_tokenizer"), "ByteLevel") || !has(root.path("decoder"), "ByteLevel")) {
            throw new PanaceaException(file + ": this BPE does not work on bytes (SentencePiece, as in Llama 2 and older); only byte-level BPE (Llama 3,"
                    + " SmolLM and such) is supported");
        }
        if (model.path("continuing_subword_prefix").asText("").length() + model.path("end_of_word_suffix").asText("").length() > 0) {
            throw new PanaceaException(file + ": a BPE with prefixes or suffixes of words is not supported");
        }
    }

    /** Whether a step, or a step of a sequence, is of this type. */
    private static boolean has(JsonNode node, String type) {
        if (node.path("type").asText().equals(type)) {
            return true;
        }
        for (String list : List.of("pretokenizers", "decoders", "processors")) {
            for (JsonNode step : node.path(list)) {
                if (has(step, type)) {
                    return true;
                }
            }
        }
        return false;
    }

    private List<AddedTokens.Token> addedTokens(JsonNode root) {
        List<AddedTokens.Token> added = new ArrayList<>();
        for (JsonNode t : root.path("added_tokens")) {
            String content = t.path("content").asText();
            int id = id(t.path("id"), content);
            if (content.isEmpty()) {
                throw new PanaceaException(file + ": added token " + id + " has no name");
            }
            if (t.path("single_word").asBoolean()) {
                throw new PanaceaException(file + ": added token '" + content + "' has single_word set, which is not supported");
            }
            added.add(new AddedTokens.Token(id, content, t.path("special").asBoolean(), t.path("lstrip").asBoolean(), t.path("rstrip").asBoolean()));
        }
        return added;
    }

    private int id(JsonNode node, String token) {
        if (!node.isInt() || node.intValue() < 0 || node.intValue() > MAX_ID) {
            throw new PanaceaException(file + ": token '" + token + "' has the id " + node + "; expected a number from 0 to " + MAX_ID);
        }
        return node.intValue();
    }

    private String[] names(ObjectNode vocab, List<AddedTokens.Token> added) {
        int highest = -1;
        for (var entry : vocab.properties()) {
            highest = Math.max(highest, id(entry.getValue(), entry.getKey()));
        }
        for (AddedTokens.Token t : added) {
            highest = Math.max(highest, t.id());
        }
        if (highest < 0) {
            throw new PanaceaException(file + ": the vocabulary is empty");
        }
        String[] names = new String[highest + 1];
        vocab.properties().forEach(entry -> names[entry.getValue().intValue()] = entry.getKey());
        added.forEach(t -> names[t.id()] = t.text());
        return names;
    }

    /** The same tokenizer without special tokens: for text in which their names mean nothing. */
    private byte[] plainJson(ObjectNode root, ObjectNode vocab, List<AddedTokens.Token> added) {
        Set<String> merged = new HashSet<>();
        for (JsonNode merge : root.path("model").path("merges")) {
            String left = merge.isArray() ? merge.path(0).asText() : before(merge.asText());
            String right = merge.isArray() ? merge.path(1).asText() : merge.asText().substring(Math.min(merge.asText().length(), left.length() + 1));
            merged.add(left);
            merged.add(right);
            merged.add(left + right);
        }
        for (AddedTokens.Token t : added) {
            if (!merged.contains(t.text()) && !ByteLevel.isByte(t.text())) {
                vocab.remove(t.text());
            }
        }
        root.putArray("added_tokens");
        for (String unused : List.of("truncation", "padding", "post_processor", "decoder")) {
            root.putNull(unused);
        }
        try {
            return json.writeValueAsBytes(root);
        } catch (JsonProcessingException e) {
            throw new PanaceaException(file + " cannot be rewritten: " + JsonErrors.reason(e), e);
        }
    }

    private static String before(String merge) {
        int space = merge.indexOf(' ', 1);
        return space < 0 ? merge : merge.substring(0, space);
    }

    /** Whether the template of a single text begins with bos. */
    private static boolean startsWithBos(JsonNode processor, String bos) {
        if (processor.path("type").asText().equals("TemplateProcessing")) {
            return processor.path("single").path(0).path("SpecialToken").path("id").asText().equals(bos);
        }
        for (JsonNode step : processor.path("processors")) {
            if (startsWithBos(step, bos)) {
                return true;
            }
        }
        return false;
    }

    /** The id of bos or eos: by name in the tokenizer's settings, else by number in the model's. */
    private OptionalInt special(String key, List<JsonNode> settings, JsonNode model, String[] names, List<AddedTokens.Token> added) {
        for (JsonNode source : settings) {
            JsonNode value = source.path(key);
            String name = value.isObject() ? value.path("content").asText() : value.isTextual() ? value.asText() : "";
            if (name.isEmpty()) {
                continue;
            }
            for (AddedTokens.Token t : added) {
                if (t.text().equals(name)) {
                    return OptionalInt.of(t.id());
                }
            }
            int id = Arrays.asList(names).indexOf(name);
            if (id < 0) {
                throw new PanaceaException(folder + ": " + key + " is '" + name + "', which is not in the vocabulary of tokenizer.json");
            }
            return OptionalInt.of(id);
        }
        return ids(model.path(key + "_id"), names.length).stream().mapToInt(Integer::intValue).findFirst();
    }

    /** One id or a list of them; those outside the vocabulary are left out. */
    private static List<Integer> ids(JsonNode node, int limit) {
        List<Integer> out = new ArrayList<>();
        for (JsonNode n : node.isArray() ? node : List.of(node)) {
            if (n.isInt() && n.intValue() >= 0 && n.intValue() < limit) {
                out.add(n.intValue());
            }
        }
        return out;
    }

    /** A file of its own wins over the configuration; of several named templates the one called "default" is meant. */
    private Optional<String> chatTemplate(JsonNode config) {
        Path own = folder.resolve("chat_template.jinja");
        if (Files.isRegularFile(own)) {
            return Optional.of(new String(bytes(own), StandardCharsets.UTF_8));
        }
        JsonNode template = config.path("chat_template");
        if (template.isTextual()) {
            return Optional.of(template.asText());
        }
        for (JsonNode named : template) {
            if (named.path("name").asText().equals("default") && named.path("template").isTextual()) {
                return Optional.of(named.path("template").asText());
            }
        }
        return Optional.empty();
    }

    private JsonNode optional(String name) {
        Path path = folder.resolve(name);
        return Files.isRegularFile(path) ? read(path) : MissingNode.getInstance();
    }

    private JsonNode read(Path path) {
        try {
            checkSize(path);
            JsonNode node = json.readTree(path.toFile());
            return node == null ? MissingNode.getInstance() : node;
        } catch (JsonProcessingException e) {
            throw new PanaceaException(path + " is not valid JSON: " + JsonErrors.reason(e)
                    + (e.getLocation() == null ? "" : " (line " + e.getLocation().getLineNr() + ")"), e);
        } catch (IOException e) {
            throw new PanaceaException("cannot read " + path + ": " + e.getMessage(), e);
        }
    }

    private static byte[] bytes(Path path) {
        try {
            checkSize(path);
            return Files.readAllBytes(path);
        } catch (IOException e) {
            throw new PanaceaException("cannot read " + path + ": " + e.getMessage(), e);
        }
    }

    private static void checkSize(Path path) throws IOException {
        if (Files.size(path) > MAX_FILE) {
            throw new PanaceaException(path + " has " + Files.size(path) + " bytes, more than any tokenizer needs");
        }
    }
}
