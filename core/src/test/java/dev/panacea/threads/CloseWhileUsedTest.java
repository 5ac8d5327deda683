package dev.panacea.threads;

import static org.assertj.core.api.Assertions.assertThat;

import dev.panacea.io.BlockLlama;
import dev.panacea.kernels.GgmlType;
import dev.panacea.testing.TestBackend;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.io.TempDir;

/** Misuse by several threads is an exception, never the end of the process and never a wrong result: {@link CloseWhileUsed} in a process of its own. */
class CloseWhileUsedTest {
    private static final List<String> PROGRAMS = List.of("three-generators", "models-side-by-side", "close-model", "close-adapter", "close-checkpoint", "close-kernels", "close-cache",
            "free-weights", "shrink", "overwrite");
    /** What has nothing to show on a device that got the weights when they were loaded, and reads no mapped file afterwards. */
    private static final Set<String> OF_MAPPED_WEIGHTS = Set.of("close-checkpoint", "shrink", "overwrite");

    @TempDir
    static Path folder;

    @TestFactory
    Stream<DynamicTest> theProcessSurvives() {
        Path file = new BlockLlama(8, true).write(folder.resolve("model.gguf"), name -> GgmlType.Q4_1);
        // Of the native ones the fastest: what threads may do is the same code in all tiers.
        List<TestBackend> all = TestBackend.all();
        return Stream.of(all.getFirst(), all.getLast()).distinct().flatMap(b -> PROGRAMS.stream()
                .filter(p -> !TestBackend.onDevice() || !OF_MAPPED_WEIGHTS.contains(p)).map(p -> DynamicTest.dynamicTest(b.name() + ", " + p, () -> survives(b, file, p))));
    }

    private static void survives(TestBackend backend, Path file, String program) throws Exception {
        List<String> command = new ArrayList<>(List.of(ProcessHandle.current().info().command().orElseThrow(), "--enable-native-access=ALL-UNNAMED", "-XX:-CreateCoredumpOnCrash",
                "-XX:ErrorFile=" + folder.resolve("hs_err.log"), "-cp", System.getProperty("java.class.path")));
        System.getProperties().forEach((key, value) -> {
            if (key.toString().startsWith("panacea.")) {
                command.add("-D" + key + "=" + value);
            }
        });
        command.addAll(List.of(CloseWhileUsed.class.getName(), backend.name(), file.toString(), program));
        Path said = folder.resolve("said");
        Process process = new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(said.toFile()).start();
        try {
            assertThat(process.waitFor(10, TimeUnit.MINUTES)).as("ends in time").isTrue();
            String text = Files.readString(said);
            assertThat(process.exitValue()).as(text).isZero();
            assertThat(text).contains("SURVIVED");
        } finally {
            process.destroyForcibly();
        }
    }
}
