package dev.panacea.generate;

import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.llama.KvCache;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.Predictions;
import dev.panacea.llama.Predictions.Largest;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.OptionalInt;
import java.util.function.IntConsumer;
import java.util.stream.IntStream;

/**
 * Continues prompts, several at a time, with a cache of keys and values.
 *
 * <p>Threads: as {@link LlamaModel}, which is held from a call's beginning to its end: whoever generates on the same model meanwhile gets an {@link IllegalStateException}.
 */
public final class Generator {
    /** Sequences that are decoded side by side: the weights are read once for all of them. */
    private static final int SIDE_BY_SIDE = 16;

    private final LlamaModel model;

    public Generator(LlamaModel model) {
        this.model = Objects.requireNonNull(model, "model");
    }

    /**
     * Continues one prompt.
     *
     * @param stopTokens ids that end the answer; they are not part of it
     * @param onToken hears of each token as it is chosen; it may use the model, but an answer does not go on with another adapter than it began with
     * @return the new tokens
     * @throws PanaceaException if the prompt leaves the model no room for an answer, memory does not suffice, or what the model predicts are no numbers
     * @throws IllegalArgumentException if the prompt is empty or holds an id that the model does not have
     */
    public int[] generate(int[] prompt, GenerationConfig config, int[] stopTokens, IntConsumer onToken) {
        Objects.requireNonNull(config, "config");
        Objects.requireNonNull(stopTokens, "stopTokens");
        Objects.requireNonNull(onToken, "onToken");
        List<int[]> one = List.of(Objects.requireNonNull(prompt, "prompt"));
        return model.exclusively(() -> together(one, config, stopTokens, 0, onToken).getFirst());
    }

    /** Continues prompts independently of each other, no prompts giving no answers; see {@link #generate(int[], GenerationConfig, int[], IntConsumer)}. */
    public List<int[]> generate(List<int[]> prompts, GenerationConfig config, int[] stopTokens) {
        Objects.requireNonNull(config, "config");
        Objects.requireNonNull(stopTokens, "stopTokens");
        for (int[] prompt : Objects.requireNonNull(prompts, "prompts")) {
            Objects.requireNonNull(prompt, "prompt");
        }
        return model.exclusively(() -> {
            List<int[]> answers = new ArrayList<>();
            for (int from = 0; from < prompts.size(); from += SIDE_BY_SIDE) {
                List<int[]> group = prompts.subList(from, Math.min(prompts.size(), from + SIDE_BY_SIDE));
                answers.addAll(together(group, config, stopTokens, from, id -> {}));
            }
            return answers;
        });
    }

    /** @param first number of the first prompt: every prompt draws from a random sequence of its own */
    private List<int[]> together(List<int[]> prompts, GenerationConfig config, int[] stopTokens, int first, IntConsumer onToken) {
        int longest = prompts.stream().mapToInt(p -> p.length).max().orElseThrow();
        int capacity = (int) Math.min((long) longest + config.maxNewTokens(), model.config().maxPositionEmbeddings());
        if (longest >= capacity) {
            throw new PanaceaException("the prompt has " + longest + " tokens; the model takes " + model.config().maxPositionEmbeddings() + " with the answer. Shorten it");
        }
        try (KvCache cache = model.newCache(prompts.size(), capacity)) {
            List<Answer> answers = new ArrayList<>();
            for (int i = 0; i < prompts.size(); i++) {
                answers.add(new Answer(i, prompts.get(i), capacity, new Sampler(config, config.seed() + first + i)));
            }
            List<Answer> active = new ArrayList<>(answers);
            // Prompts one by one: together they would need memory for all their activations at once.
            for (Answer a : answers) {
                Predictions next = model.next(cache, new int[] {a.slot}, List.of(a.prompt()));
                a.accept(choose(next, List.of(a), config)[0], stopTokens, config.maxNewTokens(), onToken);
            }
            active.removeIf(a -> a.done);
            while (!active.isEmpty()) {
                int[] slots = active.stream().mapToInt(a -> a.slot).toArray();
                int[] ids = choose(model.next(cache, slots, active.stream().map(Answer::lastToken).toList()), active, config);
                for (int i = 0; i < slots.length; i++) {
                    active.get(i).accept(ids[i], stopTokens, config.maxNewTokens(), onToken);
                }
                active.removeIf(a -> a.done);
            }
            return answers.stream().map(Answer::tokens).toList();
        }
    }

    /** The next token of each answer, by as little of the logits as decides it. */
    private static int[] choose(Predictions next, List<Answer> answers, GenerationConfig config) {
        if (config.temperature() == 0 && config.repetitionPenalty() == 1) {
            return next.best();
        }
        List<Largest> largest = next.inReach() || !Sampler.largestMayDecide(config) ? List.of() : next.largest(Kernels.MOST_OF_A_ROW, Sampler.temperatureOfSum(config));
        int[] ids = new int[answers.size()];
        for (int i = 0; i < ids.length; i++) {
            Answer a = answers.get(i);
            OptionalInt decided = largest.isEmpty() ? OptionalInt.empty() : a.sampler.among(largest.get(i), a.tokens, a.length);
            ids[i] = decided.isPresent() ? decided.getAsInt() : a.sampler.next(next.logits(i), a.tokens, a.length);
        }
        return ids;
    }

    /** The tokens of one sequence: prompt, then answer. */
    private static final class Answer {
        private final int slot;
        private final int promptLength;
        private final int[] tokens;
        private final Sampler sampler;
        private int length;
        private boolean done;

        Answer(int slot, int[] prompt, int capacity, Sampler sampler) {
            this.slot = slot;
            this.promptLength = prompt.length;
            this.tokens = Arrays.copyOf(prompt, capacity);
            this.sampler = sampler;
            this.length = prompt.length;
        }

        int[] prompt() {
            return Arrays.copyOf(tokens, promptLength);
        }

        int[] lastToken() {
            return new int[] {tokens[length - 1]};
        }

        int[] tokens() {
            return Arrays.copyOfRange(tokens, promptLength, length);
        }

        void accept(int id, int[] stopTokens, int maxNewTokens, IntConsumer onToken) {
            if (IntStream.of(stopTokens).anyMatch(s -> s == id)) {
                done = true;
                return;
            }
            tokens[length++] = id;
            onToken.accept(id);
            done = length == tokens.length || length - promptLength == maxNewTokens;
        }
    }
}
