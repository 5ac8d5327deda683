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
    void asciiIsSentAsItStands() {
        assertThat(Launcher.sent(List.of("-Xmx1g"), List.of("-jar", "x.jar"), List.of("--chat", "@x", ""))).containsExactly("-Xmx1g", "-jar", "x.jar", "--chat", "@x", "");
        assertThat(Launcher.received(new String[] {"--chat", "@x"}, null)).containsExactly("--chat", "@x");
    }

    @Test
    void whatIsMoreThanAsciiIsSentEncodedAndReceivedAsItWas() {
        String name = "panacea.test.encoded";
        List<String> arguments = List.of("--chat", "Übelkeit? 医 \ud83d\ude00", "", "@x");
        List<String> sent = Launcher.sent(List.of("-Xmx1g", "-D" + name + "=/tmp/Jörg=1"), List.of("-jar", "x.jar"), arguments);
        assertThat(sent).startsWith("-Xmx1g", "-Dpanacea.launcher.encoded=1", "-jar", "x.jar").allMatch(RawArguments::isAscii);
        try {
            assertThat(Launcher.received(sent.subList(4, sent.size()).toArray(new String[0]), "1")).containsExactlyElementsOf(arguments);
            assertThat(System.getProperty(name)).isEqualTo("/tmp/Jörg=1");
        } finally {
            System.clearProperty(name);
        }
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
    @ValueSource(strings = {"Launcher", "JdkSearch", "JdkSearch$Found", "ParentWatch", "RawArguments"})
    void loadsInJava8(String name) throws IOException {
        try (DataInputStream in = new DataInputStream(Launcher.class.getResourceAsStream(name + ".class"))) {
            assertThat(in.readInt()).isEqualTo(0xCAFEBABE);
            in.readUnsignedShort();
            assertThat(in.readUnsignedShort()).isEqualTo(52);
        }
    }
}
