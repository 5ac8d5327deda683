package dev.panacea.examples;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The command line itself: what is refused, and how. */
class FinetuneCommandTest {
    @TempDir
    Path folder;

    @ParameterizedTest
    @CsvSource(delimiter = '|', value = {
        "--rank | 0 | a whole number from 1 to 65536 is needed",
        "--rank | -3 | a whole number from 1 to 65536 is needed",
        "--rank | eight | a whole number from 1 to 65536 is needed",
        "--rank | 99999999999 | a whole number from 1 to 65536 is needed",
        "--alpha | 0 | a number from 1.0e-6 to 1000000 is needed",
        "--alpha | NaN | a number from 1.0e-6 to 1000000 is needed",
        "--target-modules | q_proj,foo | \"foo\" is not a linear layer of a Llama",
        "--target-modules | q_proj, | \"\" is not a linear layer of a Llama",
        "--quantization | int8 | keep, nf4 or none is needed",
        "--device | tpu | cpu, cuda or cuda:N is needed",
        "--device | cuda:first | cpu, cuda or cuda:N is needed",
        "--epochs | 0 | a number from 1.0e-6 to 10000 is needed",
        "--epochs | many | a number from 1.0e-6 to 10000 is needed",
        "--gradient-checkpointing | maybe | auto, on or off is needed",
        "--max-steps | 0 | a whole number from 1 to",
        "--max-steps | 1.5 | a whole number from 1 to",
        "--learning-rate | -1e-4 | a number from 1.0e-12 to 1 is needed",
        "--learning-rate | Infinity | a number from 1.0e-12 to 1 is needed",
        "--batch-size | 0 | a whole number from 1 to 4096 is needed",
        "--gradient-accumulation-steps | 0 | a whole number from 1 to 4096 is needed",
        "--max-seq-length | 1 | a whole number from 8 to",
        "--seed | x | a whole number is needed",
        "--answers | -1 | a whole number from 0 to",
        "--answer-tokens | 0 | a whole number from 1 to",
        "--data | /no/such/file.jsonl | there is no such file",
        "--eval-data | /no/such/file.jsonl | there is no such file",
    })
    void refusesBadValues(String option, String value, String reason) {
        Run run = Run.of(option, value);
        assertThat(run.exitCode()).isEqualTo(2);
        assertThat(run.err()).startsWith("Error: " + option + " " + value + ": ").contains(reason).hasLineCount(1);
        assertThat(run.out()).isEmpty();
    }

    @Test
    void refusesWhatIsNoOption() {
        assertThat(Run.of("--bogus").err()).contains("--bogus").hasLineCount(1);
        assertThat(Run.of("something").err()).contains("something").hasLineCount(1);
        assertThat(Run.of("--rank").err()).contains("--rank").hasLineCount(1);
        assertThat(Run.of("--rank", "8", "--alpha", "4", "--rank", "9", "--device", "none").err()).startsWith("Error: --rank is given 2 times: 8, 9").hasLineCount(1);
        assertThat(Run.of("--model", " ").err()).contains("--model");
        assertThat(Run.of("--output", "").err()).contains("--output");
    }

    @Test
    void refusesOptionsThatExcludeEachOther() {
        Run both = Run.of("--epochs", "2", "--max-steps", "10");
        assertThat(both.exitCode()).isEqualTo(2);
        assertThat(both.err()).contains("--epochs 2", "--max-steps 10");
        Run chat = Run.of("--chat", "Hello?", "--rank", "16");
        assertThat(chat.exitCode()).isEqualTo(2);
        assertThat(chat.err()).contains("--rank has no effect with --chat");
        assertThat(Run.of("--chat", " ").err()).contains("a question is needed");
    }

    @Test
    void refusesWaysOfReadingThatAreNone() throws IOException {
        String data = Files.writeString(folder.resolve("d.csv"), "A;B\nq;a\n").toString();
        assertThat(Run.of("--data", data, "--encoding", "utf-99").err()).startsWith("Error: --encoding utf-99: the name of an encoding").hasLineCount(1);
        assertThat(Run.of("--data", data, "--separator", ";;").err()).startsWith("Error: --separator ;;: a single character").hasLineCount(1);
        assertThat(Run.of("--data", data, "--columns", "A").err()).startsWith("Error: --columns A: \"A\" is not of the form").hasLineCount(1);
        assertThat(Run.of("--data", data, "--columns", "colour=A").err()).startsWith("Error: --columns colour=A: ").contains("question").hasLineCount(1);
        assertThat(Run.of("--data", data, "--columns", "question=A,answer=A").exitCode()).isEqualTo(2);
        assertThat(Run.of("--columns", "question=A,answer=B").err()).contains("--columns has no effect without --data");
    }

    @Test
    void refusesFoldersAsData() {
        Run run = Run.of("--data", folder.toString());
        assertThat(run.exitCode()).isEqualTo(2);
        assertThat(run.err()).contains("this is a folder");
    }

    @Test
    void refusesOutputThatIsAFileOrInOne() throws IOException {
        Path file = Files.writeString(folder.resolve("notes.txt"), "mine");
        for (Path output : new Path[] {file, file.resolve("deeper")}) {
            Run run = Run.of("--output", output.toString());
            assertThat(run.exitCode()).isEqualTo(2);
            assertThat(run.err()).startsWith("Error: --output " + output).contains("is a file").hasLineCount(1);
        }
        assertThat(file).hasContent("mine");
    }

    @Test
    void refusesOutputWithOtherFilesInIt() throws IOException {
        Files.writeString(folder.resolve("thesis.tex"), "mine");
        Run run = Run.of("--output", folder.toString());
        assertThat(run.exitCode()).isEqualTo(2);
        assertThat(run.err()).contains("--output", "thesis.tex", "Choose a new or empty folder").hasLineCount(1);
        assertThat(folder).isDirectoryContaining("glob:**thesis.tex");
    }

    @Test
    void saysHowToGetAnAdapterForChat() {
        Run run = Run.of("--chat", "Hello?", "--output", folder.toString());
        assertThat(run.exitCode()).isEqualTo(1);
        assertThat(run.err()).contains("There is no adapter in " + folder.resolve("adapter"), "--output " + folder).hasLineCount(1);
    }

    @Test
    void aQuestionMayBeginWithAnAt() throws IOException {
        Path options = Files.writeString(folder.resolve("options"), "--rank 4");
        Run run = Run.of("--chat", "@" + options, "--output", folder.resolve("none").toString());
        assertThat(run.err()).contains("There is no adapter in").hasLineCount(1);
    }

    @Test
    void helpFitsAHundredColumnsAndNamesEveryOption() {
        Run run = Run.of("--help");
        assertThat(run.exitCode()).isZero();
        assertThat(run.out().lines()).allMatch(l -> l.length() <= 100);
        assertThat(run.out()).contains("--model", "--data", "--eval-data", "--output", "--rank", "--alpha", "--target-modules", "--quantization", "--epochs", "--max-steps",
                "--learning-rate", "--batch-size", "--gradient-accumulation-steps", "--gradient-checkpointing", "--max-seq-length", "--seed", "--device", "--chat", "--help", "--version", "Examples:",
                "finetune-output").doesNotContain("${");
    }

    @Test
    void saysWhichGpuItLookedForAndDidNotFind() {
        Run run = Run.of("--device", "cuda:99", "--output", folder.resolve("out").toString());
        assertThat(run.exitCode()).isEqualTo(1);
        assertThat(run.err()).containsAnyOf("no CUDA driver library", "there is no CUDA device 99", "no CUDA kernels").hasLineCount(1);
        assertThat(folder.resolve("out")).doesNotExist();
    }

    @Test
    void versionNamesProgramKernelsAndJava() {
        Run run = Run.of("--version");
        assertThat(run.exitCode()).isZero();
        assertThat(run.out()).contains("Panacea ", "Kernels: cpu", "         cuda", "Java:    " + System.getProperty("java.runtime.version"));
    }
}
