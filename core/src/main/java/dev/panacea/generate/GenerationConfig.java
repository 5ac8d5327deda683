package dev.panacea.generate;

/**
 * How text is generated, by the names of transformers' {@code GenerationConfig}.
 *
 * @param maxNewTokens an answer that reaches it ends there, and so does one that fills the model's context
 * @param temperature 0 for greedy decoding
 * @param topK tokens kept before sampling; 0 for all
 * @param topP smallest set of tokens whose probabilities reach this sum; 1 for all
 * @param repetitionPenalty logits of tokens already seen are divided (positive) or multiplied (negative) by this; 1 for none (Keskar et al. 2019)
 */
public record GenerationConfig(int maxNewTokens, double temperature, int topK, double topP, double repetitionPenalty, long seed) {
    /** @throws IllegalArgumentException naming the setting that is out of its range */
    public GenerationConfig {
        check(maxNewTokens > 0, "maxNewTokens", maxNewTokens, "positive");
        check(temperature >= 0 && Double.isFinite(temperature), "temperature", temperature, "0 (greedy) or positive");
        check(topK >= 0, "topK", topK, "0 (all) or positive");
        check(topP > 0 && topP <= 1, "topP", topP, "above 0 and at most 1");
        check(repetitionPenalty >= 1e-6 && repetitionPenalty <= 1e6, "repetitionPenalty", repetitionPenalty, "between 1e-6 and 1e6");
    }

    private static void check(boolean good, String name, Number value, String expected) {
        if (!good) {
            throw new IllegalArgumentException(name + " is " + value + "; it must be " + expected);
        }
    }

    /** Always the most probable token. */
    public static GenerationConfig greedy(int maxNewTokens) {
        return new GenerationConfig(maxNewTokens, 0, 0, 1, 1, 0);
    }

    /** Sampling with a temperature and nucleus (top-p). */
    public static GenerationConfig sampling(int maxNewTokens, double temperature, double topP, long seed) {
        return new GenerationConfig(maxNewTokens, temperature, 0, topP, 1, seed);
    }
}
