package dev.panacea.text;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What a template wrote, and which of it comes from the messages: an escape character before the names of tokens in them tells. */
record Rendering(String text, List<Range> data, List<Range> generated) {
    record Range(int start, int end) {}

    static Rendering of(ChatTemplate template, List<Message> messages, boolean prompt, ChatTemplate.Options options, AddedTokens added) {
        char escape = '\uE000';
        while ((messages.toString() + options + template.source()).indexOf(escape) >= 0) {
            escape++;
        }
        List<Message> escaped = new ArrayList<>();
        for (Message m : messages) {
            Map<String, Object> values = new LinkedHashMap<>(m.values());
            char e = escape;
            values.replaceAll((name, value) -> value instanceof String text && !name.equals("role") ? escape(text, e, added) : value);
            escaped.add(new Message(values, m.trained()));
        }
        String out = template.render(escaped, prompt, options);
        StringBuilder text = new StringBuilder();
        List<Range> data = new ArrayList<>();
        for (int i = 0; i < out.length(); i++) {
            if (out.charAt(i) == escape) {
                data.add(new Range(text.length(), text.length() + 1));
            } else {
                text.append(out.charAt(i));
            }
        }
        return new Rendering(text.toString(), data, List.of());
    }

    private static String escape(String text, char escape, AddedTokens added) {
        StringBuilder out = new StringBuilder();
        for (int i = 0; i < text.length(); i++) {
            if (added.begins(text.charAt(i))) {
                out.append(escape);
            }
            out.append(text.charAt(i));
        }
        return out.toString();
    }
}
