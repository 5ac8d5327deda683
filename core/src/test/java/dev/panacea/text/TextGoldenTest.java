package dev.panacea.text;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** The chat templates of the folder named by the system property {@code panacea.golden}. */
class TextGoldenTest {
    private static final Path GOLDEN = Path.of(System.getProperty("panacea.golden", "../../shared/golden"));

    @TestFactory
    List<DynamicTest> chatTemplates() throws IOException {
        return TextCases.templates(read("chat_templates.json"));
    }

    private static JsonNode read(String name) throws IOException {
        Path file = GOLDEN.resolve(name);
        if (!Files.isRegularFile(file)) {
            System.out.println("skipped: there is no " + file.toAbsolutePath().normalize());
            Assumptions.abort("there is no " + file);
        }
        return new ObjectMapper().readTree(file.toFile());
    }
}
