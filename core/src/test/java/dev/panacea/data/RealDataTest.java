package dev.panacea.data;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Public data sets beside the golden figures, as other people wrote them. */
class RealDataTest {
    private static final Path DATA = Path.of(System.getProperty("panacea.golden", "../../shared/golden")).resolveSibling("data");

    @ParameterizedTest
    @CsvSource({"counseling/train.jsonl,1712", "medquad/train.jsonl,4000", "medical-chatbot/dialogues.csv,1500"})
    void everyRowIsADialogue(String name, int rows) {
        Path file = DATA.resolve(name);
        if (!Files.isRegularFile(file)) {
            System.out.println("skipped: there is no " + file.toAbsolutePath().normalize());
            Assumptions.abort("there is no " + file);
        }
        assertThat(DatasetReader.read(file)).hasSize(rows).allMatch(r -> r.example() instanceof Example.Conversation);
    }
}
