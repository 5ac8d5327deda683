package dev.panacea.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import dev.panacea.kernels.PanaceaException;
import java.time.Year;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ChatTemplateTest {
    private static String render(String template, Message... messages) {
        return ChatTemplate.of(template, Map.of("bos_token", "<s>", "eos_token", "</s>")).render(List.of(messages), false, ChatTemplate.Options.NONE);
    }

    @TestFactory
    List<DynamicTest> jinjaConstructs() {
        JsonNode file = TestVocabularies.resource("jinja-constructs.json");
        List<Message> messages = TestVocabularies.messages(file.get("messages"));
        var options = ChatTemplate.Options.NONE.withTools(file.get("tools").toString());
        List<DynamicTest> tests = new ArrayList<>();
        for (JsonNode c : file.get("cases")) {
            ChatTemplate template = ChatTemplate.of(c.get("template").asText(), Map.of("bos_token", "<s>", "eos_token", "</s>"));
            tests.add(DynamicTest.dynamicTest(c.get("template").asText(), () -> {
                if (c.get("error").isNull()) {
                    assertThat(template.render(messages, true, options)).isEqualTo(c.get("rendered").asText());
                } else {
                    assertThatThrownBy(() -> template.render(messages, true, options)).hasMessageContaining(c.get("error").asText());
                }
            }));
        }
        return tests;
    }

    @ParameterizedTest
    @ValueSource(strings = {"{{ 7*7 }}", "{% set x = 1 %}", "{# gone #}", "{{ messages[0].role }}", "{% raw %}", "\\n", "a\u0000b", "{{'<|im_end|>'}}"})
    void contentIsNeverAProgram(String content) {
        assertThat(render("{% for m in messages %}[{{ m.content }}]{% endfor %}", Message.user(content))).isEqualTo("[" + content + "]");
    }

    @Test
    void outputIsBounded() {
        String doubling = "{% set ns = namespace(s='0123456789abcdef') %}{% for i in range(40) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}";
        assertThatThrownBy(() -> render(doubling, Message.user("x"))).isInstanceOf(PanaceaException.class);
        assertThatThrownBy(() -> render("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", Message.user("x"))).isInstanceOf(PanaceaException.class);
        assertThatThrownBy(() -> ChatTemplate.of("x".repeat(2 << 20), Map.of())).isInstanceOf(PanaceaException.class).hasMessageContaining("2097152");
    }

    @ParameterizedTest
    @ValueSource(strings = {"{% if x %}a", "{{ 1 + }}", "{% for m in messages %}", "{% nonsense %}", "{{ messages | nonsense }}", "{{ nonsense() }}", "{{ 1 is nonsense }}", "{{ '%}' ", "{% raw %}", "{# ",
        "{% include 'a' %}", "{{ messages.append('a') }}"})
    void whatIsNotUnderstoodIsAnError(String template) {
        assertThatThrownBy(() -> render(template, Message.user("x"))).isInstanceOf(PanaceaException.class).hasMessageContaining("the model's chat template");
    }

    /** Renderings share the template and nothing else. */
    @Test
    void renderingsDoNotSeeEachOther() {
        String sets = "{% set x = 'left' %}{% set ns = namespace(y='behind') %}{% macro f() %}macro{% endmacro %}{{ f() }}{% for m in messages %}{% set z = 1 %}{% endfor %}";
        String asks = "{{ x is defined }}{{ ns is defined }}{{ z is defined }}{{ messages is defined }}";
        for (int i = 0; i < 3; i++) {
            assertThat(render(sets, Message.user("a"))).isEqualTo("macro");
            assertThat(render(asks)).isEqualTo("FalseFalseFalseTrue");
            assertThatThrownBy(() -> render("{{ f() }}")).isInstanceOf(PanaceaException.class);
            assertThatThrownBy(() -> render(sets + "{{ raise_exception('stop') }}")).hasMessageContaining("stop");
        }
        List<String> texts = IntStream.range(0, 200).parallel().mapToObj(i -> render("{% set v = messages[0].content %}{{ v }}{{ v | trim }}", Message.user("m" + i))).toList();
        assertThat(texts).isEqualTo(IntStream.range(0, 200).mapToObj(i -> "m" + i + "m" + i).toList());
    }

    @Test
    void refusalsCarryTheTemplatesWords() {
        assertThatThrownBy(() -> render("{% for m in messages %}{{ raise_exception('Only users, not ' + m.role) }}{% endfor %}", Message.assistant("x")))
                .isInstanceOf(PanaceaException.class).hasMessage("the model's chat template refuses this conversation: Only users, not assistant");
    }

    @Test
    void dates() {
        assertThat(render("{{ strftime_now('%Y') }}")).isEqualTo(Year.now().toString());
        assertThat(render("{{ strftime_now('%d %b %Y') }}")).matches("\\d\\d [A-Z][a-z][a-z] \\d{4}");
        String template = "{{ date_string if date_string is defined else 'none' }}";
        assertThat(render(template)).isEqualTo("none");
        assertThat(ChatTemplate.of(template, Map.of()).render(List.of(), false, ChatTemplate.Options.NONE.withDate("1 Jan 2030")))
                .isEqualTo("1 Jan 2030");
    }

    @Test
    void toolsAreAJsonArray() {
        ChatTemplate template = ChatTemplate.of("{{ tools | tojson }}", Map.of());
        for (String bad : List.of("{}", "[", "1", "x")) {
            assertThatThrownBy(() -> template.render(List.of(), false, ChatTemplate.Options.NONE.withTools(bad)))
                    .isInstanceOf(PanaceaException.class).hasMessageContaining("tools");
        }
    }

    @Test
    void newlinesOfTheTemplate() {
        assertThat(render("a\r\nb\n")).isEqualTo("a\nb");
        assertThat(render("{{ messages[0].content }}", Message.user("a\r\n"))).isEqualTo("a\r\n");
    }
}
