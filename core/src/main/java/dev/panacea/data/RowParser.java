package dev.panacea.data;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.MissingNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.panacea.text.Message;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** Makes an example of a row, by the columns it has. Names of columns are read in any case. */
final class RowParser {
    static final String UNDERSTOOD = "messages (role, content), conversations (from, value), prompt + completion, Context + Response, Patient + Doctor, text";

    private static final Map<String, String> SPEAKERS = Map.of("system", "system", "human", "user", "user", "user", "gpt", "assistant", "assistant", "assistant",
            "chatgpt", "assistant", "bot", "assistant");
    private static final Map<String, String> ROLES = Map.of("system", "system", "user", "user", "assistant", "assistant");

    private final ObjectMapper json;

    RowParser(ObjectMapper json) {
        this.json = json;
    }

    /** What is wrong with a row; the reader adds file and place. */
    static final class BadRow extends RuntimeException {
        private static final long serialVersionUID = 1L;

        BadRow(String message) {
            super(message);
        }
    }

    Example parse(JsonNode row) {
        if (!(row instanceof ObjectNode object)) {
            throw new BadRow("is not a JSON object with columns but " + kind(row));
        }
        if (!column(object, "messages").isMissingNode()) {
            return conversation(messages(object, "messages", "role", "content", ROLES));
        }
        if (!column(object, "conversations").isMissingNode()) {
            return conversation(messages(object, "conversations", "from", "value", SPEAKERS));
        }
        if (has(object, "prompt", "completion")) {
            return promptCompletion(object);
        }
        if (has(object, "context", "response")) {
            return exchange(object, "context", "response");
        }
        if (has(object, "patient", "doctor")) {
            return exchange(object, "patient", "doctor");
        }
        if (!column(object, "text").isMissingNode()) {
            String text = text(object, "text");
            if (text.isBlank()) {
                throw new BadRow("has an empty 'text'");
            }
            return new Example.Text(text);
        }
        List<String> names = new ArrayList<>();
        object.fieldNames().forEachRemaining(names::add);
        throw new BadRow("has the columns " + names.stream().limit(20).toList() + (names.size() > 20 ? " and more" : "") + ", which are not understood; understood are: "
                + UNDERSTOOD);
    }

    private static JsonNode column(ObjectNode row, String name) {
        for (var field : row.properties()) {
            if (field.getKey().strip().toLowerCase(Locale.ROOT).equals(name)) {
                return field.getValue();
            }
        }
        return MissingNode.getInstance();
    }

    private static boolean has(ObjectNode row, String first, String second) {
        return !column(row, first).isMissingNode() && !column(row, second).isMissingNode();
    }

    private static String text(ObjectNode row, String name) {
        JsonNode value = column(row, name);
        if (!value.isTextual()) {
            throw new BadRow("has " + kind(value) + " in '" + name + "' where text is expected");
        }
        return value.asText();
    }

    private static Example exchange(ObjectNode row, String question, String answer) {
        String asked = text(row, question);
        String said = text(row, answer);
        if (asked.isBlank() || said.isBlank()) {
            throw new BadRow("has an empty '" + (asked.isBlank() ? question : answer) + "'");
        }
        return new Example.Conversation(List.of(Message.user(asked), Message.assistant(said)));
    }

    private Example promptCompletion(ObjectNode row) {
        if (column(row, "prompt").isTextual() && column(row, "completion").isTextual() && !column(row, "prompt").asText().stripLeading().startsWith("[{")) {
            String completion = text(row, "completion");
            if (completion.isBlank()) {
                throw new BadRow("has an empty 'completion'");
            }
            return new Example.PromptCompletion(text(row, "prompt"), completion);
        }
        List<Message> messages = new ArrayList<>(messages(row, "prompt", "role", "content", ROLES));
        int firstTrained = messages.size();
        messages.addAll(messages(row, "completion", "role", "content", ROLES));
        if (messages.stream().skip(firstTrained).noneMatch(m -> m.role().equals("assistant"))) {
            throw new BadRow("has no assistant turn in 'completion'");
        }
        return new Example.Conversation(messages, firstTrained);
    }

    private static Example conversation(List<Message> messages) {
        if (messages.stream().noneMatch(m -> m.role().equals("assistant"))) {
            throw new BadRow("has no assistant turn, so there is nothing to train");
        }
        return new Example.Conversation(messages);
    }

    private List<Message> messages(ObjectNode row, String column, String who, String what, Map<String, String> roles) {
        JsonNode list = column(row, column);
        if (list.isTextual()) {
            list = embedded(list.asText(), column);
        }
        if (!list.isArray() || list.isEmpty()) {
            throw new BadRow("has " + (list.isArray() ? "an empty list" : kind(list)) + " in '" + column + "' where a list of messages is expected");
        }
        List<Message> messages = new ArrayList<>();
        for (JsonNode m : list) {
            String place = "message " + (messages.size() + 1) + " of '" + column + "' ";
            String role = roles.get(m.path(who).asText().strip().toLowerCase(Locale.ROOT));
            if (role == null) {
                throw new BadRow("in " + place + "has " + (m.path(who).isTextual() ? "'" + shortened(m.path(who).asText()) + "'" : kind(m.path(who))) + " as its '" + who
                        + "'; understood are " + roles.keySet().stream().sorted().toList());
            }
            if (!m.path(what).isTextual()) {
                throw new BadRow("in " + place + "has " + kind(m.path(what)) + " in '" + what + "' where text is expected");
            }
            if (role.equals("assistant") && m.path(what).asText().isBlank()) {
                throw new BadRow("in " + place + "has an empty answer of the assistant");
            }
            messages.add(new Message(role, m.path(what).asText()));
        }
        return messages;
    }

    /** CSV files carry lists as JSON in a field. */
    private JsonNode embedded(String text, String column) {
        try {
            return json.readTree(text);
        } catch (JsonProcessingException e) {
            throw new BadRow("has text in '" + column + "' that is not a JSON list of messages: " + e.getOriginalMessage());
        }
    }

    private static String shortened(String text) {
        return text.length() <= 40 ? text : text.substring(0, 40) + "…";
    }

    private static String kind(JsonNode node) {
        return switch (node.getNodeType()) {
            case ARRAY -> "a list";
            case OBJECT -> "an object";
            case STRING -> "text";
            case NUMBER -> "a number";
            case BOOLEAN -> "a truth value";
            default -> "nothing";
        };
    }
}
