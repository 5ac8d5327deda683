package dev.panacea.launcher;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.util.List;
import org.junit.jupiter.api.Test;

class RawArgumentsTest {
    private static final String QUESTION = "Was hilft bei Übelkeit? 医";

    private static RawArguments typed(Charset terminal, Charset java, String... words) {
        return new RawArguments(RawArguments.split((String.join("\0", words) + "\0").getBytes(terminal)), java);
    }

    private static String asJavaReads(String text, Charset java) {
        return new String(text.getBytes(StandardCharsets.UTF_8), java);
    }

    @Test
    void argumentsReadAsAsciiOrLatin1AreMadeRight() {
        for (Charset java : List.of(StandardCharsets.US_ASCII, StandardCharsets.ISO_8859_1)) {
            RawArguments raw = typed(StandardCharsets.UTF_8, java, "java", "-Dpanacea.cache=/tmp/Jörg", "-jar", "x.jar", "--chat", QUESTION, "");
            assertThat(raw.areRead()).isFalse();
            assertThat(raw.areUtf8()).isTrue();
            assertThat(raw.needUtf8()).isTrue();
            assertThat(raw.arguments(new String[] {"--chat", asJavaReads(QUESTION, java), ""})).containsExactly("--chat", QUESTION, "");
            assertThat(raw.option(asJavaReads("-Dpanacea.cache=/tmp/Jörg", java))).isEqualTo("-Dpanacea.cache=/tmp/Jörg");
        }
    }

    @Test
    void argumentsThatComeFromElsewhereStayAsTheyAre() {
        RawArguments raw = typed(StandardCharsets.UTF_8, StandardCharsets.US_ASCII, "java", "@options");
        assertThat(raw.arguments(new String[] {"--chat", "\ufffd\ufffd", "x"})).containsExactly("--chat", "\ufffd\ufffd", "x");
        assertThat(raw.option("-Da=\ufffd")).isEqualTo("-Da=\ufffd");
    }

    @Test
    void bytesThatAreNoUtf8BelongToTheUsersOwnLanguage() {
        RawArguments raw = typed(StandardCharsets.ISO_8859_1, StandardCharsets.ISO_8859_1, "java", "-jar", "x.jar", "Jörg");
        assertThat(raw.areUtf8()).isFalse();
        assertThat(raw.arguments(new String[] {"Jörg"})).containsExactly("Jörg");
    }

    @Test
    void whatIsReadInUtf8NeedsNothing() {
        assertThat(typed(StandardCharsets.UTF_8, StandardCharsets.UTF_8, "java", QUESTION).areRead()).isTrue();
        assertThat(new RawArguments(List.of(), StandardCharsets.US_ASCII).areRead()).as("a system without /proc").isTrue();
    }
}
