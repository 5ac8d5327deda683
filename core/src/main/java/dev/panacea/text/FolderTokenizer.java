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
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;
import java.util.TreeMap;

/**
 * Reads the tokenizer of a Hugging Face model folder: tokenizer.json; where present tokenizer_config.json, special_tokens_map.json,
 * added_tokens.json, generation_config.json, config.json and chat_template.jinja.
 */
final class FolderTokenizer {
    private static final long MAX_FILE = 100L << 20;
    /** Values, names and brackets of a file: twice as many as the largest vocabulary takes, and no more than Java has memory for. */
    private static final long MAX_TOKENS = Math.min(6_000_000, Runtime.getRuntime().maxMemory() / 100);
    /** Far above any published vocabulary; a lying id must not make us allocate. */
    private static final int MAX_ID = 1 << 22;

    private static final Set<String> UNICODE_FORMS = Set.of("NFC", "NFD", "NFKC", "NFKD");
    private static final String UNKNOWN = "\u0000unknown";

    private final Path folder;
    private final Path file;
    private final ObjectMapper json = new ObjectMapper(
            JsonFactory.builder().streamReadConstraints(StreamReadConstraints.builder().maxTokenCount(MAX_TOKENS).build()).build());

    private FolderTokenizer(Path folder) {
        this.folder = folder;
        file = folder.resolve("tokenizer.json");
    }

    /** @param embeddingRows the size of the model's embedding */
    static BpeTokenizer load(Path folder, int embeddingRows) {
        return new FolderTokenizer(folder).load(embeddingRows);
    }

    private BpeTokenizer load(int embeddingRows) {
        if (!Files.isRegularFile(file)) {
            String instead = Files.isRegularFile(folder.resolve("tokenizer.model"))
                    ? "; its tokenizer.model (SentencePiece, Llama 2 and older) is not supported" : "; is this the folder of a model?";
            throw new PanaceaException("there is no tokenizer.json in " + folder + instead);
        }
        if (!(read(file) instanceof ObjectNode root)) {
            throw new PanaceaException(file + " is not a JSON object");
        }
        checkByteLevelBpe(root);
        ObjectNode vocab = (ObjectNode) root.path("model").path("vocab");
        JsonNode config = optional("tokenizer_config.json");
        List<AddedTokens.Token> added = addedTokens(root);
        addTokensOfSettings(added, vocab, config);
        SpecialTokens special = new SpecialTokens(config, optional("special_tokens_map.json"),
                name -> vocab.has(name) || added.stream().anyMatch(t -> t.text().equals(name)));
        addSpecialWords(added, vocab, special);
        String[] names = names(vocab, added);

        JsonNode model = optional("config.json");
        OptionalInt bos = id("bos_token", special, names, added);
        OptionalInt eos = id("eos_token", special, names, added);
        if (eos.isEmpty() && !special.forbids("eos_token")) {
            eos = ids(model.path("eos_token_id"), names.length).stream().mapToInt(Integer::intValue).findFirst();
        }
        Set<Integer> ends = new LinkedHashSet<>();
        eos.ifPresent(ends::add);
        ids(optional("generation_config.json").path("eos_token_id"), names.length).forEach(ends::add);
        ids(model.path("eos_token_id"), names.length).forEach(ends::add);
        OptionalInt start = documentStart(root.path("post_processor")).map(name -> id(name, "what post_processor begins a text with", names, added)).map(OptionalInt::of)
                .orElse(OptionalInt.empty());
        boolean hasUnknown = root.path("model").path("unk_token").isTextual() || root.path("model").path("byte_fallback").asBoolean();
        var settings = new BpeTokenizer.Settings(bos, eos, start, List.copyOf(ends), chatTemplate(config), special.forTemplates(), hasUnknown, List.of());
        return new BpeTokenizer(new DjlEncoder(plainJson(root, vocab, names, added), file.toString()), names, new AddedTokens(added), settings, embeddingRows);
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
            added.add(token(t, id(t.path("id"), t.path("content").asText()), file));
        }
        for (AddedTokens.Token t : added) {
            if (t.normalized() && !isUnicodeForm(root.path("normalizer"))) {
                throw new PanaceaException(file + ": added token '" + t.text() + "' has normalized set, beside a normalizer of type '"
                        + root.path("normalizer").path("type").asText() + "'; this is not supported");
            }
        }
        return added;
    }

    /** The names of tokens, which are ASCII as a rule, are the same in all forms of Unicode. */
    private static boolean isUnicodeForm(JsonNode normalizer) {
        if (normalizer.path("type").asText().equals("Sequence")) {
            for (JsonNode step : normalizer.path("normalizers")) {
                if (!isUnicodeForm(step)) {
                    return false;
                }
            }
            return true;
        }
        return normalizer.isNull() || normalizer.isMissingNode() || UNICODE_FORMS.contains(normalizer.path("type").asText());
    }

    private static AddedTokens.Token token(JsonNode t, int id, Path source) {
        String content = t.path("content").asText();
        if (content.isEmpty()) {
            throw new PanaceaException(source + ": added token " + id + " has no name");
        }
        boolean special = t.path("special").asBoolean();
        return new AddedTokens.Token(id, content, special, t.path("lstrip").asBoolean(), t.path("rstrip").asBoolean(), t.path("single_word").asBoolean(),
                t.path("normalized").asBoolean(!special));
    }

    /** Tokens that only the settings have follow those of tokenizer.json, as transformers adds them. */
    private void addTokensOfSettings(List<AddedTokens.Token> added, ObjectNode vocab, JsonNode config) {
        Map<Integer, JsonNode> more = new TreeMap<>();
        Path source = folder.resolve(config.has("added_tokens_decoder") ? "tokenizer_config.json" : "added_tokens.json");
        if (config.has("added_tokens_decoder")) {
            config.path("added_tokens_decoder").properties().forEach(e -> more.put(number(e.getKey(), source), e.getValue()));
        } else {
            optional("added_tokens.json").properties().forEach(e -> more.put(id(e.getValue(), e.getKey()), json.createObjectNode().put("content", e.getKey())));
        }
        Set<String> known = new HashSet<>();
        added.forEach(t -> known.add(t.text()));
        int next = names(vocab, added).length;
        for (var entry : more.entrySet()) {
            String content = entry.getValue().path("content").asText();
            if (!known.add(content)) {
                continue;
            }
            boolean word = vocab.has(content);
            int id = word ? vocab.path(content).intValue() : next++;
            if (id != entry.getKey()) {
                throw new PanaceaException(source + ": the token '" + content + "' has the id " + entry.getKey() + ", but by tokenizer.json it is " + id + "; the files do not belong together");
            }
            added.add(token(entry.getValue(), id, source));
        }
    }

    private static int number(String key, Path source) {
        try {
            return Integer.parseInt(key);
        } catch (NumberFormatException e) {
            throw new PanaceaException(source + ": added_tokens_decoder has the key '" + key + "', which is no id", e);
        }
    }

    /** A word of the vocabulary that is named as bos, eos and so on is a control token from then on. */
    private static void addSpecialWords(List<AddedTokens.Token> added, ObjectNode vocab, SpecialTokens special) {
        Set<String> known = new HashSet<>();
        added.forEach(t -> known.add(t.text()));
        for (String name : special.names()) {
            if (vocab.has(name) && known.add(name)) {
                added.add(new AddedTokens.Token(vocab.path(name).intValue(), name, true));
            }
        }
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
    private byte[] plainJson(ObjectNode root, ObjectNode vocab, String[] names, List<AddedTokens.Token> added) {
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
        JsonNode unknown = root.path("model").path("unk_token");
        if (unknown.isTextual()) {
            // Under a name that no text can have: it stands for what is missing, and is no word.
            vocab.put(UNKNOWN, id(unknown.asText(), "model.unk_token", names, added));
            ((ObjectNode) root.path("model")).put("unk_token", UNKNOWN);
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

    /** The name of the token that a single text begins with. */
    private static Optional<String> documentStart(JsonNode processor) {
        if (processor.path("type").asText().equals("TemplateProcessing")) {
            JsonNode name = processor.path("single").path(0).path("SpecialToken").path("id");
            return name.isTextual() ? Optional.of(name.asText()) : Optional.empty();
        }
        for (JsonNode step : processor.path("processors")) {
            Optional<String> start = documentStart(step);
            if (start.isPresent()) {
                return start;
            }
        }
        return Optional.empty();
    }

    private OptionalInt id(String key, SpecialTokens special, String[] names, List<AddedTokens.Token> added) {
        Optional<String> name = special.name(key);
        return name.isPresent() ? OptionalInt.of(id(name.get(), key, names, added)) : OptionalInt.empty();
    }

    private int id(String name, String what, String[] names, List<AddedTokens.Token> added) {
        for (AddedTokens.Token t : added) {
            if (t.text().equals(name)) {
                return t.id();
            }
        }
        int id = Arrays.asList(names).indexOf(name);
        if (id < 0) {
            throw new PanaceaException(folder + ": " + what + " is '" + name + "', which is not in the vocabulary of tokenizer.json");
        }
        return id;
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
