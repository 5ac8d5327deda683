package dev.panacea.generate;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.panacea.kernels.Backends;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.kernels.RepeatedCalls;
import dev.panacea.llama.KvCache;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.Quantization;
import dev.panacea.lora.LoraAdapter;
import dev.panacea.testing.KernelsProxy;
import dev.panacea.testing.TestBackend;
import dev.panacea.testing.TinyModel;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.function.Function;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

class GeneratorTest {
    private static final int[] NO_STOP = {};
    private static Kernels kernels;
    private static LlamaModel model;

    @BeforeAll
    static void open() {
        kernels = Backends.open();
        model = TinyModel.load(kernels, Quantization.NONE, DType.F32);
    }

    @AfterAll
    static void close() {
        model.close();
        kernels.close();
    }

    private static int[] prompt(int length, long seed) {
        return new SplittableRandom(seed).ints(length, 3, TinyModel.VOCAB).toArray();
    }

    @Test
    void cacheGivesTheLogitsOfTheWholeText() {
        int[] text = prompt(23, 1);
        float[] whole = model.logits(text);
        try (KvCache cache = model.newCache(2, 40)) {
            // Another sequence in the other slot, and the text in pieces of different lengths.
            model.next(cache, new int[] {0}, List.of(prompt(9, 2)));
            int at = 0;
            for (int piece : new int[] {7, 1, 1, 5, 9}) {
                int[] part = Arrays.copyOfRange(text, at, at + piece);
                at += piece;
                float[] logits = model.next(cache, new int[] {1}, List.of(part)).logits(0);
                for (int i = 0; i < logits.length; i++) {
                    assertThat(logits[i]).isCloseTo(whole[(at - 1) * TinyModel.VOCAB + i], within(1e-4f));
                }
            }
            assertThat(cache.length(1)).isEqualTo(23);
        }
    }

    @Test
    void severalPromptsGiveWhatEachGivesAlone() {
        List<int[]> prompts = new ArrayList<>();
        for (int i = 0; i < 11; i++) {
            prompts.add(prompt(3 + 2 * i, 100 + i));
        }
        Generator generator = new Generator(model);
        List<int[]> together = generator.generate(prompts, GenerationConfig.greedy(12), new int[] {7, 44});
        for (int i = 0; i < prompts.size(); i++) {
            assertThat(together.get(i)).isEqualTo(generator.generate(prompts.get(i), GenerationConfig.greedy(12), new int[] {7, 44}, id -> {}));
        }
    }

    /** A step of one token each comes as the same calls on the same buffers, which a device may run as one; the tokens are those of separate calls. */
    @Test
    void repeatedStepsGiveTheTokensOfSeparateCalls() {
        List<String> calls = new ArrayList<>();
        Map<String, Function<Object[], Object>> plainly = Map.of("repeated", arguments -> RepeatedCalls.plain((Runnable) arguments[0]));
        try (LlamaModel repeating = TinyModel.load(KernelsProxy.watching(kernels, calls::add), Quantization.NF4, DType.BF16);
                LlamaModel separate = TinyModel.load(KernelsProxy.answering(kernels, call -> {}, plainly), Quantization.NF4, DType.BF16)) {
            List<int[]> prompts = List.of(prompt(9, 1), prompt(4, 2), prompt(15, 3));
            List<int[]> free = new Generator(separate).generate(prompts, GenerationConfig.greedy(14), NO_STOP);
            // One text ends early, so that the others go on as another step.
            int[] stop = {free.get(1)[6]};
            List<int[]> expected = new Generator(separate).generate(prompts, GenerationConfig.greedy(14), stop);
            calls.clear();
            assertThat(new Generator(repeating).generate(prompts, GenerationConfig.greedy(14), stop)).usingRecursiveComparison().isEqualTo(expected);
            assertThat(calls).as("steps that have their place").contains("repeated");
            if (TestBackend.onDevice()) {
                long attentions = calls.stream().filter("attention"::equals).count();
                assertThat(attentions).as("most steps made no call of their own").isLessThan(2 * (3 + 3 * calls.stream().filter("repeated"::equals).count()));
            }
        }
    }

    /** What moves between two steps (the arena's block, the table of angles, the adapter, the cache) makes a recorded step void. */
    @Test
    void repeatedStepsFollowWhatMoves() {
        int[] text = prompt(600, 5);
        List<float[]> expected = new ArrayList<>();
        int[] at = {505, 506, 507, 508, 509, 510, 511, 512, 513, 514, 515, 516, 517};
        float[] all = model.logits(Arrays.copyOf(text, 520));
        for (int i : at) {
            expected.add(Arrays.copyOfRange(all, i * TinyModel.VOCAB, (i + 1) * TinyModel.VOCAB));
        }
        try (LlamaModel fresh = TinyModel.load(kernels, Quantization.NONE, DType.F32); KvCache cache = fresh.newCache(1, 600); KvCache other = fresh.newCache(2, 600);
                LoraAdapter adapter = TinyModel.adapter(fresh)) {
            fresh.next(cache, new int[] {0}, List.of(Arrays.copyOf(text, at[0])));
            fresh.next(other, new int[] {0}, List.of(Arrays.copyOf(text, 20)));
            for (int i = 0; i < at.length; i++) {
                float[] logits = fresh.next(cache, new int[] {0}, List.of(new int[] {text[at[i]]})).logits(0);
                for (int v = 0; v < logits.length; v++) {
                    assertThat(logits[v]).as("token " + at[i]).isCloseTo(expected.get(i)[v], within(1e-4f));
                }
                // From token 512 on the table of angles is a longer one.
                if (i == 4) {
                    fresh.losses(List.of(Arrays.copyOf(text, 590)), new int[] {1}, new int[] {2}, 1, false);
                } else if (i == 8) {
                    adapter.attachTo(fresh);
                    fresh.next(other, new int[] {1}, List.of(new int[] {3}));
                    fresh.detach();
                } else if (i == 10) {
                    fresh.next(other, new int[] {0}, List.of(new int[] {3}));
                }
            }
        }
    }

    @Test
    void greedyIsTheMostProbableTokenOfEveryPlace() {
        int[] prompt = prompt(8, 3);
        int[] answer = new Generator(model).generate(prompt, GenerationConfig.greedy(6), NO_STOP, id -> {});
        assertThat(answer).hasSize(6);
        int[] text = Arrays.copyOf(prompt, prompt.length + answer.length);
        System.arraycopy(answer, 0, text, prompt.length, answer.length);
        float[] logits = model.logits(text);
        for (int i = 0; i < answer.length; i++) {
            int row = prompt.length + i - 1;
            float chosen = logits[row * TinyModel.VOCAB + answer[i]];
            for (int v = 0; v < TinyModel.VOCAB; v++) {
                assertThat(logits[row * TinyModel.VOCAB + v]).isLessThanOrEqualTo(chosen + 1e-4f);
            }
        }
    }

    @Test
    void stopTokenEndsTheAnswerAndIsNotPartOfIt() {
        int[] prompt = prompt(8, 3);
        List<Integer> heard = new ArrayList<>();
        int[] free = new Generator(model).generate(prompt, GenerationConfig.greedy(10), NO_STOP, id -> {});
        int[] stopped = new Generator(model).generate(prompt, GenerationConfig.greedy(10), new int[] {free[4]}, heard::add);
        int first = 0;
        while (free[first] != free[4]) {
            first++;
        }
        assertThat(stopped).isEqualTo(Arrays.copyOf(free, first));
        assertThat(heard).hasSize(first);
    }

    @Test
    void samplingFollowsItsSeed() {
        int[] prompt = prompt(8, 3);
        Generator g = new Generator(model);
        int[] a = g.generate(prompt, GenerationConfig.sampling(12, 1, 0.95, 1), NO_STOP, id -> {});
        assertThat(g.generate(prompt, GenerationConfig.sampling(12, 1, 0.95, 1), NO_STOP, id -> {})).isEqualTo(a);
        assertThat(g.generate(prompt, GenerationConfig.sampling(12, 1, 0.95, 2), NO_STOP, id -> {})).isNotEqualTo(a);
    }

    /** A device with memory of its own hands over what decides, not whole rows of logits; the tokens are those that all logits give. */
    @Test
    void tokensAreThoseOfAllLogits() {
        List<Long> downloads = new ArrayList<>();
        Map<String, Function<Object[], Object>> remote = Map.of("readsHostMemory", arguments -> false, "download", arguments -> {
            downloads.add(((DeviceBuffer) arguments[0]).byteSize());
            kernels.download((DeviceBuffer) arguments[0], (MemorySegment) arguments[1]);
            return null;
        });
        List<int[]> prompts = List.of(prompt(9, 1), prompt(4, 2));
        int tokens = 5;
        try (LlamaModel other = TinyModel.load(KernelsProxy.answering(kernels, call -> {}, remote), Quantization.NONE, DType.F32)) {
            for (GenerationConfig config : new GenerationConfig[] {GenerationConfig.greedy(tokens), new GenerationConfig(tokens, 0, 0, 1, 1.3, 0), GenerationConfig.sampling(tokens, 0.7, 0.9, 4),
                    new GenerationConfig(tokens, 1, 20, 0.95, 1.1, 5), new GenerationConfig(tokens, 1, 0, 1, 1, 6)}) {
                downloads.clear();
                List<int[]> answers = new Generator(other).generate(prompts, config, NO_STOP);
                for (int i = 0; i < prompts.size(); i++) {
                    assertThat(answers.get(i)).as(config.toString()).isEqualTo(fromAllLogits(prompts.get(i), config, config.seed() + i));
                }
                // The first of each text, then one for all of them together.
                boolean rows = config.topK() == 0 && config.topP() == 1 && config.temperature() > 0;
                long each = rows ? 4 * TinyModel.VOCAB : config.equals(GenerationConfig.greedy(tokens)) ? 4 : 4 * (2 * TinyModel.VOCAB + 1);
                List<Long> expected = new ArrayList<>(Collections.nCopies(rows ? 2 * tokens : 2, each));
                expected.addAll(Collections.nCopies(rows ? 0 : tokens - 1, 2 * each));
                if (!rows && config.topK() == 0 && config.topP() < 1) {
                    // The nucleus of so flat a distribution ends now and then where the error of its sum leaves it open.
                    downloads.removeIf(bytes -> bytes == 4 * TinyModel.VOCAB);
                }
                assertThat(downloads).as("bytes downloaded, " + config).isEqualTo(expected);
            }
        }
    }

    private static int[] fromAllLogits(int[] prompt, GenerationConfig config, long seed) {
        Sampler sampler = new Sampler(config, seed);
        int[] text = Arrays.copyOf(prompt, prompt.length + config.maxNewTokens());
        try (KvCache cache = model.newCache(1, text.length)) {
            for (int at = prompt.length, held = 0; at < text.length; at++) {
                text[at] = sampler.next(model.next(cache, new int[] {0}, List.of(Arrays.copyOfRange(text, held, at))).logits(0), text, at);
                held = at;
            }
        }
        return Arrays.copyOfRange(text, prompt.length, text.length);
    }

    @Test
    void aPromptThatFillsTheModelIsRefused() {
        assertThatThrownBy(() -> new Generator(model).generate(prompt(1024, 1), GenerationConfig.greedy(5), NO_STOP, id -> {})).isInstanceOf(PanaceaException.class)
                .hasMessageContaining("1024");
    }
}
