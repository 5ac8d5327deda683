package dev.panacea.text;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

/** Where the tokenizer's native library is loaded from; a process loads it once, so each case has its own. */
@Timeout(value = 120, unit = TimeUnit.SECONDS)
@org.junit.jupiter.api.condition.EnabledOnOs(org.junit.jupiter.api.condition.OS.LINUX)
class DjlLibraryTest {
    @TempDir
    Path temp;

    public static void main(String[] args) throws IOException {
        DjlLibrary.load();
        Files.readAllLines(Path.of("/proc/self/maps")).stream().filter(l -> l.contains("libtokenizers")).map(l -> l.replaceFirst("^[^/]*", "")).distinct().forEach(System.out::println);
    }

    @Test
    void comesFromOurCacheAndIsMendedThere() throws IOException {
        Path cache = temp.resolve("cache");
        String first = loaded(cache);
        Path file = Path.of(first.strip());
        assertThat(file).startsWith(cache.resolve("native")).hasFileName("libtokenizers.so");
        long size = Files.size(file);
        Files.writeString(file, "not a library");
        assertThat(loaded(cache)).isEqualTo(first);
        assertThat(file).hasSize(size);
        assertLeftNothing();
    }

    @Test
    void leavesNothingWhereThereIsNoCache() throws IOException {
        Path cache = temp.resolve("cache");
        Files.createDirectories(cache);
        Files.createFile(cache.resolve("native"));
        assertThat(loaded(cache)).contains("/libtokenizers.so (deleted)");
        assertLeftNothing();
    }

    /** Neither in the home of the user nor in the temporary folder. */
    private void assertLeftNothing() throws IOException {
        for (String folder : List.of("home", "tmp")) {
            try (Stream<Path> files = Files.walk(temp.resolve(folder))) {
                assertThat(files.filter(Files::isRegularFile).filter(f -> !f.toString().contains("hsperfdata"))).as(folder).isEmpty();
            }
        }
    }

    private String loaded(Path cache) throws IOException {
        Files.createDirectories(temp.resolve("home"));
        Files.createDirectories(temp.resolve("tmp"));
        Path out = temp.resolve("out");
        List<String> command = new ArrayList<>(List.of(Path.of(System.getProperty("java.home"), "bin", "java").toString(), "-cp", System.getProperty("java.class.path"),
                "--enable-native-access=ALL-UNNAMED", "-Dpanacea.cache=" + cache, "-Duser.home=" + temp.resolve("home"), "-Djava.io.tmpdir=" + temp.resolve("tmp")));
        command.add(DjlLibraryTest.class.getName());
        ProcessBuilder builder = new ProcessBuilder(command).redirectOutput(out.toFile()).redirectError(temp.resolve("err").toFile());
        builder.environment().keySet().removeAll(List.of("PANACEA_CACHE", "RUST_LIBRARY_PATH"));
        builder.environment().putAll(Map.of("HOME", temp.resolve("home").toString()));
        Process child = builder.start();
        try {
            assertThat(child.waitFor(60, TimeUnit.SECONDS)).isTrue();
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(e);
        } finally {
            child.destroyForcibly();
        }
        assertThat(child.exitValue()).as(Files.readString(temp.resolve("err"))).isZero();
        return Files.readString(out);
    }
}
