package dev.panacea.data;

import com.fasterxml.jackson.core.JsonProcessingException;
import dev.panacea.text.ChatTemplate;
import dev.panacea.text.Message;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Consumer;

/** Makes an example of a row, by the columns it has. Of columns that mean the same the first in the order below is taken. */
final class RowParser {
    static final String UNDERSTOOD = "messages (role, content), conversations (from, value), prompt + completion, instruction (+ input) + output, question + answer,"
            + " query + response, input + output, Context + Response, Patient + Doctor, text";

    /** Columns that add to a dialogue, beside those that make it. */
    static final Set<String> BESIDE = Set.of("system", "system_prompt", "tools", "documents", "chat_template_kwargs");

    private static final List<String> ANSWERS_TO_INSTRUCTIONS = List.of("output", "response", "answer", "completion", "target");
    /** A question and its answer in words, which the chat template makes a dialogue of. */
    private static final List<List<String>> EXCHANGES = List.of(
            List.of("question", "answer"), List.of("question", "response"), List.of("question", "output"), List.of("question", "completion"),
            List.of("query", "response"), List.of("query", "answer"), List.of("query", "output"),
            List.of("prompt", "response"), List.of("prompt", "answer"), List.of("prompt", "output"),
            List.of("user", "assistant"), List.of("human", "assistant"), List.of("patient", "doctor"),
            List.of("problem", "solution"), List.of("problem", "answer"), List.of("question", "solution"),
            List.of("input", "output"), List.of("input", "response"), List.of("input", "answer"), List.of("input", "target"),
            List.of("context", "response"), List.of("q", "a"));
    private static final List<String> DIALOGUES = List.of("messages", "conversations", "conversation");

    private final JsonValues json;
    private final Map<String, String> wanted;
    /** Whether every value is text, so that lists and objects are JSON inside it. */
    private final boolean textOnly;
    private final MessageParser messages;
    private final Consumer<String> note;

    /**
     * @param json reads what a text holds as JSON
     * @param wanted the columns to take, by what they mean; empty to take each by its own name
     * @param textOnly whether every value is text, as in CSV
     * @param note is told what was made of a row that its author may not expect
     */
    RowParser(JsonValues json, Map<String, String> wanted, boolean textOnly, Consumer<String> note) {
        this.json = json;
        this.wanted = wanted;
        this.textOnly = textOnly;
        this.note = note;
        messages = new MessageParser(json, note);
    }

    /** What a column may be said to mean. */
    static Set<String> meanings() {
        Set<String> all = new LinkedHashSet<>(DIALOGUES);
        all.addAll(List.of("prompt", "completion", "text", "instruction", "input", "history"));
        EXCHANGES.forEach(all::addAll);
        all.addAll(BESIDE);
        return all;
    }

    /** Whether columns of these names make a row. */
    static boolean understands(Iterable<String> names) {
        Set<String> all = new LinkedHashSet<>();
        names.forEach(n -> all.add(RowColumns.normalized(n)));
        return all.contains("text") || DIALOGUES.stream().anyMatch(all::contains) || all.containsAll(List.of("prompt", "completion"))
                || all.contains("instruction") && ANSWERS_TO_INSTRUCTIONS.stream().anyMatch(all::contains) || EXCHANGES.stream().anyMatch(all::containsAll);
    }

    /** @throws BadRow when the row is not understood */
    Example parse(Map<?, ?> values, Consumer<RowColumns> used) {
        RowColumns row = new RowColumns(values, wanted);
        if (wanted.isEmpty()) {
            refusePreferences(row);
        }
        refuseOtherMedia(row);
        Example example = example(row);
        wanted.forEach((meaning, name) -> {
            if (row.has(meaning) && !row.used().containsKey(row.original(meaning))) {
                throw new BadRow("has no use for '" + row.original(meaning) + "' as '" + meaning + "' beside " + RowColumns.list(row.used().keySet())
                        + "; leave it out of the columns to take");
            }
        });
        used.accept(row);
        return example;
    }

    private Example example(RowColumns row) {
        // First by the columns that have a value; then by those that are there at all, to say what is missing in which.
        for (boolean empty : new boolean[] {false, true}) {
            for (String name : DIALOGUES) {
                if (present(row, name, empty)) {
                    return conversation(row, messages.parse(list(row, name), row.original(name)), 0);
                }
            }
            if (present(row, "prompt", empty) && present(row, "completion", empty)) {
                return promptCompletion(row);
            }
            if (row.has("instruction") || empty && row.named("instruction")) {
                for (String answer : ANSWERS_TO_INSTRUCTIONS) {
                    if (present(row, answer, empty)) {
                        return instruction(row, answer);
                    }
                }
            }
            for (List<String> pair : EXCHANGES) {
                if (present(row, pair.getFirst(), empty) && present(row, pair.getLast(), empty)) {
                    return conversation(row, exchange(row.text(pair.getFirst(), "user"), row.text(pair.getLast(), "assistant")), 0);
                }
            }
            if (present(row, "text", empty)) {
                if (row.has("role") && row.has("message_id")) {
                    throw singleMessage();
                }
                return new Example.Text(row.text("text", "text"));
            }
        }
        throw notUnderstood(row);
    }

    private static boolean present(RowColumns row, String name, boolean empty) {
        return empty ? row.named(name) : row.has(name);
    }

    // ---- kinds of rows -----------------------------------------------------------------------------------------------

    private Example promptCompletion(RowColumns row) {
        Object prompt = embedded(row.take("prompt", "prompt"));
        Object completion = embedded(row.take("completion", "completion"));
        if (prompt instanceof List<?> && completion instanceof List<?>) {
            List<Message> all = messages.parse((List<?>) prompt, row.original("prompt"));
            int firstTrained = all.size();
            all.addAll(messages.parse((List<?>) completion, row.original("completion")));
            if (all.stream().skip(firstTrained).noneMatch(m -> m.role().equals("assistant"))) {
                throw new BadRow("has no assistant turn in '" + row.original("completion") + "'");
            }
            return conversation(row, all, firstTrained);
        }
        for (String name : List.of("prompt", "completion")) {
            Object value = name.equals("prompt") ? prompt : completion;
            if (!(value instanceof String) && !(value instanceof List<?>)) {
                throw new BadRow("is not understood: '" + row.original(name) + "' is " + RowColumns.kind(value) + ", and must be text or a list of messages");
            }
        }
        if (prompt instanceof List<?> || completion instanceof List<?>) {
            throw new BadRow("is not understood: '" + row.original("prompt") + "' is " + RowColumns.kind(prompt) + " and '" + row.original("completion") + "' is "
                    + RowColumns.kind(completion) + "; both must be text, or both lists of messages");
        }
        if (((String) completion).isBlank()) {
            throw new BadRow("has an empty '" + row.original("completion") + "'");
        }
        for (String name : BESIDE) {
            if (row.has(name)) {
                throw new BadRow("has '" + row.original(name) + "' beside a prompt of plain text, where only a chat template could place it; to make a dialogue of the row,"
                        + " read its columns as question and answer");
            }
        }
        note.accept("prompt and completion are taken as they stand, without the model's chat template");
        return new Example.PromptCompletion((String) prompt, (String) completion);
    }

    /** Alpaca's columns, with those that LLaMA-Factory and Dolly add. */
    private Example instruction(RowColumns row, String answer) {
        String asked = row.text("instruction", "user");
        String more = row.has("input") ? "input" : row.has("context") ? "context" : "";
        if (!more.isEmpty()) {
            asked += "\n" + row.text(more, "user");
        }
        List<Message> all = new ArrayList<>();
        if (row.has("history")) {
            for (Object turn : list(row, "history")) {
                if (!(turn instanceof List<?> pair) || pair.size() != 2 || !(pair.getFirst() instanceof String before) || !(pair.getLast() instanceof String reply)) {
                    throw new BadRow("has something in 'history' that is not a pair of question and answer");
                }
                all.addAll(exchange(before, reply));
            }
        }
        all.addAll(exchange(asked, row.text(answer, "assistant")));
        return conversation(row, all, 0);
    }

    private static List<Message> exchange(String question, String answer) {
        return new ArrayList<>(List.of(Message.user(question), Message.assistant(answer)));
    }

    /** A dialogue from its turns and from what stands beside them. */
    private Example conversation(RowColumns row, List<Message> turns, int firstTrained) {
        int first = firstTrained;
        String system = row.has("system") ? "system" : row.has("system_prompt") ? "system_prompt" : "";
        if (!system.isEmpty()) {
            String text = row.text(system, "system");
            if (!turns.getFirst().role().equals("system")) {
                turns.addFirst(Message.system(text));
                first += firstTrained > 0 ? 1 : 0;
            } else if (!turns.getFirst().content().strip().equals(text.strip())) {
                throw new BadRow("has a '" + row.original(system) + "' that differs from the dialogue's own system message; leave one of them out");
            }
        }
        if (turns.stream().noneMatch(m -> m.role().equals("assistant"))) {
            throw new BadRow("has no assistant turn, so there is nothing to train");
        }
        return new Example.Conversation(turns, first, options(row));
    }

    private ChatTemplate.Options options(RowColumns row) {
        ChatTemplate.Options options = ChatTemplate.Options.NONE;
        if (row.has("chat_template_kwargs")) {
            if (!(parsed(row, "chat_template_kwargs") instanceof Map<?, ?> map)) {
                throw new BadRow("has " + RowColumns.kind(row.peek("chat_template_kwargs")) + " in 'chat_template_kwargs' where an object is expected");
            }
            for (var e : map.entrySet()) {
                String name = (String) e.getKey();
                if (Set.of("messages", "add_generation_prompt", "continue_final_message", "tokenize").contains(name)) {
                    throw new BadRow("sets '" + name + "' in 'chat_template_kwargs', which training itself decides");
                }
                options = options.with(name, e.getValue());
            }
        }
        for (String name : List.of("tools", "documents")) {
            if (row.has(name)) {
                if (!(parsed(row, name) instanceof List<?> list)) {
                    throw new BadRow("has " + RowColumns.kind(row.peek(name)) + " in '" + name + "' where a list is expected");
                }
                options = options.with(name, list);
            }
        }
        return options;
    }

    // ---- values ------------------------------------------------------------------------------------------------------

    private List<?> list(RowColumns row, String name) {
        Object value = parsed(row, name);
        if (!(value instanceof List<?> list) || list.isEmpty()) {
            throw new BadRow("has " + (value instanceof List<?> ? "an empty list" : RowColumns.kind(value)) + " in '" + row.original(name) + "' where a list is expected");
        }
        return list;
    }

    /** The value of a column that holds a list or an object, maybe as JSON inside a text. */
    private Object parsed(RowColumns row, String name) {
        Object value = row.take(name, name);
        if (!(value instanceof String text)) {
            return value;
        }
        try {
            return json.parse(text);
        } catch (JsonProcessingException e) {
            boolean python = text.contains("{'") || text.contains("['");
            throw new BadRow("has text in '" + row.original(name) + "' that is not JSON" + (python ? ": it is written as Python prints it; json.dumps writes JSON" : ": "
                    + shortened(e.getOriginalMessage())));
        }
    }

    /** In CSV a list of messages is JSON inside a text. */
    private Object embedded(Object value) {
        if (textOnly && value instanceof String text && text.stripLeading().startsWith("[{")) {
            try {
                return json.parse(text);
            } catch (JsonProcessingException e) {
                return value;
            }
        }
        return value;
    }

    // ---- what is refused ---------------------------------------------------------------------------------------------

    private static void refusePreferences(RowColumns row) {
        if (row.has("chosen") && row.has("rejected")) {
            throw new BadRow("is preference data ('chosen' and 'rejected'), which is for DPO; Panacea does not do that. The chosen answers alone can be trained: take the column"
                    + " 'chosen' as messages or completion");
        }
        Object label = row.peek("label");
        boolean verdict = label instanceof Boolean || label instanceof String text && (text.strip().equalsIgnoreCase("true") || text.strip().equalsIgnoreCase("false"));
        if (verdict && row.has("completion")) {
            throw new BadRow("is preference data (a 'label' of true or false), which is for KTO; Panacea does not do that. Keep the rows whose label is true, without the column");
        }
        if (row.peek("kto_tag") instanceof Boolean) {
            throw new BadRow("is preference data ('kto_tag'), which is for KTO; Panacea does not do that. Keep the rows whose tag is true, without the column");
        }
    }

    private static void refuseOtherMedia(RowColumns row) {
        for (String name : List.of("images", "image", "audio", "audios", "video", "videos")) {
            if (row.has(name)) {
                throw new BadRow("has '" + row.original(name) + "'; Panacea trains on text only");
            }
        }
        if (row.has("functions")) {
            throw new BadRow("has 'functions', an older form of OpenAI's; write them as 'tools'");
        }
    }

    private static BadRow notUnderstood(RowColumns row) {
        if (row.named("chosen") || row.named("rejected")) {
            return new BadRow("is preference data (chosen and rejected), which is for DPO; Panacea does not do that");
        }
        if (row.named("input_ids")) {
            return new BadRow("is tokenized already ('input_ids'); its text is needed");
        }
        if (row.named("columns") && row.named("data")) {
            return new BadRow("is a whole table, its names under 'columns'; write it row by row (in pandas orient=\"records\")");
        }
        if (row.peek("row") instanceof Map<?, ?>) {
            return new BadRow("has its columns inside 'row', as the Hugging Face server for data sets answers; the objects under 'row' are needed alone");
        }
        if (row.named("role") && row.named("content") || row.named("from") && row.named("value")) {
            return singleMessage();
        }
        String columns = "has the columns " + row.names();
        for (List<String> pair : EXCHANGES) {
            if (row.named(pair.getFirst())) {
                return new BadRow(columns + ", but none that is understood as the answer to '" + row.original(pair.getFirst()) + "'; say which it is, as in "
                        + (pair.getFirst().equals("prompt") ? "completion" : pair.getLast()) + "=NAME. Understood are: " + UNDERSTOOD);
            }
        }
        return new BadRow(columns + ", which are not understood; say which to take, as in question=NAME,answer=NAME. Understood are: " + UNDERSTOOD);
    }

    private static BadRow singleMessage() {
        return new BadRow("is a single message where a whole dialogue is expected; put the messages of a dialogue into a list under 'messages'");
    }

    static String shortened(String text) {
        return text.length() <= 60 ? text : text.substring(0, 60) + "…";
    }
}
