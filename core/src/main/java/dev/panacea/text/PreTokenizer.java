package dev.panacea.text;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.panacea.kernels.PanaceaException;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/**
 * How a text is cut into words before BPE, by the name that GGUF gives it ({@code tokenizer.ggml.pre}). The patterns are those of the
 * published tokenizer.json files and of llama.cpp, which agree.
 *
 * @param ignoreMerges whether a word that is in the vocabulary is taken whole, without merging
 * @param addBos whether text begins with bos where the file does not say
 */
record PreTokenizer(List<ObjectNode> steps, boolean ignoreMerges, boolean addBos) {
    private static final JsonNodeFactory JSON = JsonNodeFactory.instance;

    private static final String GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    private static final String LLAMA3 = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
            + "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    private static final String QWEN2 = LLAMA3.replace("\\p{N}{1,3}", "\\p{N}");

    private static final Set<String> LLAMA3_NAMES = Set.of("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral");
    private static final Set<String> DIGIT_NAMES = Set.of("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b");
    private static final Set<String> GPT2_NAMES = Set.of("gpt-2", "gpt2", "phi-2", "mpt", "olmo", "jais", "granite-docling", "trillion");
    private static final Set<String> QWEN2_NAMES = Set.of("qwen2", "stablelm2", "hunyuan", "deepseek-r1-qwen", "megrez");

    /** @param name {@code tokenizer.ggml.pre}; a file without it is read as llama.cpp reads it, by the rules of {@code default} */
    static PreTokenizer of(Optional<String> name, String source) {
        String pre = name.orElse("default");
        if (LLAMA3_NAMES.contains(pre)) {
            return new PreTokenizer(List.of(split(LLAMA3), byteLevel(false)), true, true);
        }
        if (DIGIT_NAMES.contains(pre)) {
            return new PreTokenizer(List.of(JSON.objectNode().put("type", "Digits").put("individual_digits", true), byteLevel(true)), false, false);
        }
        if (GPT2_NAMES.contains(pre)) {
            return new PreTokenizer(List.of(byteLevel(true)), false, false);
        }
        if (QWEN2_NAMES.contains(pre)) {
            return new PreTokenizer(List.of(split(QWEN2), byteLevel(false)), false, false);
        }
        if (pre.equals("smaug-bpe") || pre.equals("dbrx")) {
            return new PreTokenizer(List.of(split(LLAMA3), byteLevel(false)), false, false);
        }
        if (pre.equals("default")) {
            return new PreTokenizer(List.of(split("[\\p{P}\\$\\+<=>\\^~\\|]+"), split(GPT2), split("\\p{N}+"), split("[0-9][0-9][0-9]"), byteLevel(false)),
                    false, false);
        }
        throw new PanaceaException(source + ": tokenizer.ggml.pre is '" + pre + "', a pre-tokenizer that is not supported. Take the model's Hugging Face"
                + " folder with its tokenizer.json instead");
    }

    JsonNode toJson() {
        ArrayNode list = JSON.arrayNode();
        steps.forEach(list::add);
        return JSON.objectNode().put("type", "Sequence").set("pretokenizers", list);
    }

    private static ObjectNode split(String regex) {
        ObjectNode node = JSON.objectNode().put("type", "Split").put("behavior", "Isolated").put("invert", false);
        node.set("pattern", JSON.objectNode().put("Regex", regex));
        return node;
    }

    private static ObjectNode byteLevel(boolean useGpt2Regex) {
        return JSON.objectNode().put("type", "ByteLevel").put("add_prefix_space", false).put("trim_offsets", true).put("use_regex", useGpt2Regex);
    }
}
