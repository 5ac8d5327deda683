package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.panacea.bindings.generated.PanaceaCpu;
import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Where the native library comes from, each case in a process of its own. */
class NativeLoadingTest {
    @TempDir
    private Path root;

    private Path cache;

    @BeforeEach
    void emptyCache() {
        cache = root.resolve("cache");
    }

    @Test
    void isUnpackedOnceReusedAndRepaired() throws Exception {
        LoadProbe.Result first = probe(Map.of());
        Path file = Path.of(first.get("file"));
        assertThat(first.exit()).isZero();
        assertThat(first.get("kernels")).isEqualTo("CpuKernels");
        assertThat(first.get("sum")).isEqualTo("14.0");
        assertThat(first.get("origin")).isEqualTo("the jar's native/linux-x86_64/libpanacea_cpu.so");
        assertThat(file).hasParent(cache.resolve("native"));
        assertThat(file.getFileName().toString()).matches("libpanacea_cpu-abi" + PanaceaCpu.PAN_ABI_VERSION() + "-[0-9a-f]{16}\\.so");
        byte[] content = Files.readAllBytes(file);
        FileTime old = FileTime.fromMillis(1_000_000_000_000L);
        Files.setLastModifiedTime(file, old);

        assertThat(probe(Map.of()).get("file")).isEqualTo(file.toString());
        assertThat(Files.getLastModifiedTime(file)).as("not written again").isEqualTo(old);

        Files.write(file, Arrays.copyOf(content, content.length / 2));
        assertThat(probe(Map.of()).get("sum")).isEqualTo("14.0");
        assertThat(file).hasBinaryContent(content);
    }

    @Test
    void processesThatStartTogetherShareOneFile() throws Exception {
        List<LoadProbe.Running> running = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            running.add(start(LoadProbe.classPath(), Map.of(), List.of()));
        }
        for (LoadProbe.Running r : running) {
            assertThat(r.await().get("sum")).isEqualTo("14.0");
        }
        assertThat(list(cache.resolve("native"))).hasSize(1);
    }

    @Test
    void theCacheFollowsTheXdgSpecification() throws Exception {
        Map<String, String> environment = Map.of("PANACEA_CACHE", "", "XDG_CACHE_HOME", root.resolve("xdg").toString());
        assertThat(Path.of(probe(environment).get("file"))).hasParent(root.resolve("xdg/panacea/native"));
    }

    @Test
    void aCacheThatCannotBeUsedLeadsToATemporaryCopy() throws Exception {
        Files.createFile(cache);
        Path temp = Files.createDirectory(root.resolve("tmp"));
        LoadProbe.Result result = start(LoadProbe.classPath(), Map.of(), List.of("-Djava.io.tmpdir=" + temp)).await();
        assertThat(result.get("sum")).isEqualTo("14.0");
        assertThat(result.get("origin")).startsWith("a temporary copy");
        assertThat(list(temp)).as("nothing stays").isEmpty();
        assertThat(result.err()).contains("cannot be used").contains(cache.toString()).contains("PANACEA_CACHE");
    }

    @Test
    void aSecondClassLoaderGetsACopyOfItsOwn() throws Exception {
        LoadProbe.Result result = start(LoadProbe.classPath(), Map.of(), List.of(), "twice").await();
        assertThat(result.exit()).as(result.err()).isZero();
        assertThat(result.out().lines().filter("sum=14.0"::equals)).hasSize(2);
        assertThat(result.out().lines().filter(l -> l.startsWith("origin=a temporary copy"))).hasSize(1);
    }

    @Test
    void staysWhenItsClassLoaderGoesSinceItHandlesASignal() throws Exception {
        LoadProbe.Result result = LoadProbe.start(UnloadProbe.class, root, LoadProbe.classPath(), Map.of("PANACEA_CACHE", cache.toString()), List.of("-XX:-CreateCoredumpOnCrash", "-XX:ErrorFile=" + root.resolve("hs_err.log")),
                Files.write(root.resolve("mapped"), new byte[1 << 16]).toString()).await();
        assertThat(result.exit()).as(result.out() + result.err()).isZero();
        assertThat(result.get("loader")).isEqualTo("gone");
        assertThat(result.get("read")).isEqualTo("InternalError");
    }

    @Test
    void aNamedLibraryIsUsed() throws Exception {
        Path named = Files.copy(Path.of("target", "classes", "native", "linux-x86_64", "libpanacea_cpu.so"), root.resolve("mine.so"));
        LoadProbe.Result result = probe(Map.of("PANACEA_CPU_LIBRARY", named.toString()));
        assertThat(result.get("file")).isEqualTo(named.toString());
        assertThat(result.get("origin")).isEqualTo("PANACEA_CPU_LIBRARY");
        assertThat(cache).doesNotExist();
    }

    @Test
    void aNamedLibraryThatIsMissingIsAnErrorNotAFallback() throws Exception {
        Path missing = root.resolve("missing.so");
        assertError(probe(Map.of("PANACEA_CPU_LIBRARY", missing.toString())), "PANACEA_CPU_LIBRARY", missing.toString(), "not a file");
    }

    @Test
    void aNamedFileThatIsNoLibraryIsAnErrorWithTheSystemsReason() throws Exception {
        Path text = Files.writeString(root.resolve("text.so"), "not a library");
        LoadProbe.Result result = start(LoadProbe.classPath(), Map.of(), List.of("-Dpanacea.cpu.library=" + text)).await();
        assertError(result, "panacea.cpu.library", text.toString(), "file too short");
    }

    @Test
    void aLibraryOfAnotherKindIsAnError() throws Exception {
        Path other = compile("int other(void) { return 0; }");
        assertError(probe(Map.of("PANACEA_CPU_LIBRARY", other.toString())), other.toString(), "not a library of Panacea");
    }

    @Test
    void aLibraryOfAnotherAbiIsAnErrorThatNamesBothVersions() throws Exception {
        Path other = compile("int pan_abi_version(void) { return 4711; }");
        assertError(probe(Map.of("PANACEA_CPU_LIBRARY", other.toString())), other.toString(), "ABI version 4711", "needs version " + PanaceaCpu.PAN_ABI_VERSION());
    }

    @Test
    void aJarWithoutALibraryFallsBackLoudly() throws Exception {
        Path classes = Path.of("target", "classes").toAbsolutePath();
        Path bare = root.resolve("classes");
        try (Stream<Path> files = Files.walk(classes)) {
            for (Path file : files.filter(f -> f.toString().endsWith(".class")).toList()) {
                Path copy = bare.resolve(classes.relativize(file));
                Files.createDirectories(copy.getParent());
                Files.copy(file, copy);
            }
        }
        String classPath = Arrays.stream(LoadProbe.classPath().split(File.pathSeparator)).map(p -> Path.of(p).equals(classes) ? bare.toString() : p)
                .collect(Collectors.joining(File.pathSeparator));
        LoadProbe.Result result = start(classPath, Map.of(), List.of()).await();
        assertThat(result.get("kernels")).isEqualTo("ReferenceKernels");
        assertThat(result.err()).contains("No native kernels").contains("native/linux-x86_64/libpanacea_cpu.so").contains("far slower");
    }

    @Test
    void javaThatDeniesNativeCodeIsAnErrorWithTheRemedy() throws Exception {
        assumeTrue(Runtime.version().feature() >= 24, "Java can be told so from 24 on");
        for (String device : List.of("cpu", "cuda")) {
            LoadProbe.Result result = start(LoadProbe.classPath(), Map.of("PANACEA_DEVICE", device), List.of("--illegal-native-access=deny")).await();
            assertError(result, "set to deny native code", "--enable-native-access=ALL-UNNAMED");
            assertThat(result.err()).isEmpty();
        }
    }

    @Test
    void theTierIsCappedBySettings() throws Exception {
        for (CpuTier tier : CpuTier.supported()) {
            if (tier.compareTo(CpuTier.best()) <= 0) {
                assertThat(probe(Map.of("PANACEA_CPU_TIER", tier.id())).get("tier")).isEqualTo(tier.id());
            }
        }
        // The property comes first.
        LoadProbe.Result result = start(LoadProbe.classPath(), Map.of("PANACEA_CPU_TIER", "avx2"), List.of("-Dpanacea.cpu.tier=portable", "-Dpanacea.threads=3")).await();
        assertThat(result.get("tier")).isEqualTo("portable");
        assertThat(result.get("description")).isEqualTo("cpu portable, 3 threads");
        assertThat(probe(Map.of("PANACEA_THREADS", "1")).get("description")).isEqualTo("cpu " + CpuTier.best() + ", 1 thread");
    }

    @Test
    void wrongSettingsAreErrorsThatNameTheValue() throws Exception {
        assertError(probe(Map.of("PANACEA_CPU_TIER", "sse9")), "PANACEA_CPU_TIER", "'sse9'", "portable, avx2, avx512, avx512bf16");
        assertError(probe(Map.of("PANACEA_THREADS", "two")), "PANACEA_THREADS", "'two'", "from 1 to 1024");
        assertError(probe(Map.of("PANACEA_THREADS", "0")), "PANACEA_THREADS", "'0'");
    }

    private static void assertError(LoadProbe.Result result, String... parts) {
        assertThat(result.exit()).as(result.out() + result.err()).isEqualTo(3);
        assertThat(result.get("error")).contains(parts);
    }

    private LoadProbe.Result probe(Map<String, String> environment) throws IOException, InterruptedException {
        return start(LoadProbe.classPath(), environment, List.of()).await();
    }

    private LoadProbe.Running start(String classPath, Map<String, String> environment, List<String> options, String... args) throws IOException {
        Map<String, String> all = new HashMap<>(Map.of("PANACEA_CACHE", cache.toString()));
        all.putAll(environment);
        return LoadProbe.start(root, classPath, all, options, args);
    }

    /** The library of a line of C; the build has made sure of a compiler. */
    private Path compile(String c) throws IOException, InterruptedException {
        Path source = Files.writeString(root.resolve("other.cpp"), "extern \"C\" " + c + "\n");
        Path library = root.resolve("other.so");
        Process compiler = new ProcessBuilder("c++", "-shared", "-fPIC", "-o", library.toString(), source.toString()).redirectErrorStream(true).start();
        String output = new String(compiler.getInputStream().readAllBytes());
        assertThat(compiler.waitFor(60, TimeUnit.SECONDS)).isTrue();
        assertThat(compiler.exitValue()).as(output).isZero();
        return library;
    }

    private static List<Path> list(Path folder) {
        try (Stream<Path> files = Files.list(folder)) {
            return files.toList();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
