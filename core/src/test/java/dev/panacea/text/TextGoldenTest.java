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

/** The chat templates and the texts of the folder named by the system property {@code panacea.golden}. */
class TextGoldenTest {
    private static final Path GOLDEN = Path.of(System.getProperty("panacea.golden", "../../shared/golden"));

    @TestFactory
    List<DynamicTest> chatTemplates() throws IOException {
        return TextCases.templates(read("chat_templates.json"));
    }

    /** SmolLM2 from the GGUF file named by {@code panacea.golden.model}, whose contents smollm2.json is about. */
    @TestFactory
    List<DynamicTest> smollm2() throws IOException {
        JsonNode cases = read("smollm2.json");
        String model = System.getProperty("panacea.golden.model");
        if (model == null) {
            System.out.println("skipped: smollm2.json with the whole vocabulary, as -Dpanacea.golden.model=...gguf is not given");
            Assumptions.abort("panacea.golden.model is not given");
        }
        return TextCases.tokenizer(cases, Tokenizers.open(Path.of(model)));
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
