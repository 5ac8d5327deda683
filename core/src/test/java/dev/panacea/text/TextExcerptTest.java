package dev.panacea.text;

import java.util.List;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** The excerpts of the golden figures in the project's own resources. */
class TextExcerptTest {
    @TestFactory
    List<DynamicTest> smollm2() {
        return TextCases.tokenizer(TestVocabularies.resource("smollm2-excerpt.json"), Tokenizers.fromGguf(TestVocabularies.smollm2()));
    }

    @TestFactory
    List<DynamicTest> chatTemplates() {
        return TextCases.templates(TestVocabularies.resource("chat-templates.json"));
    }
}
