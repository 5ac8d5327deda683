package dev.panacea.examples;
import dev.panacea.llama.Quantization;
import java.util.Optional;
final class Chat { static final int ANSWER_TOKENS = 400;
 record Settings(Optional<String> model, OutputFolder output, Optional<Quantization> quantization, int answerTokens, long seed) {}
 static void answer(Settings s, String q, Console c) { throw new IllegalStateException("later"); } }
