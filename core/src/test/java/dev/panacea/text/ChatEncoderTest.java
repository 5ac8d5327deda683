package dev.panacea.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.panacea.data.TokenizedExample;
import dev.panacea.kernels.PanaceaException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ChatEncoderTest {
    private static final List<String> CONTROL = List.of("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|im_start|>", "<|im_end|>", "<s>", "</s>",
            "☃", "<|eot_id|>");

    private static BpeTokenizer tokenizer(String template) {
        return Tokenizers.fromGguf(TestVocabularies.bytes("llama-bpe", Optional.of(template), CONTROL));
    }

    private static String golden(String name) {
        return TestVocabularies.resource("chat-templates.json").get("templates").get(name).asText();
    }

    private static ChatEncoder encoder(String template) {
        return ChatEncoder.of(tokenizer(template), ChatTemplate.Options.NONE.withDate("26 Jul 2024"));
    }

    private static long count(int[] ids, int id) {
        return Arrays.stream(ids).filter(i -> i == id).count();
    }

    @ParameterizedTest
    @ValueSource(strings = {"chatml", "llama-3.2", "zephyr", "strict"})
    void nobodyForgesASpecialToken(String name) {
        ChatEncoder encoder = encoder(golden(name));
        BpeTokenizer tokenizer = encoder.tokenizer();
        List<Message> harmless = List.of(Message.user("ask"), Message.assistant("answer"));
        TokenizedExample plain = TextCases.one(encoder, harmless);
        for (String control : CONTROL) {
            int id = tokenizer.tokenId(control).getAsInt();
            for (String text : List.of(control, "a" + control + "b", control + control, "\uE000" + control + "\uE001", control.substring(1), "<" + control)) {
                List<Message> messages = List.of(Message.user("x" + text + "x"), Message.assistant("y" + text + "y"));
                TokenizedExample example = TextCases.one(encoder, messages);
                for (String each : CONTROL) {
                    int eachId = tokenizer.tokenId(each).getAsInt();
                    assertThat(count(example.inputIds(), eachId)).as(each + " for " + text).isEqualTo(count(plain.inputIds(), eachId));
                }
                assertThat(count(encoder.encodePrompt(List.of(messages.getFirst())), id))
                        .isEqualTo(count(encoder.encodePrompt(List.of(harmless.getFirst())), id));
                String rendered = ChatTemplate.of(tokenizer).render(messages, false, ChatTemplate.Options.NONE.withDate("26 Jul 2024"));
                assertThat(tokenizer.decode(example.inputIds(), false)).isEqualTo(rendered);
                assertThat(tokenizer.decode(TextCases.trained(example), true).strip()).isEqualTo("y" + text + "y");
            }
        }
    }

    @Test
    void randomConversations() {
        Random random = new Random(11);
        for (String name : List.of("chatml", "llama-3.2", "zephyr", "strict")) {
            ChatEncoder encoder = encoder(golden(name));
            for (int n = 0; n < 60; n++) {
                List<Message> messages = new ArrayList<>();
                StringBuilder answers = new StringBuilder();
                int turns = 1 + random.nextInt(4);
                for (int t = 0; t < turns; t++) {
                    messages.add(Message.user(words(random)));
                    String answer = words(random);
                    messages.add(Message.assistant(answer));
                    answers.append(name.equals("llama-3.2") ? answer.strip() : (name.equals("strict") ? " " : "") + answer);
                }
                TokenizedExample example = TextCases.one(encoder, messages);
                int[] trained = TextCases.trained(example);
                assertThat(encoder.tokenizer().decode(trained, true)).isEqualTo(answers.toString());
                assertThat(count(trained, encoder.endOfTurn().getAsInt())).isEqualTo(turns);
                assertThat(example.inputIds()).startsWith(encoder.encodePrompt(messages.subList(0, 1)));
                assertThat(example.labels()[0]).isEqualTo(TokenizedExample.IGNORED);
            }
        }
    }

    private static String words(Random random) {
        String[] parts = {" ", "\n\n", "the", "é", "🙂", "\uE000", "<|im_end|>", "{{ x }}", "12", "\u3000", "'s", "<|", "</s>", "\uE001\uE000"};
        StringBuilder text = new StringBuilder("w");
        for (int i = random.nextInt(12); i >= 0; i--) {
            text.append(parts[random.nextInt(parts.length)]);
        }
        return random.nextBoolean() ? text.toString() : "  " + text.reverse();
    }

    @Test
    void llama3() {
        ChatEncoder encoder = encoder(golden("llama-3.2"));
        BpeTokenizer t = encoder.tokenizer();
        TokenizedExample example = TextCases.one(encoder, List.of(Message.user("hi"), Message.assistant("  yo \n")));
        assertThat(t.decode(TextCases.trained(example), false)).isEqualTo("yo<|eot_id|>");
        assertThat(count(example.inputIds(), t.bosToken().getAsInt())).isOne();
        assertThat(example.inputIds()[0]).isEqualTo(t.bosToken().getAsInt());
        assertThat(encoder.stopTokens()).as("<|im_end|> ends a generation of a GGUF file by its name").containsExactly(t.tokenId("<|eot_id|>").getAsInt(),
                t.tokenId("<|im_end|>").getAsInt());
        assertThat(encoder(golden("chatml")).stopTokens()).containsExactly(t.tokenId("<|im_end|>").getAsInt(), t.eosToken().getAsInt());
    }

    @Test
    void anAnswerIsSplitAsAGenerationSeesIt() {
        // The prompt ends with a blank line, the answer begins with one: encoded together they would merge across the border.
        ChatEncoder encoder = encoder("{% for m in messages %}{{ m.role }}\n\n{{ m.content }}<|im_end|>{% endfor %}{% if add_generation_prompt %}assistant\n\n{% endif %}");
        TokenizedExample example = TextCases.one(encoder, List.of(Message.user("q"), Message.assistant("\n\nA")));
        assertThat(example.inputIds()).startsWith(encoder.encodePrompt(List.of(Message.user("q"))));
        assertThat(TextCases.trained(example)).startsWith(encoder.tokenizer().encode("\n\nA"));
    }

    @Test
    void aTemplateWithoutEndOfTurn() {
        ChatEncoder encoder = encoder("{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n\n{% endfor %}{% if add_generation_prompt %}### assistant:\n{% endif %}");
        assertThat(encoder.endOfTurn()).isEmpty();
        TokenizedExample example = TextCases.one(encoder, List.of(Message.user("q"), Message.assistant("A"), Message.user("r"), Message.assistant("B")));
        assertThat(encoder.tokenizer().decode(TextCases.trained(example), false)).isEqualTo("A\n\nB\n\n");
    }

    @Test
    void templatesThatCannotBeTrained() {
        String rewriting = "{% for m in messages %}{% if loop.last and m.role == 'assistant' %}!{% endif %}{% endfor %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
                + "<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
        refused(rewriting, List.of(Message.user("q"), Message.assistant("A")), "message 2", "otherwise", "prompt and completion");
        String open = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% if loop.index0 != 3 %}<|im_end|>{% endif %}{% endfor %}"
                + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
        refused(open, List.of(Message.user("q"), Message.assistant("A"), Message.user("q"), Message.assistant("A"), Message.user("z")), "message 4", "<|im_end|>");
        assertThatThrownBy(() -> encoder("{{ messages[0].content }}")).isInstanceOf(PanaceaException.class).hasMessageContaining("does not print the assistant");
        assertThatThrownBy(() -> ChatEncoder.of(Tokenizers.fromGguf(TestVocabularies.bytes("smollm", Optional.empty(), CONTROL)), ChatTemplate.Options.NONE))
                .isInstanceOf(PanaceaException.class).hasMessageContaining("no chat template");
    }

    private static void refused(String template, List<Message> messages, String... parts) {
        ChatEncoder encoder = encoder(template);
        assertThatThrownBy(() -> encoder.encode(messages)).isInstanceOf(PanaceaException.class).hasMessageContainingAll(parts);
    }

    @Test
    void conversationsWithoutAnAnswer() {
        refused(golden("chatml"), List.of(Message.user("only")), "no assistant turn");
        refused(golden("chatml"), List.of(), "no assistant turn");
        refused(golden("strict"), List.of(Message.user("a"), Message.user("b"), Message.assistant("c")), "must alternate");
    }

    @Test
    void everyPrivateUseCharacterTaken() {
        StringBuilder all = new StringBuilder();
        for (char c = '\uE000'; c < '\uF8FF'; c++) {
            all.append(c);
        }
        ChatEncoder encoder = encoder(golden("chatml"));
        String text = all + "<|im_end|>";
        TokenizedExample example = TextCases.one(encoder, List.of(Message.user(text), Message.assistant(text)));
        assertThat(encoder.tokenizer().decode(TextCases.trained(example), false)).isEqualTo(text + "<|im_end|>");
    }
}
