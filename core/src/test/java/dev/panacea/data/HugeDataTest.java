package dev.panacea.data;

import static org.assertj.core.api.Assertions.assertThat;

import dev.panacea.kernels.PanaceaException;
import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Data files that want all memory, in a Java that has little: each is an error that names the file and the place. */
@Timeout(value = 120, unit = TimeUnit.SECONDS)
class HugeDataTest {
    @TempDir
    Path folder;

    /** Reads a file and prints the error of ours; any other ends with a trace. */
    public static void main(String[] args) {
        try {
            System.out.println("read " + DatasetReader.read(Path.of(args[0])).size());
        } catch (PanaceaException e) {
            System.out.println("refused: " + e.getMessage());
        }
    }

    @ParameterizedTest
    @CsvSource(delimiter = '!', quoteCharacter = '`', value = {
        "`{\"messages\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"`!`word `! 2200000 !`\"}]}`!`line 1: the row is longer than`",
        "`{\"x\": [`!`{},`! 4000000 !`{}]}`!`line 1: the row is longer than`",
        "`[{}`!`,{}`! 3000000 !`]`!`row 1 (line 1): the row has the columns []`",
        "`{\"text\":\"a\"}\n`!`{\"text\":\"a\"}\n`! 2000000 !`` !`a third of Java's memory`",
        "`question,answer\nq,a\n\"q,`!`a,b\n`! 4000000 !`` !`line 3: the row that begins here is longer`",
        "`messages\n\"[`!`[],`! 4000000 !`[]]\"`!`longer than`",
        "`,`!`,`! 20000000 !`` !`line 1: more than 10000 values in a row`",
        "`question,answer\n`!`,\n`! 10000000 !`` !`no rows`",
        "`a`!`a`! 30000000 !`` !`neither JSON nor CSV`",
    })
    void refusedWithLittleMemory(String start, String part, int times, String end, String problem) throws Exception {
        Path file = folder.resolve("huge.data");
        write(file, start, part, times, end);
        Process child = new ProcessBuilder(ProcessHandle.current().info().command().orElseThrow(), "-Xmx128m", "-cp", System.getProperty("java.class.path"), HugeDataTest.class.getName(),
                file.toString()).redirectErrorStream(true).start();
        String said = new String(child.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(said).contains("refused: " + file, problem.strip()).hasLineCount(1);
        assertThat(child.waitFor()).isZero();
    }

    private static void write(Path file, String start, String part, int times, String end) throws IOException {
        byte[] bytes = part.getBytes(StandardCharsets.UTF_8);
        try (OutputStream out = new BufferedOutputStream(Files.newOutputStream(file), 1 << 16)) {
            out.write(start.getBytes(StandardCharsets.UTF_8));
            for (int i = 0; i < times; i++) {
                out.write(bytes);
            }
            out.write(end.getBytes(StandardCharsets.UTF_8));
        }
    }
}
