package dev.panacea.data;

import static org.assertj.core.api.Assertions.assertThat;

import dev.panacea.text.ChatTemplate;
import dev.panacea.text.Message;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class UnseenKeysTest {
    @Test
    void whatTheTemplateNeverAsksFor() {
        Message call = new Message(Map.of("role", "assistant", "content", "", "reasoning_content", "why", "tool_calls", List.of()), true);
        Row row = new Row("d, line 1", new Example.Conversation(List.of(Message.user("q"), call), 0, ChatTemplate.Options.NONE.with("tools", List.of("f"))));
        Row plain = new Row("d, line 2", new Example.Text("t"));
        String simple = "{% for m in messages %}{{ m['role'] + m['content'] }}{% endfor %}";
        assertThat(UnseenKeys.of(List.of(row, plain, row), ChatTemplate.of(simple, Map.of()))).containsOnly(Map.entry("tools", 2), Map.entry("reasoning_content", 2), Map.entry("tool_calls", 2));
        String knowing = "{% if tools %}{{ tools }}{% endif %}{% for m in messages %}{{ m.role + m.content + (m.reasoning_content or '') }}{{ m['tool_calls'] }}{% endfor %}";
        assertThat(UnseenKeys.of(List.of(row, plain), ChatTemplate.of(knowing, Map.of()))).isEmpty();
    }
}
