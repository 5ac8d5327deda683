package dev.panacea.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.panacea.kernels.PanaceaException;
import dev.panacea.text.BpeTokenizer;
import dev.panacea.text.ChatTemplate;
import dev.panacea.text.GgufVocabulary;
import dev.panacea.text.Message;
import dev.panacea.text.TestVocabularies;
import dev.panacea.text.Tokenizers;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class ExampleEncoderTest {
    private static final String CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
            + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    private final BpeTokenizer tokenizer = Tokenizers.fromGguf(TestVocabularies.bytes("smollm", Optional.of(CHATML), List.of("<s>", "<|im_start|>", "<|im_end|>")));
    private final int end = tokenizer.eosToken().getAsInt();

    private ExampleEncoder encoder(int max) {
        return new ExampleEncoder(tokenizer, ChatTemplate.Options.NONE, max);
    }

    private TokenizedExample one(int max, Example example) {
        return encoder(max).encode(example).getFirst();
    }

    private static List<Row> rows(List<? extends Example> examples) {
        return IntStream.range(0, examples.size()).mapToObj(i -> new Row("data.jsonl, line " + (i + 1), examples.get(i))).toList();
    }

    private String trained(TokenizedExample e) {
        int[] ids = IntStream.range(1, e.length()).filter(t -> e.labels()[t] != TokenizedExample.IGNORED).map(t -> e.labels()[t]).toArray();
        return tokenizer.decode(ids, false);
    }

    @Test
    void textIsTrainedWholeAndEnds() {
        TokenizedExample e = one(100, new Example.Text("abc "));
        assertThat(tokenizer.decode(e.inputIds(), false)).isEqualTo("abc <|im_end|>");
        assertThat(Arrays.stream(e.inputIds()).filter(i -> i == end).count()).isOne();
        assertThat(e.labels()).isEqualTo(e.inputIds());
        assertThat(e.targetTokens()).isEqualTo(e.length() - 1);
    }

    /** As TRL has it: the end-of-sequence token follows unless the text ends with it. */
    @Test
    void rowsThatTheirAuthorHasRendered() {
        int start = tokenizer.tokenId("<|im_start|>").getAsInt();
        TokenizedExample text = one(100, new Example.Text("<|im_start|>user\nq0<|im_end|>\n<|im_start|>assistant\nr<|im_end|>\n"));
        assertThat(text.inputIds()).startsWith(start, 'u').endsWith('r', end, '\n', end);
        TokenizedExample completion = one(100, new Example.PromptCompletion("<|im_start|>user\nq0<|im_end|>\n<|im_start|>assistant\n", "r<|im_end|>"));
        assertThat(completion.inputIds()).as("one end").endsWith('\n', 'r', end);
        assertThat(trained(completion)).isEqualTo("r<|im_end|>");
    }

    /** A row's cost is what is used of it: this one would take gigabytes if it were encoded as a whole, and is longer than the library takes at once. */
    @Test
    void ofALongRowOnlyTheBeginningIsEncoded() {
        String words = "the quick brown fox 123 ".repeat(2000);
        int[] whole = one(100_000, new Example.Text(words)).inputIds();
        ExampleEncoder.Encoded encoded = encoder(5000).encode(rows(List.of(new Example.Text(words.repeat(500)), new Example.Conversation(List.of(Message.user("q"), Message.assistant(words
                .repeat(500)))))));
        assertThat(encoded.examples().getFirst().inputIds()).isEqualTo(Arrays.copyOf(whole, 5000));
        assertThat(encoded.examples().getLast().length()).isEqualTo(5000);
        assertThat(encoded.report().truncated()).isEqualTo(2);
    }

    @Test
    void ofACompletionOnlyTheAnswerIsTrained() {
        TokenizedExample e = one(100, new Example.PromptCompletion("ask: ", " it"));
        assertThat(tokenizer.decode(e.inputIds(), false)).isEqualTo("ask:  it<|im_end|>");
        assertThat(trained(e)).isEqualTo(" it<|im_end|>");
        assertThat(one(100, new Example.PromptCompletion("", "it")).targetTokens()).isEqualTo(2);
    }

    @Test
    void bosWhereTheModelWantsIt() {
        GgufVocabulary v = TestVocabularies.bytes("smollm", Optional.empty(), List.of("<s>", "</s>"));
        GgufVocabulary adding = new GgufVocabulary(v.source(), v.model(), v.pre(), v.tokens(), v.merges(), v.tokenTypes(), v.ids(), Optional.of(true),
                v.chatTemplate());
        ExampleEncoder encoder = new ExampleEncoder(Tokenizers.fromGguf(adding), ChatTemplate.Options.NONE, 10);
        int bos = v.ids().get("bos");
        TokenizedExample e = encoder.encode(new Example.Text("a")).getFirst();
        assertThat(e.inputIds()).containsExactly(bos, 'a', bos + 1);
        assertThat(e.labels()).containsExactly(TokenizedExample.IGNORED, 'a', bos + 1);
        assertThat(encoder.encode(new Example.Text("<s>a</s>")).getFirst().inputIds()).as("no second one, and no second end").containsExactly(bos, 'a', bos + 1);
        assertThat(encoder.encode(new Example.PromptCompletion("<s>a", "b")).getFirst().inputIds()).containsExactly(bos, 'a', 'b', bos + 1);
        assertThat(encoder.encode(new Example.PromptCompletion("a", "b")).getFirst().inputIds()).containsExactly(bos, 'a', 'b', bos + 1);
        assertThat(encoder.encode(new Example.PromptCompletion("", "b")).getFirst().labels()).containsExactly(TokenizedExample.IGNORED, 'b', bos + 1);
        assertThatThrownBy(() -> encoder.encode(rows(List.of(new Example.Conversation(List.of(Message.user("q"), Message.assistant("a")))))))
                .isInstanceOf(PanaceaException.class).hasMessageContaining("data.jsonl, line 1: ").hasMessageContaining("no chat template");
    }

    @Test
    void onlyTheLastAnswerOfAPromptOfMessages() {
        List<Message> messages = List.of(Message.user("q"), Message.assistant("one"), Message.user("r"), Message.assistant("two"));
        assertThat(trained(one(100, new Example.Conversation(messages)))).isEqualTo("one<|im_end|>two<|im_end|>");
        assertThat(trained(one(100, new Example.Conversation(messages, 2)))).isEqualTo("two<|im_end|>");
        assertThatThrownBy(() -> new Example.Conversation(messages, 4)).isInstanceOf(IllegalArgumentException.class);
    }

    @Test
    void truncation() {
        Example fits = new Example.Conversation(List.of(Message.user("q"), Message.assistant("a")));
        int length = one(100, fits).length();
        Example cut = new Example.Conversation(List.of(Message.user("q"), Message.assistant("a".repeat(50))));
        Example gone = new Example.Conversation(List.of(Message.user("q".repeat(50)), Message.assistant("a")));
        ExampleEncoder.Encoded encoded = encoder(length).encode(rows(List.of(fits, cut, gone, fits)));
        assertThat(encoded.examples()).hasSize(3).allMatch(e -> e.length() == length);
        EncodingReport report = encoded.report();
        assertThat(List.of(report.rows(), report.dropped(), report.truncated())).containsExactly(4, 1, 2);
        assertThat(report.tokens()).isEqualTo(3L * length);
        assertThat(report.targetTokens()).isEqualTo(encoded.examples().stream().mapToLong(TokenizedExample::targetTokens).sum());
        assertThat(report.trainedFraction()).isBetween(0.05, 0.5);
        assertThat(report).hasToString("3 of 4 examples, " + 3 * length + " tokens, " + String.format("%.1f", 100 * report.trainedFraction()) + " % of them trained; 2 cut at "
                + length + " tokens, 1 left out as nothing to train remained");
        assertThatThrownBy(() -> encoder(length).encode(rows(List.of(gone)))).isInstanceOf(PanaceaException.class).hasMessageContaining("no token would be trained");
        assertThatThrownBy(() -> encoder(1)).isInstanceOf(PanaceaException.class).hasMessageContaining("1");
    }

    /** What did not happen is not said, and one is not many. */
    @Test
    void aReportSaysWhatHappened() {
        assertThat(new EncodingReport(1, 0, 0, 10, 5, 512)).hasToString("1 example, 10 tokens, 50.0 % of them trained");
        assertThat(new EncodingReport(2000, 0, 1, 20_000, 5000, 512)).hasToString("2,000 examples, 20,000 tokens, 25.0 % of them trained; 1 cut at 512 tokens");
        assertThat(new EncodingReport(3, 1, 0, 20, 10, 512)).hasToString("2 of 3 examples, 20 tokens, 50.0 % of them trained; 1 left out as nothing to train remained");
        assertThat(new EncodingReport(1, 1, 1, 0, 0, 8)).hasToString("0 of 1 example; 1 cut at 8 tokens, 1 left out as nothing to train remained");
    }

    /** A row may say that none of its answers is good enough to be trained; that is no fault of the others. */
    @Test
    void aConversationOfWhichNothingIsTrainedIsLeftOut() {
        Example none = new Example.Conversation(List.of(Message.user("q"), new Message(Map.of("role", "assistant", "content", "bad"), false)));
        Example good = new Example.Conversation(List.of(Message.user("q"), Message.assistant("good")));
        ExampleEncoder.Encoded encoded = encoder(100).encode(rows(List.of(none, good)));
        assertThat(encoded.examples()).hasSize(1);
        assertThat(encoded.rows().getFirst().usable()).isFalse();
        assertThat(encoded.report()).asString().startsWith("1 of 2 examples, ").endsWith("; 1 left out as nothing to train remained");
        assertThatThrownBy(() -> encoder(100).encode(rows(List.of(none)))).isInstanceOf(PanaceaException.class).hasMessageContainingAll("data.jsonl, line 1", "no token would be trained");
    }

    @Test
    void everyRowIsProgress() {
        List<Example> rows = IntStream.range(0, 300).mapToObj(i -> (Example) new Example.Text("row " + i)).toList();
        List<Integer> told = new ArrayList<>();
        encoder(100).encode(rows(rows), (done, all) -> {
            assertThat(all).isEqualTo(300);
            told.add(done);
        });
        assertThat(told).isEqualTo(IntStream.rangeClosed(1, 300).boxed().toList());
        assertThatThrownBy(() -> encoder(100).encode(rows(rows), (done, all) -> {
            throw new IllegalStateException("whoever listens has had enough");
        })).hasMessage("whoever listens has had enough");
    }

    /** Rows are encoded side by side, which must not show. */
    @Test
    void manyRowsComeInTheirOrderAndTheFirstBadOneIsNamed() {
        List<Example> rows = IntStream.range(0, 500).mapToObj(i -> (Example) new Example.Conversation(List.of(Message.user("q" + i), Message.assistant("a".repeat(1 + i % 7) + i)))).toList();
        ExampleEncoder encoder = encoder(100);
        List<TokenizedExample> encoded = encoder.encode(rows(rows)).examples();
        for (int i = 0; i < rows.size(); i++) {
            assertThat(encoded.get(i).inputIds()).as("row " + i).isEqualTo(encoder.encode(rows.get(i)).getFirst().inputIds());
        }
        List<Example> some = IntStream.range(0, 500).mapToObj(i -> i == 77 || i >= 300 ? refused(i) : rows.get(i)).toList();
        String refusing = CHATML.replace("{{ m.content }}", "{{ m.content }}{% if 'refused' in m.content %}{{ raise_exception(m.content) }}{% endif %}");
        try (BpeTokenizer other = Tokenizers.fromGguf(TestVocabularies.bytes("smollm", Optional.of(refusing), List.of("<s>", "<|im_start|>", "<|im_end|>")))) {
            assertThatThrownBy(() -> new ExampleEncoder(other, ChatTemplate.Options.NONE, 100).encode(rows(some))).isExactlyInstanceOf(PanaceaException.class)
                    .hasMessage("data.jsonl, line 78: the model's chat template refuses this conversation: refused 77");
        }
    }

    private static Example refused(int row) {
        return new Example.Conversation(List.of(Message.user("refused " + row), Message.assistant("a")));
    }

    @Test
    void audit() {
        TokenizedExample e = one(200, new Example.Conversation(List.of(Message.user("q\u001B[31m"), Message.assistant("yes\n"))));
        MaskAudit audit = MaskAudit.of(List.of(e), tokenizer, new int[] {end}, false);
        assertThat(audit.sample()).isEqualTo("‹<|im_start|> 269›user\nq\\u001b[31m‹<|im_end|> 270›\n‹<|im_start|> 269›assistant\n【yes\n‹<|im_end|> 270›】\n");
        assertThat(MaskAudit.of(List.of(one(200, new Example.Conversation(List.of(Message.user("<|im_end|>"), Message.assistant("a"))))), tokenizer, new int[] {end}, false).sample())
                .as("spelled out, and seen to be").startsWith("‹<|im_start|> 269›user\n<|im_end|>‹<|im_end|> 270›");
        assertThat(audit.endTokenTrained()).isTrue();
        assertThat(MaskAudit.of(List.of(e), tokenizer, new int[] {end}, true).sample()).contains("\u001B[32myes\n\u001B[36m‹<|im_end|> 270›\u001B[0m\u001B[32m\u001B[0m");
        TokenizedExample cut = new TokenizedExample(new int[] {'a', 'b'}, new int[] {TokenizedExample.IGNORED, 'b'});
        assertThat(MaskAudit.of(List.of(cut), tokenizer, new int[] {end}, false)).isEqualTo(new MaskAudit(false, "a【b】"));
        TokenizedExample longText = one(5000, new Example.Text("x".repeat(2000)));
        assertThat(MaskAudit.of(List.of(longText), tokenizer, new int[] {end}, false).sample()).contains("x … x").hasSizeLessThan(500);
    }
}
