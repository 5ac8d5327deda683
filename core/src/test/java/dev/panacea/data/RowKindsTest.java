package dev.panacea.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.groups.Tuple.tuple;

import dev.panacea.kernels.PanaceaException;
import dev.panacea.text.Message;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What the columns of a row mean, as TRL, OpenAI's format, ShareGPT, LLaMA-Factory and axolotl define them. */
class RowKindsTest {
    private static final String EXCHANGE = "{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"a\"}";

    @TempDir
    private Path folder;

    private Dataset read(String rows) throws IOException {
        return DatasetReader.read(Files.writeString(folder.resolve("d.jsonl"), rows), DatasetReader.Options.DETECT, (n, fraction) -> {});
    }

    private Example.Conversation chat(String row) throws IOException {
        return (Example.Conversation) read(row).rows().getFirst().example();
    }

    private static Example exchange(String question, String answer) {
        return new Example.Conversation(List.of(Message.user(question), Message.assistant(answer)));
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', value = {
        "{'question': 'q', 'answer': 'a'}", "{'Question ': 'q', 'ANSWER': 'a'}", "{'query': 'q', 'response': 'a'}", "{'input': 'q', 'output': 'a'}", "{'prompt': 'q', 'response': 'a'}",
        "{'instruction': 'q', 'output': 'a'}", "{'instruction': 'q', 'input': '', 'output': 'a', 'history': []}", "{'instruction': 'q', 'context': null, 'response': 'a'}",
        "{'conversations': [{'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'}]}", "{'messages': [{'from': 'human', 'value': 'q'}, {'from': 'gpt', 'value': 'a'}]}",
        "{'messages': null, 'conversations': [{'from': 'user', 'value': 'q'}, {'from': 'chatgpt', 'value': 'a'}], 'text': ''}",
        "{'messages': [{'role': 'user', 'content': [{'type': 'text', 'text': 'q'}]}, {'role': 'assistant', 'content': ['a']}]}",
        "{'messages': [{'role': 'user', 'content': 'q', 'name': null, 'tool_calls': null}, {'role': 'assistant', 'content': 'a', 'tool_calls': []  , 'weight': 1}]}",
        "{'prompt': null, 'completion': NaN, 'question': 'q', 'answer': 'a'}",
    })
    void aQuestionAndItsAnswer(String row) throws IOException {
        Example.Conversation chat = chat(row.replace('\'', '"'));
        assertThat(chat.messages()).extracting(Message::role, Message::content).containsExactly(tuple("user", "q"),
                tuple("assistant", "a"));
        assertThat(chat.messages()).allMatch(m -> m.trained() && m.values().get("content") instanceof String && !m.values().containsKey("weight") && !m.values().containsKey("name"));
    }

    @Test
    void alpacaWithInputAndHistory() throws IOException {
        assertThat(chat("{\"instruction\": \"Sum up.\", \"input\": \"Long text\", \"output\": \"Short\", \"system\": \"s\", \"history\": [[\"q\", \"a\"]]}").messages())
                .containsExactly(Message.system("s"), Message.user("q"), Message.assistant("a"), Message.user("Sum up.\nLong text"), Message.assistant("Short"));
        assertThat(read("{\"instruction\": \"i\", \"context\": \"c\", \"response\": \"r\", \"category\": \"k\"}").summary().unused()).containsExactly("category");
    }

    @Test
    void aSystemColumnLeads() throws IOException {
        assertThat(chat("{\"conversations\": [{\"from\": \"human\", \"value\": \"q\"}, {\"from\": \"gpt\", \"value\": \"a\"}], \"system\": \"You are a pirate.\"}").messages().getFirst())
                .isEqualTo(Message.system("You are a pirate."));
        assertThat(chat("{\"system_prompt\": \"s\", \"question\": \"q\", \"response\": \"a\"}").messages()).hasSize(3);
        assertThat(chat("{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, " + EXCHANGE + "], \"system\": \"s\"}").messages()).hasSize(3);
        Example.Conversation halves = chat("{\"prompt\": [{\"role\": \"user\", \"content\": \"q\"}], \"completion\": [{\"role\": \"assistant\", \"content\": \"a\"}], \"system\": \"s\"}");
        assertThat(halves.messages()).hasSize(3);
        assertThat(halves.firstTrained()).isEqualTo(2);
    }

    @Test
    void toolsAndTheirCalls() throws IOException {
        String tools = "[{\"type\": \"function\", \"function\": {\"name\": \"get_time\", \"parameters\": {\"default\": null}}}]";
        String call = "{\"role\": \"assistant\", \"content\": null, \"reasoning_content\": \"why\", \"tool_calls\": [{\"id\": \"c1\", \"type\": \"function\", \"function\":"
                + " {\"name\": \"get_time\", \"arguments\": \"{\\\"zone\\\": \\\"UTC\\\"}\"}}]}, {\"role\": \"tool\", \"tool_call_id\": \"c1\", \"name\": \"get_time\", \"content\": \"12:00\"}";
        for (String column : List.of(tools, "\"" + tools.replace("\"", "\\\"") + "\"")) {
            Example.Conversation chat = chat("{\"tools\": " + column + ", \"messages\": [{\"role\": \"user\", \"content\": \"q\"}, " + call + "], \"chat_template_kwargs\":"
                    + " {\"enable_thinking\": false}}");
            assertThat(chat.options().variables().get("tools")).asString().contains("get_time", "default=null");
            assertThat(chat.options().variables()).containsEntry("enable_thinking", false);
            assertThat(chat.messages().get(1).values()).containsEntry("reasoning_content", "why").containsEntry("content", null)
                    .containsEntry("tool_calls", List.of(Map.of("id", "c1", "type", "function", "function", Map.of("name", "get_time", "arguments", Map.of("zone", "UTC")))));
            assertThat(chat.messages().get(2).values()).containsEntry("tool_call_id", "c1").containsEntry("role", "tool");
        }
        assertThat(chat("{\"conversations\": [{\"from\": \"human\", \"value\": \"q\"}, {\"from\": \"function_call\", \"value\": \"{\\\"name\\\": \\\"f\\\", \\\"arguments\\\": {}}\"},"
                + " {\"from\": \"observation\", \"value\": \"r\"}, {\"from\": \"gpt\", \"value\": \"a\"}]}").messages()).extracting(Message::role)
                .containsExactly("user", "assistant", "tool", "assistant");
    }

    @Test
    void whatAMessageSaysOfItsTraining() throws IOException {
        for (String key : List.of("\"weight\": 0", "\"train\": false", "\"training\": false", "\"train\": false, \"trainable\": false, \"weight\": 0.0")) {
            assertThat(chat("{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"BAD\", " + key + "}, " + EXCHANGE + "]}").messages())
                    .extracting(Message::trained).as(key).containsExactly(true, false, true, true);
        }
    }

    @Test
    void developersAreTheSystem() throws IOException {
        Dataset data = read("{\"messages\": [{\"role\": \"developer\", \"content\": \"s\"}, " + EXCHANGE + "]}");
        assertThat(((Example.Conversation) data.rows().getFirst().example()).messages().getFirst()).isEqualTo(Message.system("s"));
        assertThat(data.summary().notes()).singleElement().asString().contains("developer");
    }

    @Test
    void nothingIsLeftOutInSilence() throws IOException {
        assertThat(read("{\"messages\": [" + EXCHANGE + "], \"id\": 7, \"ID\": 8, \"\": 1}").summary()).hasToString("JSON Lines, UTF-8, column messages; not used: id, \"\", ID");
        Dataset data = read("{\"messages\": [" + EXCHANGE + "], \"id\": 7, \"none\": null}\n{\"messages\": [" + EXCHANGE + "], \"source\": \"x\"}\n{\"prompt\": \"p\", \"completion\": \"c\"}");
        assertThat(data.summary().unused()).containsExactly("id", "source");
        assertThat(data.summary().columns()).containsKeys("messages", "prompt", "completion");
        assertThat(data.summary().notes()).singleElement().asString().contains("without the model's chat template");
    }

    @ParameterizedTest
    @ValueSource(strings = {
        "{'prompt': 'p', 'chosen': 'a', 'rejected': 'b'}|preference data", "{'messages': [X], 'chosen': 'a', 'rejected': 'b'}|DPO", "{'prompt': 'p', 'completion': 'c', 'label': false}|KTO",
        "{'prompt': 'p'}|no|answer to 'prompt'", "{'input_ids': [1, 2]}|tokenized already", "{'role': 'user', 'content': 'q'}|single message", "{'messages': [X], 'images': ['a.png']}|text only",
        "{'messages': [X], 'functions': [{}]}|'tools'", "{'messages': [X], 'tools': 'none'}|'tools'|not JSON", "{'messages': [X], 'tools': {'a': 1}}|an object in 'tools'",
        "{'messages': [{'role': 'system', 'content': 's'}, X], 'system': 'other'}|differs", "{'prompt': 'p', 'completion': 'c', 'tools': [{'a': 1}]}|plain text",
        "{'messages': [X, {'role': 'assistant', 'content': 'c', 'weight': 0.5}]}|message 3|'weight' of 0.5", "{'messages': [X, {'role': 'assistant', 'content': 'c', 'train': 'no'}]}|text in 'train'",
        "{'messages': [{'role': 'user', 'content': 'c', 'train': true}, X]}|only answers", "{'messages': [X, {'role': 'assistant', 'content': 'c', 'train': true, 'weight': 0}]}|both",
        "{'messages': [{'role': 'assistant', 'content': 'c', 'function_call': {'name': 'f'}}]}|'function_call'|'tool_calls'", "{'messages': [{'role': 'assistant', 'refusal': 'no'}]}|'refusal'",
        "{'messages': [{'role': 'user', 'content': [{'type': 'image_url', 'image_url': {}}]}, X]}|message 1|'image_url'|text only", "{'messages': [{'role': 'user'}, X]}|nothing in 'content'",
        "{'messages': [{'role': 'assistant', 'tool_calls': [{'function': {'arguments': {}}}]}]}|function's name",
        "{'messages': [{'role': 'assistant', 'tool_calls': [{'function': {'name': 'f', 'arguments': 'x'}}]}]}|arguments|not JSON", "{'question': 'q', 'answer': 3}|'answer' is a number",
        "{'messages': [X], 'chat_template_kwargs': {'messages': []}}|'messages'", "{'text': 'a', 'Text': 'b'}|two columns|'Text'",
        "{'instruction': 'i', 'output': 'o', 'kto_tag': false}|KTO", "{'columns': ['question'], 'data': [['q']]}|whole table|records", "{'row_idx': 0, 'row': {'text': 'a'}}|inside 'row'", "{'message_id': '1', 'text': 'hi', 'role': 'prompter'}|single message",
    })
    void refusedByName(String rowAndParts) {
        String[] parts = rowAndParts.replace("X", EXCHANGE).replace('\'', '"').split("\\|");
        String[] expected = Arrays.stream(parts).skip(1).map(p -> p.replace('"', '\'')).toArray(String[]::new);
        assertThatThrownBy(() -> read("{\"text\": \"good\"}\n" + parts[0])).isInstanceOf(PanaceaException.class).hasMessageContaining("d.jsonl, line 2: the row ")
                .hasMessageContainingAll(expected);
    }
}
