package dev.panacea.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.panacea.data.TokenizedExample;
import dev.panacea.kernels.PanaceaException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
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

    private static String trained(ChatEncoder encoder, TokenizedExample example) {
        return encoder.tokenizer().decode(TextCases.trained(example), false);
    }

    private static Message untrained(String answer) {
        return new Message(Map.of("role", "assistant", "content", answer), false);
    }

    @Test
    void aTemplateMaySayWhatTheModelGenerates() {
        ChatEncoder encoder = encoder("{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' %}{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}"
                + "{% else %}{{ m.content }}<|im_end|>{% endif %}\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}");
        List<Message> messages = List.of(Message.user("q"), Message.assistant("A"), Message.user("r"), untrained("B"), Message.user("s"), Message.assistant("C"));
        assertThat(trained(encoder, TextCases.one(encoder, messages.subList(0, 2)))).isEqualTo("A<|im_end|>");
        assertThat(trained(encoder, TextCases.one(encoder, messages))).isEqualTo("A<|im_end|>C<|im_end|>");
    }

    @Test
    void answersThatAreNotToBeTrained() {
        ChatEncoder encoder = encoder(golden("chatml"));
        assertThat(trained(encoder, TextCases.one(encoder, List.of(Message.user("q"), untrained("bad"), Message.user("again"), Message.assistant("good"))))).isEqualTo("good<|im_end|>");
        refused(golden("chatml"), List.of(Message.user("q"), untrained("bad")), "nothing to train");
    }

    /** What tells the words of a message from the template's own must not be seen by the template. */
    @Test
    void templatesThatLookIntoMessages() {
        ChatEncoder encoder = encoder("{% for m in messages %}<|im_start|>{{ m.role }}\n{% if '</think>' in m.content %}{{ m.content.split('</think>')[0].rstrip('\n') + '|' +"
                + " m.content.split('</think>')[-1].lstrip('\n') }}{% else %}{{ m.content }}{% endif %}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}");
        TokenizedExample example = TextCases.one(encoder, List.of(Message.user("q"), Message.assistant("hm<|im_end|>\n</think>\n\nyes")));
        assertThat(trained(encoder, example)).isEqualTo("hm<|im_end|>|yes<|im_end|>");
        assertThat(count(example.inputIds(), encoder.endOfTurn().getAsInt())).isEqualTo(2);
    }

    @Test
    void nobodyForgesASpecialTokenFromWithinPartsOrCalls() {
        ChatEncoder encoder = encoder("{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}{{ p.text }}{% endfor %}"
                + "{% endif %}{{ m.tool_calls | tojson if m.tool_calls }}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}");
        Message parts = new Message(Map.of("role", "user", "content", List.of(Map.of("type", "text", "text", "a<|im_end|>"), Map.of("type", "text", "text", "<|im_start|>b"))), true);
        Message call = new Message(Map.of("role", "assistant", "content", "c", "tool_calls", List.of(Map.of("name", "<|im_end|>"))), true);
        TokenizedExample example = TextCases.one(encoder, List.of(parts, call));
        assertThat(count(example.inputIds(), encoder.endOfTurn().getAsInt())).isEqualTo(2);
        assertThat(count(example.inputIds(), encoder.tokenizer().tokenId("<|im_start|>").getAsInt())).isEqualTo(2);
        assertThat(trained(encoder, example)).isEqualTo("c[{\"name\": \"<|im_end|>\"}]<|im_end|>");
    }

    /** As Qwen 3 and DeepSeek R1 do. */
    @Test
    void aTemplateThatDropsEarlierReasoningGivesAnExampleForEachAnswer() {
        ChatEncoder encoder = encoder("{% for m in messages %}<|im_start|>{{ m.role }}\n{% if loop.last %}{{ m.content }}{% else %}{{ m.content.split('</think>')[-1] }}{% endif %}<|im_end|>"
                + "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}");
        List<Message> messages = List.of(Message.user("q"), Message.assistant("<think>1</think>A"), Message.user("r"), Message.assistant("plain"), Message.user("s"),
                Message.assistant("<think>3</think>C"));
        List<TokenizedExample> examples = encoder.encode(messages);
        assertThat(examples.stream().map(e -> trained(encoder, e))).containsExactly("<think>1</think>A<|im_end|>", "plain<|im_end|>", "<think>3</think>C<|im_end|>");
        assertThat(encoder.tokenizer().decode(examples.getLast().inputIds(), false)).contains("assistant\nA<|im_end|>").endsWith("<think>3</think>C<|im_end|>");
        for (int turn = 1; turn < messages.size(); turn += 2) {
            assertThat(examples.get(turn / 2).inputIds()).startsWith(encoder.encodePrompt(messages.subList(0, turn)));
        }
        assertThat(encoder.notes()).singleElement().asString().contains("one example for each answer");
        int[] first = examples.getFirst().inputIds();
        assertThat(encoder.encode(messages, 0, ChatTemplate.Options.NONE, first.length)).as("later answers lie beyond the limit").hasSize(1);
        assertThat(encoder.encode(List.of(Message.user("q"), Message.assistant("A"), Message.user("r"), Message.assistant("<think>2</think>B")))).as("nothing to drop").hasSize(1);
    }

    /** A character's greeting, as in role play: there is no message before it that the template could render. */
    @ParameterizedTest
    @ValueSource(strings = {
        "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
                + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% if loop.last and add_generation_prompt %}<|im_start|>assistant\n{% endif %}{% endfor %}",
        "Be kind.<|im_end|>\n{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
                + "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"})
    void anAnswerThatOpensTheConversation(String template) {
        ChatEncoder encoder = encoder(template);
        List<Message> messages = List.of(Message.assistant("<|im_start|>assistant\nHail"), Message.user("ask"), Message.assistant("answer"), Message.user("more"), Message.assistant("end"));
        String all = "<|im_start|>assistant\nHail<|im_end|>answer<|im_end|>end<|im_end|>";
        assertThat(encoder.tokenizer().decode(trained(encoder, messages), false)).isEqualTo(all);
        assertThat(encoder.tokenizer().decode(trained(encoder, messages.subList(0, 1)), false)).isEqualTo("<|im_start|>assistant\nHail<|im_end|>");
    }

    /** As gpt-oss: the last answer ends otherwise than those before it. */
    @Test
    void anAnswerThatEndsOtherwiseOnceMoreMessagesFollow() {
        ChatEncoder encoder = encoder("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{{ '</s>' if loop.last and m.role == 'assistant' else '<|im_end|>' }}{% endfor %}"
                + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}");
        List<Message> messages = List.of(Message.user("ask"), Message.assistant("answer"), Message.user("more"), Message.assistant("end"));
        assertThat(encoder.tokenizer().decode(trained(encoder, messages), false)).isEqualTo("answer</s>end</s>");
    }

    /** What is trained of all examples of a conversation. */
    private static int[] trained(ChatEncoder encoder, List<Message> messages) {
        return encoder.encode(messages).stream().flatMapToInt(e -> Arrays.stream(TextCases.trained(e))).toArray();
    }

    @Test
    void aGenerationPromptThatAnswersLack() {
        ChatEncoder encoder = encoder("{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}<U>{{ m.content }}{% else %}<A>{{ m.content.split('</think>')[-1] }}<|im_end|>{% endif %}"
                + "{% endfor %}{% if add_generation_prompt %}<A><think>\n{% endif %}");
        TokenizedExample example = TextCases.one(encoder, List.of(Message.user("q"), Message.assistant("<b> is bold")));
        assertThat(trained(encoder, example)).as("the answer begins like the prompt's end, and is whole").isEqualTo("<b> is bold<|im_end|>");
        assertThat(encoder.notes()).singleElement().asString().contains("<think>\\n", "prompt and completion");
    }

    /** Were every prefix rendered, this would be two billion characters. */
    @Test
    @Timeout(60)
    void aLongConversationIsRenderedAFewTimes() {
        ChatEncoder encoder = encoder(golden("chatml"));
        List<Message> messages = new ArrayList<>();
        for (int i = 0; i < 4000; i++) {
            messages.add(Message.user("question " + i + " about <|im_start|>assistant\n"));
            messages.add(Message.assistant("answer " + i));
        }
        TokenizedExample example = TextCases.one(encoder, messages);
        StringBuilder expected = new StringBuilder();
        for (int i = 0; i < 4000; i++) {
            expected.append("answer ").append(i).append("<|im_end|>");
        }
        assertThat(trained(encoder, example)).isEqualTo(expected.toString());
        assertThat(encoder.encode(messages, 0, ChatTemplate.Options.NONE, 100).getFirst().inputIds()).isEqualTo(Arrays.copyOf(example.inputIds(), 100));
    }
}
