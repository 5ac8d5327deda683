package dev.panacea.data;

import com.fasterxml.jackson.core.JsonProcessingException;
import dev.panacea.text.Message;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Consumer;

/**
 * Lists of messages, in OpenAI's form (role, content) and ShareGPT's (from, value). A message keeps its further keys, which are the template's
 * business; those that say whether it is trained are taken out and followed.
 */
final class MessageParser {
    private static final Map<String, String> ROLES = Map.ofEntries(
            Map.entry("system", "system"), Map.entry("developer", "system"),
            Map.entry("user", "user"), Map.entry("human", "user"),
            Map.entry("assistant", "assistant"), Map.entry("gpt", "assistant"), Map.entry("chatgpt", "assistant"), Map.entry("bot", "assistant"), Map.entry("model", "assistant"),
            Map.entry("function_call", "assistant"),
            Map.entry("tool", "tool"), Map.entry("observation", "tool"), Map.entry("function_response", "tool"));
    /** How axolotl and others say whether a message is trained. */
    private static final List<String> TRAINED = List.of("train", "training", "trainable");
    private static final Map<String, String> REFUSED = Map.of(
            "function_call", "an older form of OpenAI's; write it as 'tool_calls'",
            "refusal", "a refusal beside the content; write it as the content",
            "audio", "no text",
            "train_detail", "parts of an answer to train; whole messages can be trained or not ('train')",
            "training_detail", "parts of an answer to train; whole messages can be trained or not ('train')");

    private final JsonValues json;
    private final Consumer<String> note;

    MessageParser(JsonValues json, Consumer<String> note) {
        this.json = json;
        this.note = note;
    }

    /**
     * @param column the name of the column, for errors
     * @throws BadRow when a message is not understood
     */
    List<Message> parse(List<?> list, String column) {
        List<Message> messages = new ArrayList<>(list.size() + 1);
        for (Object m : list) {
            String place = "message " + (messages.size() + 1) + " of '" + column + "'";
            if (!(m instanceof Map<?, ?> map)) {
                throw new BadRow("has " + RowColumns.kind(m) + " as " + place + " where an object is expected");
            }
            messages.add(message(map, place));
        }
        return messages;
    }

    private Message message(Map<?, ?> given, String place) {
        Map<String, Object> values = new LinkedHashMap<>();
        given.forEach((key, value) -> values.put((String) key, value));
        boolean shareGpt = !values.containsKey("role") && values.containsKey("from");
        Object who = shareGpt ? values.remove("from") : values.get("role");
        String name = who instanceof String text ? text.strip().toLowerCase(Locale.ROOT) : "";
        String role = ROLES.get(name);
        if (role == null) {
            throw new BadRow("in " + place + " has " + (who instanceof String text ? "'" + RowParser.shortened(text) + "'" : RowColumns.kind(who)) + " as its '"
                    + (shareGpt ? "from" : "role") + "'; understood are " + new TreeSet<>(ROLES.keySet()));
        }
        if (name.equals("developer")) {
            note.accept("messages of role 'developer' are taken as 'system', which chat templates know");
        }
        REFUSED.forEach((key, why) -> {
            if (!RowColumns.isAbsent(values.get(key))) {
                throw new BadRow("in " + place + " has '" + key + "', " + why);
            }
        });
        boolean trained = trained(values, role, place);
        Map<String, Object> message = new LinkedHashMap<>();
        message.put("role", role);
        if (shareGpt && !values.containsKey("content")) {
            message.put("content", values.remove("value"));
        } else {
            message.put("content", values.get("content"));
        }
        // Tables have every key in every message, null where a message has none; a template asks whether the key is there.
        values.values().removeIf(Objects::isNull);
        values.forEach(message::putIfAbsent);
        message.put("content", content(message.get("content"), shareGpt ? "value" : "content", place));
        if (name.equals("function_call")) {
            message.put("tool_calls", List.of(call(parsed(message.put("content", ""), "'value'", place), place)));
        } else if (!RowColumns.isAbsent(message.get("tool_calls"))) {
            message.put("tool_calls", calls(message.get("tool_calls"), place));
        }
        check(message, role, trained, place);
        return new Message(message, trained);
    }

    private static void check(Map<String, Object> message, String role, boolean trained, String place) {
        boolean assistant = role.equals("assistant");
        boolean calls = !RowColumns.isAbsent(message.get("tool_calls"));
        if (message.get("content") == null && !(assistant && calls)) {
            throw new BadRow("in " + place + " has nothing in 'content' where text is expected");
        }
        if (assistant && trained && !calls && ((String) message.get("content")).isBlank()) {
            throw new BadRow("in " + place + " has an empty answer of the assistant");
        }
        if (calls && !assistant) {
            throw new BadRow("in " + place + " has 'tool_calls', which only the assistant makes");
        }
    }

    // ---- whether it is trained ---------------------------------------------------------------------------------------

    private static boolean trained(Map<String, Object> values, String role, String place) {
        Optional<Boolean> trained = Optional.empty();
        if (values.get("weight") != null) {
            if (!(values.get("weight") instanceof Number weight) || weight.doubleValue() != 0 && weight.doubleValue() != 1) {
                throw new BadRow("in " + place + " has a 'weight' of " + RowParser.shortened(String.valueOf(values.get("weight"))) + "; 0 and 1 are understood, as in OpenAI's format");
            }
            if (role.equals("assistant")) {
                trained = Optional.of(weight.doubleValue() == 1);
            }
        }
        values.remove("weight");
        for (String key : TRAINED) {
            Object value = values.remove(key);
            if (value == null) {
                continue;
            }
            if (!(value instanceof Boolean b)) {
                throw new BadRow("in " + place + " has " + RowColumns.kind(value) + " in '" + key + "' where true or false is expected");
            }
            if (b && !role.equals("assistant")) {
                throw new BadRow("in " + place + " has '" + key + "': true for the role " + role + "; only answers of the assistant are trained");
            }
            if (trained.isPresent() && role.equals("assistant") && !trained.get().equals(b)) {
                throw new BadRow("in " + place + " says both that it is trained and that it is not ('weight', 'train')");
            }
            trained = Optional.of(b);
        }
        return trained.orElse(true);
    }

    // ---- content -----------------------------------------------------------------------------------------------------

    /** Text, or null. Several parts of text become one, as templates that know parts print them: one after the other. */
    private static String content(Object content, String key, String place) {
        return switch (content) {
            case null -> null;
            case String text -> text;
            case List<?> parts -> {
                StringBuilder all = new StringBuilder();
                parts.forEach(part -> all.append(part(part, key, place)));
                yield all.toString();
            }
            default -> throw new BadRow("in " + place + " has " + RowColumns.kind(content) + " in '" + key + "' where text is expected");
        };
    }

    private static String part(Object part, String key, String place) {
        if (part instanceof String text) {
            return text;
        }
        if (part instanceof Map<?, ?> map) {
            Object type = map.get("type");
            if (map.get("text") instanceof String text && (type == null || Set.of("text", "input_text", "output_text").contains(type))) {
                return text;
            }
            if (type instanceof String t && !t.equals("text")) {
                throw new BadRow("in " + place + " has a part of type '" + RowParser.shortened(t) + "' in '" + key + "'; Panacea trains on text only");
            }
        }
        throw new BadRow("in " + place + " has a part in '" + key + "' without text");
    }

    // ---- calls of tools ----------------------------------------------------------------------------------------------

    private List<Object> calls(Object given, String place) {
        Object value = given instanceof String ? parsed(given, "'tool_calls'", place) : given;
        if (!(value instanceof List<?> list)) {
            throw new BadRow("in " + place + " has " + RowColumns.kind(value) + " in 'tool_calls' where a list is expected");
        }
        List<Object> calls = new ArrayList<>();
        list.forEach(c -> calls.add(call(c, place)));
        return calls;
    }

    /** A call with its arguments as an object, as templates want them: OpenAI writes them as JSON inside a text. */
    private Map<String, Object> call(Object given, String place) {
        if (!(given instanceof Map<?, ?> map)) {
            throw new BadRow("in " + place + " has " + RowColumns.kind(given) + " as a call of a tool where an object is expected");
        }
        boolean nested = map.get("function") instanceof Map<?, ?>;
        Map<?, ?> function = nested ? (Map<?, ?>) map.get("function") : map;
        if (!(function.get("name") instanceof String)) {
            throw new BadRow("in " + place + " has a call of a tool without the function's name");
        }
        Map<String, Object> called = new LinkedHashMap<>();
        function.forEach((key, value) -> called.put((String) key, value));
        if (called.get("arguments") instanceof String text) {
            called.put("arguments", text.isBlank() ? Map.of() : parsed(text, "the arguments of a call", place));
        }
        Map<String, Object> call = new LinkedHashMap<>();
        if (nested) {
            map.forEach((key, value) -> call.put((String) key, value));
        } else {
            call.put("type", "function");
        }
        call.put("function", called);
        return call;
    }

    private Object parsed(Object text, String what, String place) {
        try {
            return json.parse((String) text);
        } catch (JsonProcessingException e) {
            throw new BadRow("in " + place + " has text in " + what + " that is not JSON: " + RowParser.shortened(e.getOriginalMessage()));
        }
    }
}
