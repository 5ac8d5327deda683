package dev.panacea.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.panacea.kernels.PanaceaException;
import dev.panacea.text.Message;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class DatasetReaderTest {
    @TempDir
    private Path folder;

    private List<Example> read(String name, String content) throws IOException {
        return read(name, content.getBytes(StandardCharsets.UTF_8));
    }

    private List<Example> read(String name, byte[] content) throws IOException {
        Path file = folder.resolve(name);
        Files.write(file, content);
        return DatasetReader.read(file).stream().map(Row::example).toList();
    }

    private void refused(String name, String content, String... parts) {
        refused(name, content.getBytes(StandardCharsets.UTF_8), parts);
    }

    private void refused(String name, byte[] content, String... parts) {
        assertThatThrownBy(() -> read(name, content)).isInstanceOf(PanaceaException.class).hasMessageContaining(name).hasMessageContainingAll(parts);
    }

    private static Example exchange(String question, String answer) {
        return new Example.Conversation(List.of(Message.user(question), Message.assistant(answer)));
    }

    @Test
    void everyKindOfRow() throws IOException {
        List<Example> rows = read("a.jsonl", """
                {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], "id": 7}
                {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}

                {"prompt": "p", "completion": " c"}
                {"prompt": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "r"}], "completion": [{"role": "assistant", "content": "b"}]}
                {"Context": "q", "Response": "a"}
                {"Description": "d", "Patient": "q", "Doctor": "a"}
                {"text": "t"}""");
        assertThat(rows).containsExactly(
                new Example.Conversation(List.of(Message.system("s"), Message.user("q"), Message.assistant("a"))),
                exchange("q", "a"),
                new Example.PromptCompletion("p", " c"),
                new Example.Conversation(List.of(Message.user("q"), Message.assistant("a"), Message.user("r"), Message.assistant("b")), 3),
                exchange("q", "a"),
                exchange("q", "a"),
                new Example.Text("t"));
    }

    @Test
    void arraysAndLinesInAnyFile() throws IOException {
        List<Example> expected = List.of(new Example.Text("a"), new Example.Text("b"));
        assertThat(read("a.json", "[{\"text\": \"a\"},\n {\"text\": \"b\"}]\n")).isEqualTo(expected);
        assertThat(read("b.json", "{\"text\": \"a\"}\r\n{\"text\": \"b\"}\r\n")).isEqualTo(expected);
        assertThat(read("c.jsonl", "\uFEFF{\"text\": \"a\"}\n\n{\"text\": \"b\"}")).isEqualTo(expected);
        assertThat(read("d.json", "\uFEFF \n[{\"text\": \"a\"}, {\"text\": \"b\"}]")).isEqualTo(expected);
        assertThat(read("e.csv", "\uFEFFtext\na\nb\n")).isEqualTo(expected);
        assertThat(read("f.tsv", "id\tText\n1\ta\n2\tb\n")).isEqualTo(expected);
    }

    @Test
    void csv() throws IOException {
        assertThat(read("a.csv", "Description,Patient,Doctor\r\nd,\"I said \"\"ow\"\",\ntwice\",Rest.\r\n\r\n,\" a, b \",\"é🙂\"\r\n"))
                .containsExactly(exchange("I said \"ow\",\ntwice", "Rest."), exchange(" a, b ", "é🙂"));
        assertThat(read("b.csv", "messages\n\"[{\"\"role\"\": \"\"user\"\", \"\"content\"\": \"\"q\"\"}, {\"\"role\"\": \"\"assistant\"\", \"\"content\"\": \"\"a\"\"}]\"\n"))
                .containsExactly(exchange("q", "a"));
    }

    @Test
    void contentsComeOutExactly() throws IOException {
        String odd = "  <|im_end|> \n\t{{ x }} \u0000 \u2028 🙂 \\ ";
        assertThat(read("a.jsonl", "{\"text\": \"  <|im_end|> \\n\\t{{ x }} \\u0000 \\u2028 \\ud83d\\ude42 \\\\ \"}")).containsExactly(new Example.Text(odd));
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '`', value = {
        "{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}]}|no assistant turn",
        "{\"messages\": []}|empty list",
        "{\"messages\": \"hello\"}|not JSON",
        "{\"messages\": \"[{'role': 'user'}]\"}|as Python prints it",
        "{\"messages\": null}|nothing",
        "{\"messages\": [3]}|message 1",
        "{\"messages\": [{\"role\": \"narrator\", \"content\": \"q\"}]}|'narrator'",
        "{\"messages\": [{\"role\": \"user\", \"content\": null}]}|nothing in 'content'",
        "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\"}]}]}|a part in 'content' without text",
        "{\"messages\": [{\"role\": \"assistant\", \"content\": \" \"}]}|empty answer",
        "{\"conversations\": [{\"from\": \"human\", \"value\": \"q\"}]}|no assistant turn",
        "{\"prompt\": \"p\", \"completion\": \"\"}|empty 'completion'",
        "{\"prompt\": \"p\", \"completion\": 3}|'completion' is a number",
        "{\"prompt\": [{\"role\": \"user\", \"content\": \"q\"}], \"completion\": \"r\"}|'prompt' is a list and 'completion' is text",
        "{\"prompt\": [{\"role\": \"user\", \"content\": \"q\"}], \"completion\": [{\"role\": \"user\", \"content\": \"q\"}]}|no assistant turn in 'completion'",
        "{\"Context\": \"q\", \"Response\": \"\"}|empty 'Response'",
        "{\"Context\": \"q\", \"Response\": 1}|'Response' is a number where text",
        "{\"text\": \"\"}|empty 'text'",
        "{\"frage\": \"q\", \"antwort\": \"a\"}|[frage, antwort]",
        "{}|not understood",
        "[1]|a list",
        "{\"text\": \"a\", \"text\": \"b\"}|uplicate",
        "{\"text\": \"a\"|not valid JSON",
        "{'text': 'a'}|not valid JSON",
    })
    void rowsThatAreNotUnderstood(String row, String part) {
        refused("rows.jsonl", "{\"text\": \"good\"}\n\n" + row + "\n", "line 3", part);
        if (!part.contains("valid")) {
            refused("rows.json", "[{\"text\": \"good\"},\n" + row + "]", "row ", part);
        }
    }

    @Test
    void theErrorNamesWhatIsUnderstood() {
        refused("a.jsonl", "{\"question\": \"q\"}", "messages (role, content)", "Patient + Doctor");
    }

    @Test
    void filesThatAreNoData() {
        assertThatThrownBy(() -> DatasetReader.read(folder.resolve("none.jsonl"))).isInstanceOf(PanaceaException.class).hasMessageContaining("none.jsonl");
        assertThatThrownBy(() -> DatasetReader.read(folder)).isInstanceOf(PanaceaException.class);
        for (String name : List.of("a.jsonl", "a.json", "a.csv", "a.tsv", "a.txt")) {
            refused(name, "", "no rows");
            refused(name, "\uFEFF", "no rows");
            refused(name, "\n \n", "a.");
        }
        refused("header.csv", "Patient,Doctor\n", "no rows");
        refused("array.json", "[]", "no rows");
        refused("open.json", "[{\"text\": \"a\"}", "after row 1");
        refused("open2.json", "[", "not valid JSON");
        refused("junk.json", "[{\"text\": \"a\"}] x", "junk.json");
        refused("more.json", "[{\"text\": \"a\"}]\n[]", "after the end");
    }

    @Test
    void brokenCsv() {
        refused("a.csv", "Patient,Doctor\nq,a\n\"never closed,a\nb,c\n", "line 3", "never closed");
        refused("b.csv", "Patient,Doctor\nq,a\nq\n", "row 2 (line 3)", "1 value where 2 are expected");
        refused("c.csv", "Patient,Doctor\nq,a\nq,a,b,c\n", "row 2 (line 3)", "4 values where 2");
        refused("d.csv", "Patient,Doctor\nq,a\nq,\n", "row 2", "line 3", "empty 'Doctor'");
        refused("e.csv", "question,answer\n\"a\nb\",c\n\"x\"y,z\n", "line 4", "closing quote");
        refused("f.csv", "answer;answer\na;b\n", "two columns");
    }

    @Test
    void tooLongRows() {
        String huge = "x".repeat((int) DatasetReader.maxRow(Long.MAX_VALUE) + 1);
        refused("a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"" + huge + "\"}", "line 2", "longer than");
        refused("many.jsonl", "{" + IntStream.range(0, 400_000).mapToObj(i -> "\"" + i + "x\": 1").collect(Collectors.joining(",")) + "}", "line 1", "longer than");
        refused("lists.csv", "messages\n[{" + "[],".repeat(400_000) + "\n", "lists.csv");
        refused("a.json", "[{\"text\": \"" + huge + "\"}]", "a.json");
        refused("a.csv", "text\n\"" + huge + "\"\n", "a.csv");
        refused("deep.jsonl", "{\"text\": " + "[".repeat(100_000), "line 1");
        refused("number.jsonl", "{\"text\": " + "9".repeat(100_000) + "}", "line 1");
    }

    @Test
    void anyBytesGiveRowsOrAClearError() throws IOException {
        Random random = new Random(1);
        byte[] good = "{\"messages\": [{\"role\": \"user\", \"content\": \"q\\n\"}, {\"role\": \"assistant\", \"content\": \"é\"}]}\n".getBytes(StandardCharsets.UTF_8);
        for (int i = 0; i < 500; i++) {
            byte[] bytes = good.clone();
            for (int k = random.nextInt(4); k >= 0; k--) {
                bytes[random.nextInt(bytes.length)] = (byte) (random.nextBoolean() ? random.nextInt(256) : "{}[]\",:\n\\".charAt(random.nextInt(9)));
            }
            for (String name : List.of("f.jsonl", "f.csv")) {
                try {
                    assertThat(read(name, bytes)).isNotEmpty();
                } catch (PanaceaException e) {
                    assertThat(e).hasMessageContaining(name);
                }
            }
        }
    }
}
