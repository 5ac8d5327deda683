package dev.panacea.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import dev.panacea.data.TokenizedExample;
import dev.panacea.kernels.PanaceaException;
import java.time.Clock;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.IntStream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.function.ThrowingSupplier;

/** The cases of smollm2.json and chat_templates.json as tests; shared by the golden folder and the project's own excerpts. */
public final class TextCases {
    private TextCases() {}

    /** {@code texts} and {@code chats}: ids, renderings and decoded text. */
    public static List<DynamicTest> tokenizer(JsonNode file, BpeTokenizer tokenizer) {
        List<DynamicTest> tests = new ArrayList<>();
        for (JsonNode c : file.get("texts")) {
            String text = c.get("text").asText();
            tests.add(DynamicTest.dynamicTest("text " + text, () -> {
                int[] ids = TestVocabularies.ints(c.get("ids"));
                assertThat(tokenizer.encode(text)).containsExactly(ids);
                assertThat(tokenizer.encodeWithSpecialTokens(text)).containsExactly(ids);
                assertThat(tokenizer.decode(ids, false)).isEqualTo(text);
            }));
        }
        ChatEncoder encoder = ChatEncoder.of(tokenizer, ChatTemplate.Options.NONE);
        for (JsonNode c : file.get("chats")) {
            List<Message> messages = TestVocabularies.messages(c.get("messages"));
            tests.add(DynamicTest.dynamicTest("chat " + messages.getLast().content(), () -> {
                String rendered = c.get("rendered").asText();
                assertThat(ChatTemplate.of(tokenizer).render(messages, true, ChatTemplate.Options.NONE)).isEqualTo(rendered);
                int[] ids = TestVocabularies.ints(c.get("ids"));
                assertThat(encoder.encodePrompt(messages)).containsExactly(ids);
                assertThat(tokenizer.encodeWithSpecialTokens(rendered)).containsExactly(ids);
                assertThat(tokenizer.decode(ids, false)).isEqualTo(rendered);
                int[] greedy = TestVocabularies.ints(c.get("greedy"));
                assertThat(tokenizer.decode(greedy, false)).isEqualTo(c.get("greedy_text").asText());
                Tokenizer.StreamDecoder stream = tokenizer.streamDecoder(false);
                StringBuilder streamed = new StringBuilder();
                for (int id : greedy) {
                    streamed.append(stream.push(id));
                }
                assertThat(streamed + stream.flush()).isEqualTo(c.get("greedy_text").asText());
            }));
        }
        return tests;
    }

    /** {@code cases}: renderings, errors, and what is trained. */
    public static List<DynamicTest> templates(JsonNode file) {
        String bos = file.get("bos_token").asText();
        String eos = file.get("eos_token").asText();
        Map<String, ChatTemplate> templates = new LinkedHashMap<>();
        file.get("templates").properties().forEach(t -> templates.put(t.getKey(), ChatTemplate.of(t.getValue().asText(), Map.of("bos_token", bos, "eos_token", eos))));
        List<DynamicTest> tests = new ArrayList<>();
        int number = 0;
        for (JsonNode c : file.get("cases")) {
            String name = ++number + " " + c.get("template").asText() + (c.get("add_generation_prompt").asBoolean() ? " prompt" : "") + (c.get("tools").isNull() ? "" : " tools");
            tests.add(DynamicTest.dynamicTest(name, () -> template(c, templates.get(c.get("template").asText()), file)));
        }
        return tests;
    }

    /** jinja.json: what transformers renders for a template and messages, or that it refuses them. */
    public static List<DynamicTest> jinja(JsonNode file) {
        Map<String, String> special = new LinkedHashMap<>();
        for (String name : List.of("bos_token", "eos_token", "unk_token", "pad_token")) {
            special.put(name, file.get(name).asText());
        }
        Clock clock = Clock.fixed(LocalDateTime.parse(file.get("now").asText()).toInstant(ZoneOffset.UTC), ZoneOffset.UTC);
        List<DynamicTest> tests = new ArrayList<>();
        for (JsonNode c : file.get("cases")) {
            String source = c.get("template").asText();
            tests.add(DynamicTest.dynamicTest(c.get("name").asText() + " " + source.lines().findFirst().orElse(""), () -> {
                ChatTemplate.Options options = c.hasNonNull("tools") ? ChatTemplate.Options.NONE.withTools(c.get("tools").toString()) : ChatTemplate.Options.NONE;
                ThrowingSupplier<String> rendered = () -> ChatTemplate.of(source, special, clock)
                        .render(TestVocabularies.messages(c.get("messages")), c.get("add_generation_prompt").asBoolean(), options);
                if (c.has("error")) {
                    assertThatThrownBy(rendered::get).isInstanceOf(PanaceaException.class);
                } else {
                    assertThat(rendered.get()).isEqualTo(c.get("rendered").asText());
                }
            }));
        }
        return tests;
    }

    private static void template(JsonNode c, ChatTemplate template, JsonNode file) {
        List<Message> messages = TestVocabularies.messages(c.get("messages"));
        ChatTemplate.Options dated = ChatTemplate.Options.NONE.withDate(file.get("date_string").asText());
        ChatTemplate.Options options = c.get("tools").isNull() ? dated : dated.withTools(c.get("tools").toString());
        boolean prompt = c.get("add_generation_prompt").asBoolean();
        if (!c.get("error").isNull()) {
            assertThatThrownBy(() -> template.render(messages, prompt, options)).isInstanceOf(PanaceaException.class)
                    .hasMessageContaining(c.get("error").asText());
            return;
        }
        String rendered = c.get("rendered").asText();
        assertThat(template.render(messages, prompt, options)).isEqualTo(rendered);
        if (!c.has("assistant_spans")) {
            return;
        }
        List<AnswerSpans.Span> expected = new ArrayList<>();
        StringBuilder trainedText = new StringBuilder();
        for (JsonNode span : c.get("assistant_spans")) {
            expected.add(new AnswerSpans.Span(span.get(0).intValue(), span.get(1).intValue()));
            trainedText.append(rendered, span.get(0).intValue(), span.get(1).intValue());
        }
        List<String> control = List.of(file.get("bos_token").asText(), "<|start_header_id|>", "<|end_header_id|>", "<|im_start|>", "<|im_end|>",
                file.get("eos_token").asText());
        try (BpeTokenizer tokenizer = Tokenizers.fromGguf(TestVocabularies.bytes("llama-bpe", Optional.empty(), control))) {
            ChatEncoder encoder = new ChatEncoder(tokenizer, template, options);
            assertThat(encoder.spans(messages)).isEqualTo(expected);
            TokenizedExample example = one(encoder, messages);
            assertThat(tokenizer.decode(example.inputIds(), false)).isEqualTo(rendered);
            assertThat(tokenizer.decode(trained(example), false)).isEqualTo(trainedText.toString());
            assertThat(example.inputIds()).startsWith(encoder.encodePrompt(messages.subList(0, firstAnswer(messages))));
        }
    }

    private static int firstAnswer(List<Message> messages) {
        int i = 0;
        while (!messages.get(i).role().equals("assistant")) {
            i++;
        }
        return i;
    }

    /** The conversation as one example, where it is one. */
    static TokenizedExample one(ChatEncoder encoder, List<Message> messages) {
        List<TokenizedExample> examples = encoder.encode(messages);
        assertThat(examples).hasSize(1);
        return examples.getFirst();
    }

    static int[] trained(TokenizedExample example) {
        return IntStream.range(0, example.length()).filter(t -> example.labels()[t] != TokenizedExample.IGNORED)
                .map(t -> example.labels()[t]).toArray();
    }
}
