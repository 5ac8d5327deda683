package dev.panacea.text;

import dev.panacea.kernels.PanaceaException;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/**
 * One turn of a conversation: a JSON object, shown to the chat template as it is.
 *
 * @param values what the template sees, as JSON values (String, Boolean, Number, List, Map, null): {@code role}, {@code content} (text, a list of parts
 *     {@code {"type": "text", "text": …}}, or null), and what else the model's template knows, such as {@code tool_calls}, {@code tool_call_id},
 *     {@code name} or {@code reasoning_content}
 * @param trained whether an answer of the assistant is a target; false for a message of {@code weight} 0
 */
public record Message(Map<String, Object> values, boolean trained) {
    public Message {
        if (!(values.get("role") instanceof String)) {
            throw new IllegalArgumentException("a message needs a role; it has " + values.keySet());
        }
        values = Collections.unmodifiableMap(new LinkedHashMap<>(values));
    }

    public Message(String role, String content) {
        this(plain(role, content), true);
    }

    private static Map<String, Object> plain(String role, String content) {
        if (role == null || content == null) {
            throw new NullPointerException(role == null ? "role" : "content");
        }
        Map<String, Object> values = new LinkedHashMap<>();
        values.put("role", role);
        values.put("content", content);
        return values;
    }

    public static Message system(String content) {
        return new Message("system", content);
    }

    public static Message user(String content) {
        return new Message("user", content);
    }

    public static Message assistant(String content) {
        return new Message("assistant", content);
    }

    /** {@code system}, {@code user}, {@code assistant} or {@code tool}. */
    public String role() {
        return (String) values.get("role");
    }

    /** The text of the content, that of several parts one after the other; empty where there is none, as beside {@code tool_calls}. */
    public String content() {
        return switch (values.get("content")) {
            case null -> "";
            case String text -> text;
            case List<?> parts -> parts.stream().map(Message::text).collect(Collectors.joining());
            case Object other -> throw new PanaceaException("a message's content is " + other.getClass().getSimpleName() + ", neither text nor a list of parts");
        };
    }

    private static String text(Object part) {
        return part instanceof Map<?, ?> map && map.get("text") instanceof String text ? text : "";
    }
}
