package dev.panacea.golden;

import static org.junit.jupiter.api.Assumptions.abort;
import static org.junit.jupiter.api.DynamicContainer.dynamicContainer;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import com.fasterxml.jackson.databind.ObjectMapper;
import dev.panacea.eval.SacreBleuTest;
import dev.panacea.testing.TestBackend;
import dev.panacea.text.TextCases;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.DynamicNode;
import org.junit.jupiter.api.TestFactory;

/**
 * Figures of transformers, PEFT, bitsandbytes and sacreBLEU, computed again with the reference kernels and with the native ones, or with
 * {@code -Dpanacea.device=cuda} on a GPU. The folder is the system property {@code panacea.golden}; every case found in it is run, and one of a kind that
 * is not supported yet is reported as skipped, by name; with {@code -Dpanacea.golden.cases=PATTERN} only those of it whose name matches. A small part of
 * the figures is among the project's own test resources, so that this test means something without the folder.
 */
class GoldenTest {
    private static final List<String> DEVIATIONS = new ArrayList<>();

    static synchronized void deviation(String line) {
        DEVIATIONS.add(line);
    }

    @AfterAll
    static void printDeviations() {
        DEVIATIONS.forEach(d -> System.out.println("golden " + d));
    }

    @TestFactory
    Stream<DynamicNode> ownResources() {
        return cases(Path.of("src/test/resources/golden"), ".*");
    }

    @TestFactory
    Stream<DynamicNode> folder() {
        Path folder = Path.of(System.getProperty("panacea.golden", "../../shared/golden"));
        if (!Files.isDirectory(folder)) {
            System.out.println("golden: skipped, there is no folder " + folder + "; name one with -Dpanacea.golden=FOLDER");
            return Stream.of(dynamicTest("no folder " + folder, () -> abort("no folder " + folder)));
        }
        return cases(folder, System.getProperty("panacea.golden.cases", ".*"));
    }

    private static Stream<DynamicNode> cases(Path folder, String wanted) {
        List<DynamicNode> nodes = new ArrayList<>();
        try (Stream<Path> entries = Files.list(folder)) {
            for (Path entry : entries.filter(e -> e.getFileName().toString().matches(wanted)).sorted().toList()) {
                String name = entry.getFileName().toString();
                if (Files.exists(entry.resolve("reference.json"))) {
                    nodes.add(dynamicContainer(name, TrainingFigures.tests(entry, TestBackend.all())));
                } else if (name.startsWith("nf4") && name.endsWith(".safetensors")) {
                    nodes.add(dynamicContainer(name, QuantizationFigures.tests(entry, TestBackend.all())));
                } else if (name.startsWith("smollm2") && name.endsWith(".json")) {
                    nodes.add(dynamicContainer(name, SmolLm2Figures.tests(entry, TestBackend.all())));
                } else if (name.startsWith("chat_templates") && name.endsWith(".json")) {
                    nodes.add(dynamicContainer(name, TextCases.templates(new ObjectMapper().readTree(entry.toFile()))));
                } else if (name.startsWith("jinja") && name.endsWith(".json")) {
                    nodes.add(dynamicContainer(name, TextCases.jinja(new ObjectMapper().readTree(entry.toFile()))));
                } else if (name.startsWith("sacrebleu") && name.endsWith(".json")) {
                    nodes.add(dynamicContainer(name, SacreBleuTest.golden(new ObjectMapper().readTree(entry.toFile()))));
                }
            }
        } catch (IOException e) {
            throw new java.io.UncheckedIOException(e);
        }
        return nodes.stream();
    }
}
