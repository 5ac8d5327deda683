package dev.panacea.examples;

import static org.assertj.core.api.Assertions.assertThat;

import dev.panacea.data.Example;
import dev.panacea.data.Row;
import dev.panacea.text.Message;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.DisabledOnOs;
import org.junit.jupiter.api.condition.OS;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The command that the end of a run proposes: its question and its paths survive a copy into a shell. */
class ProposedCommandTest {
    private static List<Row> questions(String... texts) {
        return Arrays.stream(texts).map(t -> new Row("data.jsonl, line 1", new Example.Conversation(List.of(Message.user(t),
                Message.assistant("yes"))))).toList();
    }

    @ParameterizedTest
    @ValueSource(strings = {"out", "my run/adapter", "it's", "a \"b\" c", "$HOME `id` \\ !", "", "~", "* ? "
            + "[a]", "a;b|c&d", "-x", "über/運転", "two\nlines", "'", "#1", "(x)", "\\"})
    @DisabledOnOs(OS.WINDOWS)
    void aShellReadsBackWhatWasMeant(String text) throws Exception {
        Process shell = new ProcessBuilder("sh", "-c", "printf %s " + ShellWord.of(text)).start();
        assertThat(new String(shell.getInputStream().readAllBytes(), StandardCharsets.UTF_8)).isEqualTo(text);
        assertThat(shell.waitFor()).isZero();
    }

    @Test
    void quotesNoMoreThanIsNeeded() {
        assertThat(ShellWord.of("target/finetune-example.jar")).isEqualTo("target/finetune-example.jar");
        assertThat(ShellWord.of("my run")).isEqualTo("\"my run\"");
        assertThat(new OutputFolder(Path.of("my run")).option()).isEqualTo(" --output \"my run\"");
        assertThat(new OutputFolder(Path.of(OutputFolder.DEFAULT)).option()).isEmpty();
    }

    @Test
    void asksTheFirstHeldOutQuestionThatIsShortAndSafe() {
        assertThat(Question.toAsk(questions("x ".repeat(100), "What does `rm -rf $HOME` do?", "--help me please", "Is a fever of 39\nbad?\n", "Another "
                + "one?"))).isEqualTo("Is a fever of 39 bad?");
        assertThat(Question.toAsk(questions("no", "I’ve had it for days"))).isEqualTo("I’ve had it for days");
        assertThat(Question.toAsk(questions("Fever of 39 °C since Monday, 5 ± 1 µg for £3?"))).isEqualTo("Fever of 39 °C since Monday, 5 ± 1 µg for £3?");
    }

    @Test
    void cutsALongOneAtAWord() {
        String asked = Question.toAsk(questions("My \"friend\" says " + "that it hurts ".repeat(20)));
        assertThat(asked).startsWith("My friend says that it hurts").hasSizeLessThanOrEqualTo(100).doesNotContain("\"").endsWith("hurts");
        assertThat(Question.toAsk(questions("痛".repeat(300)))).isEqualTo("痛".repeat(50));
        assertThat(Question.toAsk(questions("--max $(reboot) \033[2J\u202E now"))).isEqualTo("max (reboot) 2J now");
    }

    @Test
    void dataWithoutQuestionsLeaveItToThePerson() {
        assertThat(Question.toAsk(List.of(new Row("data.txt, line 1", new Example.Text("Once upon a time"))))).isEqualTo("Your question");
        assertThat(Question.toAsk(questions("$$$"))).isEqualTo("Your question");
        assertThat(Question.toAsk(List.of(new Row("d.jsonl, line 1", new Example.PromptCompletion("What is flu? ->", " no"))))).as("what ends a plain prompt belongs to it")
                .isEqualTo("What is flu? ->");
        assertThat(Question.toAsk(List.of(new Row("d.jsonl, line 1", new Example.PromptCompletion("Complete this sentence:", " no"))))).isEqualTo("Complete "
                + "this sentence:");
    }
}
