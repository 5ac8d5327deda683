package dev.panacea.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.DataInputStream;
import java.io.IOException;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class LauncherTest {
    @Test
    void passesOnWhatANewerJavaUnderstands() {
        assertThat(Launcher.passedOn(List.of("-Xmx1g", "-Dpanacea.threads=1", "-Djava.endorsed.dirs=x", "-agentlib:jdwp=transport=dt_socket", "-XX:+UseConcMarkSweepGC", "-ea")))
                .containsExactly("-Xmx1g", "-Dpanacea.threads=1", "-XX:+IgnoreUnrecognizedVMOptions", "-XX:+UseConcMarkSweepGC", "-ea");
    }

    @Test
    void saysWhatToInstall() {
        JdkSearch.Found found = new JdkSearch.Found(Optional.empty(), List.of("/usr/lib/jvm/java-17 (Java 17)"));
        assertThat(Launcher.whatToInstall(17, found, "Linux")).contains("Java 22 or newer", "this is Java 17", "/usr/lib/jvm/java-17 (Java 17)", "apt install", "PANACEA_JAVA_HOME");
        assertThat(Launcher.whatToInstall(8, found, "Mac OS X")).contains("brew install");
        assertThat(Launcher.whatToInstall(8, found, "Windows 11")).contains("winget install");
    }

    /** Class files of Java 8 have major version 52; anything newer would not even start where it is needed. */
    @ParameterizedTest
    @ValueSource(strings = {"Launcher", "JdkSearch", "JdkSearch$Found"})
    void loadsInJava8(String name) throws IOException {
        try (DataInputStream in = new DataInputStream(Launcher.class.getResourceAsStream(name + ".class"))) {
            assertThat(in.readInt()).isEqualTo(0xCAFEBABE);
            in.readUnsignedShort();
            assertThat(in.readUnsignedShort()).isEqualTo(52);
        }
    }
}
