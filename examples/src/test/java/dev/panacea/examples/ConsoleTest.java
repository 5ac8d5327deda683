package dev.panacea.examples;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.panacea.train.StepReport;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What a person sees: on a terminal, and in a log. */
class ConsoleTest {
    private final ByteArrayOutputStream out = new ByteArrayOutputStream();

    private Console console(boolean terminal, boolean colour) {
        PrintStream stream = new PrintStream(out, true, StandardCharsets.UTF_8);
        return new Console(stream, stream, terminal, colour);
    }

    private String printed() {
        return out.toString(StandardCharsets.UTF_8);
    }

    private static StepReport step(int step, int total) {
        return new StepReport(step, total, 0.5, 2.34567, 0.9, 1.9e-4, 800, 500, 412.4, Duration.ofSeconds(83));
    }

    @Test
    void aLogGetsPlainLines() {
        TrainingProgress progress = new TrainingProgress(console(false, false));
        progress.onStep(step(7, 120));
        progress.onStep(step(8, 120));
        assertThat(printed()).isEqualTo("  step   8/120  loss 2.346  lr 1.90e-04  412 tokens/s  1:23 left\n");
        assertThat(progress.lastStep()).isEqualTo(8);
    }

    @Test
    void aLongRunDoesNotFloodALog() {
        TrainingProgress progress = new TrainingProgress(console(false, false));
        for (int s = 1; s <= 10_000; s++) {
            progress.onStep(step(s, 10_000));
        }
        assertThat(printed().lines().count()).isBetween(50L, 62L);
        assertThat(printed()).contains("step     1/10000", "step 10000/10000");
    }

    @Test
    void aTerminalGetsOneLineWrittenOver() {
        Console console = console(true, false);
        TrainingProgress progress = new TrainingProgress(console);
        progress.onStep(step(1, 2));
        progress.onStep(step(2, 2));
        console.line("next");
        assertThat(printed()).startsWith("\r\033[K  [#######........]  step 1/2").contains("\r\033[K  [###############]  step 2/2").endsWith(" left\n  next\n")
                .doesNotContain("\033[1m");
    }

    @Test
    void neverFillsALineOfATerminal() {
        Console console = console(true, false);
        new TrainingProgress(console).onStep(step(99_000, 100_000));
        console.line("");
        assertThat(printed().replace("\r\033[K", "").lines()).allMatch(l -> l.length() < 80);
    }

    @Test
    void workInProgressIsEndedByWhateverComes() {
        Console console = console(false, false);
        console.doing("Loading");
        console.done("12 MB");
        console.doing("Loading");
        console.error("no memory");
        assertThat(printed()).isEqualTo("  Loading ... 12 MB\n  Loading ... \nError: no memory\n");
    }

    @Test
    void breaksLongTextAtSpaces() {
        console(false, false).paragraph("word ".repeat(60).strip() + "\n\nend", "    ");
        assertThat(printed().lines()).allMatch(l -> l.length() <= 100).startsWith("    " + "word ".repeat(19).strip()).endsWith("", "    end");
    }

    /** C0, ESC, DEL, C1, the controls of writing direction and line ends, through every way there is to the terminal. */
    @Test
    void nothingPrintedCanSteerTheTerminal() {
        String hostile = "a\033[2J\033]0;x\u0007\r\b\u007f\u009bc\u0085d\u202ee\u2066f\u200fg\u2028h\tz";
        String visible = "a\\u001b[2J\\u001b]0;x\\u0007\\u000d\\u0008\\u007f\\u009bc\\u0085d\\u202ee\\u2066f\\u200fg\\u2028h\tz";
        for (boolean terminal : new boolean[] {false, true}) {
            Console console = console(terminal, false);
            console.heading(hostile);
            console.line(hostile);
            console.boldLine(hostile);
            console.dimLine(hostile);
            console.paragraph(hostile, " ");
            console.paragraphInColours(hostile, " ");
            console.doing(hostile);
            console.done(hostile);
            console.progress(hostile);
            console.stream(hostile);
            console.error(hostile);
            console.trace(new IllegalStateException(hostile));
            assertThat(printed().replace("\r\033[K", "").chars()).allMatch(c -> c == '\n' || c == '\t' || c >= ' ' && c < 0x7f);
            assertThat(printed().split(Pattern.quote(visible), -1)).as("times").hasSize(13);
            out.reset();
        }
    }

    @Test
    void aLineEndInAMessageForgesNoLine() {
        console(false, true).error("role \"x\nError: all is well\" in line 3");
        assertThat(printed()).isEqualTo("\033[1;31mError:\033[0m role \"x\\nError: all is well\" in line 3\n");
    }

    @Test
    void anErrorIsNoLongerThanAPersonReads() {
        console(false, false).error("a".repeat(33_000_000) + " remedy");
        assertThat(printed()).hasSizeLessThan(5000).startsWith("Error: aaa").contains(" [...] ").endsWith("aaa remedy\n");
    }

    @Test
    void onlyOurOwnColoursPass() {
        console(false, true).paragraphInColours("a\033[32mb\033[31m\\u001b[32m\033[0m", "");
        assertThat(printed()).isEqualTo("a\033[32mb\\u001b[31m\\u001b[32m\033[0m\n");
    }

    /** What a logger, or Java itself, prints. */
    @Test
    void standardErrorIsHarmlessToo() {
        PrintStream stream = new HarmlessStream(out);
        stream.println("GGUF \033[2J");
        stream.print((Object) "\u009b");
        new IllegalStateException("x\033c").printStackTrace(stream);
        stream.printf("%s", "\033");
        stream.append('\033');
        stream.print('\033');
        stream.println(new char[] {'\033'});
        assertThat(printed()).startsWith("GGUF \\u001b[2J\n\\u009bjava.lang").contains("x\\u001bc\n\tat ").doesNotContain("\033");
    }

    @ParameterizedTest
    @CsvSource({"0, 0.0 s", "4210, 4.2 s", "59949, 59.9 s", "59950, 1:00 min", "65000, 1:05 min", "3599600, 1:00:00 h", "7380000, 2:03:00 h"})
    void durations(long millis, String text) {
        assertThat(Figures.duration(Duration.ofMillis(millis))).isEqualTo(text);
    }

    @Test
    void outputIsUtf8UnlessAnotherEncodingIsMeant() {
        assertThat(Console.charset("Linux", "ANSI_X3.4-1968", "ANSI_X3.4-1968")).isEqualTo(StandardCharsets.UTF_8);
        assertThat(Console.charset("Linux", "ISO-8859-1", "ISO-8859-1")).isEqualTo(StandardCharsets.UTF_8);
        assertThat(Console.charset("Linux", "ISO-8859-1", "UTF-8")).as("asked for").isEqualTo(StandardCharsets.ISO_8859_1);
        assertThat(Console.charset("Windows 11", "ISO-8859-1", "ISO-8859-1")).as("the terminal's").isEqualTo(StandardCharsets.ISO_8859_1);
        assertThat(Console.charset("Linux", null, "UTF-8")).isEqualTo(StandardCharsets.UTF_8);
    }

    @Test
    void aReaderThatHasGoneEndsTheWorkAndAFullDiskDoesNot() {
        for (String reason : new String[] {"Broken pipe", "No space left on device"}) {
            OutputStream broken = new OutputStream() {
                @Override
                public void write(int b) throws IOException {
                    throw new IOException(reason);
                }
            };
            Console console = new Console(new PrintStream(new PipeOutput(broken), true, StandardCharsets.UTF_8), System.err, false, false);
            if (reason.equals("Broken pipe")) {
                assertThatThrownBy(() -> console.line("x")).isInstanceOf(PipeOutput.Closed.class);
            } else {
                console.line("x");
            }
        }
    }
}
