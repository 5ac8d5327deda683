package dev.panacea.examples;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.regex.Pattern;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** The form of the bundled dialogues: what a person reading the file may rely on. */
class DialoguesTest {
    private static final Pattern CHAT_MARKERS = Pattern.compile("<\\||\\|>|</?s>|\\[/?INST]|<</?SYS>>|<(start|end)_of_turn>|[\\p{Cntrl}\\uFFFD]");
    private static final Pattern NOT_A_WORD = Pattern.compile("[^\\p{L}\\p{N}']+");
    private static List<JsonNode> dialogues;

    @BeforeAll
    static void everyLineIsOneObjectOfStrictUtf8() throws IOException {
        String text;
        try (InputStream in = DialoguesTest.class.getResourceAsStream("dialogues.jsonl")) {
            assertThat(in).as("dialogues.jsonl beside the examples").isNotNull();
            text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(in.readAllBytes())).toString();
        }
        assertThat(text).endsWith("\n").doesNotContain("\r");
        ObjectMapper json = new ObjectMapper().enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS);
        dialogues = new ArrayList<>();
        for (String line : text.split("\n")) {
            dialogues.add(json.readTree(line));
        }
    }

    @Test
    void thereAreEnoughOfThemAndSomeGoOn() {
        assertThat(dialogues.size()).isBetween(300, 330);
        assertThat(dialogues.stream().filter(d -> d.required("messages").size() > 2).count()).isGreaterThanOrEqualTo(20);
    }

    @Test
    void rolesAlternateFromThePatientToTheDoctor() {
        for (JsonNode dialogue : dialogues) {
            assertThat(dialogue.fieldNames()).toIterable().containsExactly("messages");
            JsonNode messages = dialogue.required("messages");
            assertThat(messages.size()).as("%s", dialogue).isIn(2, 4);
            for (int i = 0; i < messages.size(); i++) {
                assertThat(messages.get(i).fieldNames()).toIterable().containsExactly("role", "content");
                assertThat(messages.get(i).required("role").asText()).as("%s", dialogue).isEqualTo(i % 2 == 0 ? "user" : "assistant");
            }
        }
    }

    @Test
    void everyTextHasItsLengthAndEveryAnswerItsQuestion() {
        for (JsonNode dialogue : dialogues) {
            for (JsonNode message : dialogue.required("messages")) {
                String content = message.required("content").textValue();
                assertThat(content).isNotNull().isEqualTo(content.strip()).doesNotContainPattern(CHAT_MARKERS).doesNotContain("  ");
                boolean answer = message.required("role").asText().equals("assistant");
                assertThat(words(content).size()).as("%s", content).isBetween(answer ? 50 : 8, answer ? 115 : 60);
                if (answer) {
                    assertThat(content).endsWith("?");
                }
            }
        }
    }

    @Test
    void noTextAppearsTwiceAndNoTwoDialoguesAreMuchAlike() {
        Set<String> seen = new HashSet<>();
        List<Set<String>> triples = new ArrayList<>();
        for (JsonNode dialogue : dialogues) {
            List<String> all = new ArrayList<>();
            for (JsonNode message : dialogue.required("messages")) {
                List<String> words = words(message.required("content").asText());
                assertThat(seen.add(String.join(" ", words))).as("said twice: %s", message).isTrue();
                all.addAll(words);
            }
            triples.add(new HashSet<>(IntStream.range(0, all.size() - 2).mapToObj(i -> String.join(" ", all.subList(i, i + 3))).toList()));
        }
        for (int i = 0; i < triples.size(); i++) {
            for (int j = 0; j < i; j++) {
                Set<String> smaller = triples.get(i).size() < triples.get(j).size() ? triples.get(i) : triples.get(j);
                Set<String> larger = smaller == triples.get(i) ? triples.get(j) : triples.get(i);
                long common = smaller.stream().filter(larger::contains).count();
                double likeness = (double) common / (smaller.size() + larger.size() - common);
                assertThat(likeness).as("%s%n%s", dialogues.get(i), dialogues.get(j)).isLessThan(0.2);
            }
        }
    }

    private static List<String> words(String text) {
        return Stream.of(NOT_A_WORD.split(text.toLowerCase(Locale.ROOT))).filter(word -> !word.isEmpty()).toList();
    }
}
