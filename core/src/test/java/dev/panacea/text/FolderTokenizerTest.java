package dev.panacea.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.panacea.kernels.PanaceaException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What the files beside tokenizer.json change; the expected values are what transformers 5.24 and tokenizers 0.23 give. */
class FolderTokenizerTest {
    private static final ObjectMapper JSON = new ObjectMapper();
    @TempDir
    private Path folder;
    private ObjectNode tokenizer;

    /** All bytes by their numbers, then {@code <s>} 256, {@code <e>} 257, {@code <u>} 258 as control tokens. */
    @BeforeEach
    void tokenizer() {
        tokenizer = JSON.createObjectNode().put("version", "1.0");
        tokenizer.putArray("added_tokens");
        tokenizer.putObject("pre_tokenizer").put("type", "ByteLevel").put("add_prefix_space", false).put("trim_offsets", true).put("use_regex", true);
        tokenizer.putObject("decoder").put("type", "ByteLevel").put("add_prefix_space", true).put("trim_offsets", true).put("use_regex", true);
        ObjectNode model = tokenizer.putObject("model").put("type", "BPE");
        ObjectNode vocab = model.putObject("vocab");
        for (int b = 0; b < 256; b++) {
            vocab.put(String.valueOf(ByteLevel.charOf(b)), b);
        }
        model.putArray("merges");
        add(256, "<s>", true);
        add(257, "<e>", true);
        add(258, "<u>", true);
    }

    private ObjectNode add(int id, String name, boolean special) {
        return tokenizer.withArray("added_tokens").addObject().put("id", id).put("content", name).put("single_word", false).put("lstrip", false).put("rstrip", false)
                .put("normalized", false).put("special", special);
    }

    private void write(String name, String json) throws IOException {
        Files.writeString(folder.resolve(name), json);
    }

    private BpeTokenizer open() throws IOException {
        write("tokenizer.json", tokenizer.toString());
        return Tokenizers.fromFolder(folder);
    }

    @Test
    void closed() throws IOException {
        BpeTokenizerTest.requireClosing(open());
    }

    @Test
    void whatATemplateKnows() throws IOException {
        write("config.json", "{\"bos_token_id\": 256, \"eos_token_id\": 257}");
        write("tokenizer_config.json", "{\"bos_token\": null, \"eos_token\": {\"content\": \"<e>\"}, \"unk_token\": \"<u>\", \"pad_token\": \"<e>\", \"add_bos_token\": true,"
                + " \"extra_special_tokens\": {\"image_token\": \"<s>\"}}");
        try (BpeTokenizer t = open()) {
            assertThat(t.bosToken()).as("null is none, whatever config.json says").isEmpty();
            assertThat(ChatTemplate.of("[{{ bos_token }}|{{ eos_token }}|{{ unk_token }}|{{ pad_token }}|{{ image_token }}]", t.templateTokens())
                    .render(List.of(Message.user("q")), false, ChatTemplate.Options.NONE)).isEqualTo("[|<e>|<u>|<e>|<s>]");
        }
    }

    @Test
    void specialTokensMapComesFirstUnlessTheSettingsListTheirTokens() throws IOException {
        write("special_tokens_map.json", "{\"bos_token\": \"<u>\", \"eos_token\": \"<s>\"}");
        write("tokenizer_config.json", "{\"bos_token\": null, \"eos_token\": \"<e>\"}");
        try (BpeTokenizer t = open()) {
            assertThat(t.bosToken()).hasValue(258);
            assertThat(t.eosToken()).hasValue(256);
        }
        write("tokenizer_config.json", "{\"bos_token\": null, \"eos_token\": \"<e>\", \"added_tokens_decoder\": {}}");
        try (BpeTokenizer t = open()) {
            assertThat(t.bosToken()).isEmpty();
            assertThat(t.eosToken()).hasValue(257);
        }
    }

    @Test
    void tokensThatOnlyTheSettingsHave() throws IOException {
        write("tokenizer_config.json", "{\"added_tokens_decoder\": {\"260\": {\"content\": \"<tool>\", \"special\": true, \"lstrip\": true}, \"256\": {\"content\": \"<s>\"},"
                + " \"259\": {\"content\": \"<think>\", \"special\": false}}}");
        try (BpeTokenizer t = open()) {
            assertThat(t.encodeWithSpecialTokens("a<think> <tool>")).containsExactly('a', 259, 260);
            assertThat(t.encode("a<think>")).containsExactly('a', 259);
            assertThat(t.encode("<tool>")).hasSize(6);
            assertThat(t.isSpecial(256)).as("tokenizer.json wins").isTrue();
        }
        write("tokenizer_config.json", "{\"added_tokens_decoder\": {\"270\": {\"content\": \"<tool>\"}}}");
        assertThatThrownBy(this::open).isInstanceOf(PanaceaException.class).hasMessageContainingAll("tokenizer_config.json", "<tool>", "270", "259");
        write("tokenizer_config.json", "{}");
        write("added_tokens.json", "{\"<think>\": 259}");
        try (BpeTokenizer t = open()) {
            assertThat(t.encode("a<think>")).containsExactly('a', 259);
        }
    }

    @Test
    void aWordThatIsNamedAsTheEndIsAControlToken() throws IOException {
        ((ObjectNode) tokenizer.path("model").path("vocab")).put("</s>", 259);
        write("tokenizer_config.json", "{\"eos_token\": \"</s>\"}");
        try (BpeTokenizer t = open()) {
            assertThat(t.encodeWithSpecialTokens("a</s>")).containsExactly('a', 259);
            assertThat(t.encode("a</s>")).hasSize(5).doesNotContain(259);
            assertThat(t.isSpecial(259)).isTrue();
        }
    }

    @Test
    void flagsOfAddedTokens() throws IOException {
        add(259, "word", false).put("single_word", true);
        add(260, "x y", false).put("normalized", true);
        add(261, "y", false);
        try (BpeTokenizer t = open()) {
            assertThat(t.encode("word words a-word wordé")).containsExactly(259, ' ', 'w', 'o', 'r', 'd', 's', ' ', 'a', '-', 259, ' ', 'w', 'o', 'r', 'd', 0xC3, 0xA9);
            assertThat(t.encode("x y")).as("the other first, though it comes later").containsExactly('x', ' ', 261);
        }
        tokenizer.putObject("normalizer").put("type", "Lowercase");
        assertThatThrownBy(this::open).isInstanceOf(PanaceaException.class).hasMessageContainingAll("x y", "normalized", "Lowercase");
    }

    @Test
    void bytesThatTheVocabularyLacks() throws IOException {
        ObjectNode model = (ObjectNode) tokenizer.path("model");
        ((ObjectNode) model.path("vocab")).remove(String.valueOf(ByteLevel.charOf(0x14)));
        try (BpeTokenizer t = open()) {
            assertThat(t.encode("abc")).hasSize(3);
            assertThatThrownBy(() -> t.encode("a\u0014")).isInstanceOf(PanaceaException.class).hasMessageContaining("0x14");
        }
        model.put("unk_token", "<u>").put("ignore_merges", true);
        ((ObjectNode) model.path("vocab")).put("<u>", 258);
        try (BpeTokenizer t = open()) {
            assertThat(t.encode("a\u0014b")).containsExactly('a', 258, 'b');
            assertThat(t.encode("<u>")).as("spelled out it is a word like others").containsExactly('<', 'u', '>');
        }
        model.put("unk_token", "<none>");
        assertThatThrownBy(this::open).isInstanceOf(PanaceaException.class).hasMessageContainingAll("unk_token", "<none>");
    }
}
