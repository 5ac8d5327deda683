package dev.panacea.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The search in made-up file systems. */
class JdkSearchTest {
    @TempDir
    Path root;

    @Test
    void takesTheNewestOfAllThatServe() throws IOException {
        jdk("usr/lib/jvm/java-17-openjdk", "17.0.15");
        jdk("usr/lib/jvm/jdk-22", "22.0.2");
        Path newest = jdk("user/.sdkman/candidates/java/25.0.1-tem", "25.0.1");
        jdk("opt/jdk-24", "24");
        JdkSearch.Found found = search(Map.of()).newest(22);
        assertThat(found.java).contains(java(newest));
        assertThat(found.rejected).singleElement().asString().endsWith("java-17-openjdk (Java 17)");
    }

    @Test
    void looksThroughLinksOnThePath() throws IOException {
        Path home = jdk("srv/java/jdk-23", "23.0.1");
        Path bin = Files.createDirectories(root.resolve("usr/bin"));
        Files.createSymbolicLink(bin.resolve("java"), home.resolve("bin/java"));
        assertThat(search(Map.of("PATH", root.resolve("nowhere") + File.pathSeparator + bin)).newest(22).java).contains(java(home));
    }

    @Test
    void readsJavaHomeAndAMacBundle() throws IOException {
        Path home = jdk("somewhere/jdk", "22");
        assertThat(search(Map.of("JAVA_HOME", home.toString())).newest(22).java).contains(java(home));
        Path bundle = jdk("Library/Java/JavaVirtualMachines/temurin-25.jdk/Contents/Home", "25.0.2");
        assertThat(search(Map.of()).newest(22).java).contains(java(bundle));
    }

    @Test
    void isNotMisledByFoldersThatAreNoJdk() throws IOException {
        Files.createDirectories(root.resolve("opt/jdk-25/bin"));
        Files.writeString(root.resolve("opt/jdk-25/release"), "JAVA_VERSION=\"25\"\n");
        Path noRelease = jdk("opt/jdk-26", "26");
        Files.delete(noRelease.resolve("release"));
        Path notRunnable = jdk("opt/jdk-27", "27");
        assertThat(java(notRunnable).setExecutable(false)).isTrue();
        Files.writeString(jdk("opt/odd", "x").resolve("release"), "no version here\n");
        JdkSearch.Found found = search(Map.of()).newest(22);
        assertThat(found.java).isEmpty();
        assertThat(found.rejected).isEmpty();
    }

    @Test
    void theNamedFolderIsTheOnlyOne() throws IOException {
        jdk("usr/lib/jvm/jdk-25", "25");
        Path old = jdk("my/jdk-21", "21.0.3");
        JdkSearch.Found tooOld = search(Map.of("PANACEA_JAVA_HOME", old.toString())).newest(22);
        assertThat(tooOld.java).isEmpty();
        assertThat(tooOld.rejected).singleElement().asString().endsWith("jdk-21 (Java 21)");
        JdkSearch.Found missing = search(Map.of("PANACEA_JAVA_HOME", root.resolve("nowhere").toString())).newest(22);
        assertThat(missing.java).isEmpty();
        assertThat(missing.rejected).singleElement().asString().contains("PANACEA_JAVA_HOME", "no bin/java");
    }

    @ParameterizedTest
    @CsvSource({"1.8.0_412, 8", "11, 11", "25.0.1, 25", "26-ea, 26", "17.0.15+6, 17", "'', 0", "abc, 0", "99999999999, 0"})
    void readsVersions(String text, int feature) {
        assertThat(JdkSearch.feature(text)).isEqualTo(feature);
    }

    private JdkSearch search(Map<String, String> environment) {
        return new JdkSearch(environment, root.resolve("user").toFile(), root.toFile());
    }

    private Path jdk(String folder, String version) throws IOException {
        Path home = Files.createDirectories(root.resolve(folder)).toRealPath();
        Files.createDirectories(home.resolve("bin"));
        Files.writeString(home.resolve("bin/java"), "");
        assertThat(java(home).setExecutable(true)).isTrue();
        Files.writeString(home.resolve("release"), "IMPLEMENTOR=\"somebody\"\nJAVA_VERSION=\"" + version + "\"\n");
        return home;
    }

    private static File java(Path home) {
        return home.resolve("bin/java").toFile();
    }
}
