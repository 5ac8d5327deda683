package dev.panacea.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.panacea.kernels.PanaceaException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class BpeTokenizerTest {
    private static final List<String> CONTROL = List.of("<|begin|>", "<|x|>", "<|xx|>", "☃", "<|end|>");
    private static final ObjectMapper JSON = new ObjectMapper();

    private static BpeTokenizer bytes(String pre) {
        return Tokenizers.fromGguf(TestVocabularies.bytes(pre, Optional.empty(), CONTROL));
    }

    private static String randomText(Random random, int length) {
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < length; i++) {
            switch (random.nextInt(6)) {
                case 0 -> text.append(" \n\t\r\u00A0\u3000\u0000".charAt(random.nextInt(7)));
                case 1 -> text.append(CONTROL.get(random.nextInt(CONTROL.size())));
                case 2 -> text.append(random.nextInt(1000));
                case 3 -> text.appendCodePoint(0x10000 + random.nextInt(0x100000));
                case 4 -> text.append((char) random.nextInt(0xD800));
                default -> text.append("the in on, <| ".charAt(random.nextInt(14)));
            }
        }
        return text.toString();
    }

    @ParameterizedTest
    @ValueSource(strings = {"smollm", "llama-bpe", "gpt-2", "qwen2", "smaug-bpe", "default"})
    void decodingGivesTheTextBack(String pre) {
        try (BpeTokenizer tokenizer = bytes(pre)) {
            Random random = new Random(7);
            for (int i = 0; i < 200; i++) {
                String text = randomText(random, random.nextInt(60));
                int[] plain = tokenizer.encode(text);
                assertThat(tokenizer.decode(plain, false)).isEqualTo(text);
                assertThat(Arrays.stream(plain).noneMatch(tokenizer::isSpecial)).isTrue();
                int[] special = tokenizer.encodeWithSpecialTokens(text);
                assertThat(tokenizer.decode(special, false)).isEqualTo(text);
                StringBuilder streamed = new StringBuilder();
                Tokenizer.StreamDecoder stream = tokenizer.streamDecoder(false);
                for (int id : plain) {
                    String part = stream.push(id);
                    assertThat(part).doesNotContain("\uFFFD");
                    streamed.append(part);
                }
                assertThat(streamed + stream.flush()).isEqualTo(text);
            }
        }
    }

    @Test
    void digits() {
        try (BpeTokenizer smollm = bytes("smollm"); BpeTokenizer llama = bytes("llama-bpe"); BpeTokenizer qwen = bytes("qwen2")) {
            int all = smollm.tokenId("123").getAsInt();
            assertThat(smollm.encode("123")).containsExactly('1' , '2', '3');
            assertThat(llama.encode("123")).containsExactly(all);
            assertThat(llama.encode("1231")).containsExactly(all, '1');
            assertThat(qwen.encode("123")).containsExactly('1', '2', '3');
        }
    }

    @Test
    void llama3TakesWholeWordsButNeverASpecialToken() {
        GgufVocabulary v = TestVocabularies.bytes("llama-bpe", Optional.empty(), List.of("zzz", "end"));
        List<String> tokens = new ArrayList<>(v.tokens());
        tokens.add("word");
        int[] types = Arrays.copyOf(v.tokenTypes(), tokens.size());
        types[types.length - 1] = 1;
        try (BpeTokenizer tokenizer = Tokenizers.fromGguf(with(v, tokens, v.merges(), types))) {
            assertThat(tokenizer.encode("word")).containsExactly(tokens.size() - 1);
            assertThat(tokenizer.encode("zzz")).containsExactly('z', 'z', 'z');
            assertThat(tokenizer.encodeWithSpecialTokens("zzz")).containsExactly(tokenizer.tokenId("zzz").getAsInt());
        }
    }

    @Test
    void specialTokens() {
        try (BpeTokenizer tokenizer = bytes("gpt-2")) {
            int x = tokenizer.tokenId("<|x|>").getAsInt();
            int one = tokenizer.tokenId("☃").getAsInt();
            assertThat(tokenizer.encodeWithSpecialTokens("a<|x|>b☃<|<|xx|>")).containsExactly('a', x, 'b', one, tokenizer.tokenId("<|").getAsInt(), x + 1);
            assertThat(tokenizer.encode("<|x|>")).doesNotContain(x);
            assertThat(tokenizer.decode(new int[] {'a', x, 'b'}, true)).isEqualTo("ab");
            assertThat(tokenizer.decode(new int[] {'a', x, 'b'}, false)).isEqualTo("a<|x|>b");
            assertThat(tokenizer.isSpecial(x)).isTrue();
            assertThat(tokenizer.isSpecial('a')).isFalse();
            assertThat(tokenizer.bosToken()).hasValue(x - 1);
            assertThat(tokenizer.tokenId("no such")).isEmpty();
            assertThat(tokenizer.tokenName(x)).isEqualTo("<|x|>");
            assertThatThrownBy(() -> tokenizer.tokenName(99999)).isInstanceOf(PanaceaException.class).hasMessageContaining("99999");
        }
    }

    @Test
    void oddTexts() {
        try (BpeTokenizer tokenizer = bytes("smollm")) {
            assertThat(tokenizer.encode("")).isEmpty();
            assertThat(tokenizer.decode(new int[0], false)).isEmpty();
            assertThat(tokenizer.decode(tokenizer.encode("a\uD800b\uDC00"), false)).isEqualTo("a\uFFFDb\uFFFD");
            assertThat(tokenizer.encode("\u0000")).containsExactly(0);
            assertThat(tokenizer.decode(tokenizer.encode("\uFFFF\uFFFE"), false)).isEqualTo("\uFFFF\uFFFE");
            String longText = "word 1234 ".repeat(40_000);
            assertThat(tokenizer.decode(tokenizer.encode(longText), false)).isEqualTo(longText);
            String oneWord = "a".repeat(300_000);
            assertThat(tokenizer.encode(oneWord)).hasSize(300_000);
            String tooLong = "a".repeat(DjlEncoder.MAX_CHARS + 1);
            assertThatThrownBy(() -> tokenizer.encode(tooLong)).isInstanceOf(PanaceaException.class).hasMessageContaining("too long");
        }
    }

    @Test
    void idsThatAreNoTextDecodeToNothing() {
        try (BpeTokenizer tokenizer = bytes("smollm")) {
            assertThat(tokenizer.decode(new int[] {-1, 'a', Integer.MAX_VALUE, 100_000}, false)).isEqualTo("a");
            assertThat(tokenizer.decode(new int[] {0xE2, 0x82, 'a', 0xFF}, false)).isEqualTo("\uFFFDa\uFFFD");
        }
    }

    @Test
    void streamsWholeCharacters() {
        try (BpeTokenizer tokenizer = bytes("smollm")) {
            Tokenizer.StreamDecoder stream = tokenizer.streamDecoder(true);
            assertThat(List.of(stream.push('a'), stream.push(0xF0), stream.push(0x9F), stream.push(0x99), stream.push(0x82), stream.push('b')))
                    .containsExactly("a", "", "", "", "🙂", "b");
            assertThat(stream.push(0xE2)).isEmpty();
            assertThat(stream.push(tokenizer.tokenId("<|x|>").getAsInt())).isEmpty();
            assertThat(stream.flush()).isEqualTo("\uFFFD");
            assertThat(stream.push('c') + stream.flush()).isEqualTo("c");
            assertThat(stream.push(0xE2) + stream.push('d') + stream.push(0xFF) + stream.flush()).isEqualTo("\uFFFDd\uFFFD");
        }
    }

    @Test
    void manyThreads() {
        try (BpeTokenizer tokenizer = bytes("llama-bpe")) {
            String text = randomText(new Random(3), 2000);
            int[] once = tokenizer.encodeWithSpecialTokens(text);
            assertThat(IntStream.range(0, 64).parallel().allMatch(i -> Arrays.equals(once, tokenizer.encodeWithSpecialTokens(text)))).isTrue();
        }
    }

    @Test
    void closed() {
        BpeTokenizer tokenizer = bytes("smollm");
        requireClosing(tokenizer);
        assertThat(tokenizer.decode(new int[] {'a'}, true)).isEqualTo("a");
    }

    /** What is closed encodes nothing any more, not even text that has no part for the library. */
    static void requireClosing(BpeTokenizer tokenizer) {
        tokenizer.close();
        tokenizer.close();
        for (String text : List.of("a", "", tokenizer.tokenName(tokenizer.vocabSize() - 1))) {
            assertThatThrownBy(() -> tokenizer.encode(text)).isInstanceOf(IllegalStateException.class).hasMessage("the tokenizer has been closed");
            assertThatThrownBy(() -> tokenizer.encodeWithSpecialTokens(text)).isInstanceOf(IllegalStateException.class).hasMessage("the tokenizer has been closed");
        }
    }

    private static GgufVocabulary with(GgufVocabulary v, List<String> tokens, List<String> merges, int[] types) {
        return new GgufVocabulary(v.source(), v.model(), v.pre(), tokens, merges, types, v.ids(), v.addBos(), v.chatTemplate());
    }

    @Test
    void metadataThatLie() {
        GgufVocabulary v = TestVocabularies.bytes("smollm", Optional.empty(), CONTROL);
        refused(new GgufVocabulary("f.gguf", "llama", v.pre(), v.tokens(), v.merges(), v.tokenTypes(), v.ids(), v.addBos(), v.chatTemplate()),
                "f.gguf", "'llama'", "SentencePiece");
        refused(new GgufVocabulary("f.gguf", "gpt2", Optional.of("tekken"), v.tokens(), v.merges(), v.tokenTypes(), v.ids(), v.addBos(),
                v.chatTemplate()), "f.gguf", "'tekken'");
        refused(with(v, List.of(), v.merges(), new int[0]), "tokens");
        refused(with(v, v.tokens(), List.of(), v.tokenTypes()), "merges");
        refused(with(v, v.tokens(), v.merges(), new int[3]), "3 entries");
        for (String merge : List.of("a", " a", "a ", "a b c", "a b", "zq zq", " ")) {
            refused(with(v, v.tokens(), List.of("h e", merge), v.tokenTypes()), "merges[1]", "'" + merge + "'");
        }
        refused(new GgufVocabulary("f.gguf", "gpt2", v.pre(), v.tokens(), v.merges(), v.tokenTypes(), Map.of("bos", -1), v.addBos(),
                v.chatTemplate()), "bos_token_id", "-1");
        refused(new GgufVocabulary("f.gguf", "gpt2", v.pre(), v.tokens(), v.merges(), v.tokenTypes(), Map.of("eos", 5000), v.addBos(),
                v.chatTemplate()), "eos_token_id", "5000");
    }

    private static void refused(GgufVocabulary vocabulary, String... parts) {
        assertThatThrownBy(() -> Tokenizers.fromGguf(vocabulary)).isInstanceOf(PanaceaException.class).hasMessageContainingAll(parts);
    }

    /** The tokenizer.json that says the same as {@link TestVocabularies#bytes}, as Hugging Face writes it. */
    private static ObjectNode tokenizerJson(boolean pairs) {
        GgufVocabulary v = TestVocabularies.bytes("llama-bpe", Optional.empty(), CONTROL);
        ObjectNode root = JSON.createObjectNode().put("version", "1.0");
        root.putObject("truncation").put("max_length", 4).put("strategy", "LongestFirst").put("stride", 0).put("direction", "Right");
        var added = root.putArray("added_tokens");
        for (String token : CONTROL) {
            added.addObject().put("id", v.tokens().indexOf(token)).put("content", token).put("single_word", false).put("lstrip", false).put("rstrip", token.equals("<|x|>"))
                    .put("normalized", false).put("special", !token.equals("☃"));
        }
        root.set("pre_tokenizer", PreTokenizer.of(v.pre(), "test").toJson());
        ObjectNode processor = root.putObject("post_processor").put("type", "TemplateProcessing");
        processor.putArray("single").addObject().putObject("SpecialToken").put("id", "<|begin|>").put("type_id", 0);
        processor.withArray("single").addObject().putObject("Sequence").put("id", "A").put("type_id", 0);
        processor.putArray("pair");
        processor.putObject("special_tokens").putObject("<|begin|>").put("id", "<|begin|>").putArray("ids").add(v.tokens().indexOf("<|begin|>"));
        root.putObject("decoder").put("type", "ByteLevel").put("add_prefix_space", true).put("trim_offsets", true).put("use_regex", true);
        ObjectNode model = root.putObject("model").put("type", "BPE").put("ignore_merges", true);
        ObjectNode vocab = model.putObject("vocab");
        for (int id = 0; id < v.tokens().size() - 1; id++) {
            vocab.put(v.tokens().get(id), id);
        }
        var merges = model.putArray("merges");
        for (String merge : v.merges()) {
            if (pairs) {
                merges.addArray().add(merge.split(" ")[0]).add(merge.split(" ")[1]);
            } else {
                merges.add(merge);
            }
        }
        return root;
    }

    private static void write(Path folder, String name, Object json) throws IOException {
        Files.write(folder.resolve(name), JSON.writeValueAsBytes(json));
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void folderSaysTheSameAsGguf(boolean pairs, @TempDir Path folder) throws IOException {
        write(folder, "tokenizer.json", tokenizerJson(pairs));
        write(folder, "tokenizer_config.json", JSON.readTree("""
                {"bos_token": "<|begin|>", "eos_token": {"content": "<|end|>", "special": true}, "chat_template": [{"name": "tool_use", "template": "t"},
                 {"name": "default", "template": "d"}]}"""));
        write(folder, "generation_config.json", JSON.readTree("{\"eos_token_id\": [269, 272, 400000]}"));
        try (BpeTokenizer tokenizer = Tokenizers.open(folder); BpeTokenizer gguf = bytes("llama-bpe")) {
            Random random = new Random(5);
            for (int i = 0; i < 50; i++) {
                String text = randomText(random, 40);
                // That one is no control token here, and so is matched in any text.
                String noSnowman = text.replace("☃", "");
                assertThat(tokenizer.encode(noSnowman)).containsExactly(gguf.encode(noSnowman));
                String noStripping = text.replace("<|x|>", "");
                assertThat(tokenizer.encodeWithSpecialTokens(noStripping)).containsExactly(gguf.encodeWithSpecialTokens(noStripping));
            }
            assertThat(tokenizer.encodeWithSpecialTokens("<|x|> \n a")).containsExactly(tokenizer.tokenId("<|x|>").getAsInt(), 'a');
            assertThat(tokenizer.encode("a☃<|x|>")).startsWith('a', tokenizer.tokenId("☃").getAsInt(), tokenizer.tokenId("<|").getAsInt()).doesNotContain(tokenizer.tokenId("<|x|>").getAsInt());
            assertThat(tokenizer.encodeWithSpecialTokens("<|x|>\u00a0\u0085\u2007a")).as("Unicode's white space").containsExactly(tokenizer.tokenId("<|x|>").getAsInt(), 'a');
            assertThat(tokenizer.encodeWithSpecialTokens("<|x|>\u001ca")).as("no white space of Unicode's").hasSize(3);
            assertThat(tokenizer.encodeWithSpecialTokens("☃")).containsExactly(tokenizer.tokenId("☃").getAsInt());
            assertThat(tokenizer.isSpecial(tokenizer.tokenId("☃").getAsInt())).isFalse();
            assertThat(tokenizer.documentStart()).isEqualTo(gguf.bosToken());
            assertThat(tokenizer.bosToken()).isEqualTo(gguf.bosToken());
            assertThat(tokenizer.eosToken()).isEqualTo(gguf.eosToken());
            assertThat(tokenizer.vocabSize()).isEqualTo(gguf.vocabSize());
            assertThat(tokenizer.endTokens()).containsExactly(272, 269);
            assertThat(tokenizer.chatTemplate()).contains("d");
            Files.writeString(folder.resolve("chat_template.jinja"), "own");
        }
        try (BpeTokenizer tokenizer = Tokenizers.fromFolder(folder)) {
            assertThat(tokenizer.chatTemplate()).contains("own");
        }
    }

    @Test
    void foldersThatCannotBeUsed(@TempDir Path folder) throws IOException {
        folderRefused(folder, "no tokenizer.json");
        Files.write(folder.resolve("tokenizer.model"), new byte[3]);
        folderRefused(folder, "SentencePiece");
        for (String bad : List.of("", "{", "[]", "null", "{\"model\": 3}", "{\"model\": {\"type\": \"Unigram\"}}", "\u0000")) {
            Files.writeString(folder.resolve("tokenizer.json"), bad);
            folderRefused(folder, "tokenizer.json");
        }
        Files.write(folder.resolve("tokenizer.json"), new byte[] {'{', '"', (byte) 0xC3, '"', ':', '1', '}'});
        folderRefused(folder, "tokenizer.json");
        ObjectNode json = tokenizerJson(false);
        json.putNull("decoder");
        write(folder, "tokenizer.json", json);
        folderRefused(folder, "byte-level");
        for (String id : List.of("-1", "99999999", "1.5", "\"a\"", "null")) {
            json = tokenizerJson(false);
            ((ObjectNode) json.path("model").path("vocab")).set("!", JSON.readTree(id));
            write(folder, "tokenizer.json", json);
            folderRefused(folder, "'!'");
        }
        json = tokenizerJson(false);
        json.withObject("/model").withArray("merges").add("no way");
        write(folder, "tokenizer.json", json);
        folderRefused(folder, "rejects");
        write(folder, "tokenizer.json", tokenizerJson(false));
        Files.writeString(folder.resolve("tokenizer_config.json"), "{\"eos_token\": \"<|nowhere|>\"}");
        folderRefused(folder, "<|nowhere|>");
    }

    private static void folderRefused(Path folder, String part) {
        assertThatThrownBy(() -> Tokenizers.fromFolder(folder)).isInstanceOf(PanaceaException.class).hasMessageContaining(folder.toString()).hasMessageContaining(part);
    }

    @Test
    void byteAlphabet() {
        for (int b = 0; b < 256; b++) {
            assertThat(ByteLevel.bytesOf(String.valueOf(ByteLevel.charOf(b)))).containsExactly(b);
        }
        assertThat(ByteLevel.bytesOf("Ġa")).containsExactly(' ', 'a');
        assertThat(ByteLevel.bytesOf("日")).isEqualTo("日".getBytes(StandardCharsets.UTF_8));
    }
}
