package dev.panacea.data;

import java.util.ArrayList;
import java.util.List;

/**
 * The order of training: each epoch shuffled by seed and number, cut into micro-batches, and these into optimizer steps. Nothing is padded, as
 * every kernel takes sequences of different lengths; nothing is left out, so the last micro-batch and the last step of an epoch may be smaller.
 */
public final class Batches {
    private final List<TokenizedExample> examples;
    private final int batchSize;
    private final int accumulation;
    private final long seed;

    /**
     * @param batchSize sequences per micro-batch
     * @param accumulation micro-batches per optimizer step
     */
    public Batches(List<TokenizedExample> examples, int batchSize, int accumulation, long seed) {
        if (batchSize < 1 || accumulation < 1) {
            throw new IllegalArgumentException("batch size and accumulation steps must be at least 1, not " + batchSize + " and " + accumulation);
        }
        this.examples = List.copyOf(examples);
        this.batchSize = batchSize;
        this.accumulation = accumulation;
        this.seed = seed;
    }

    /** What one optimizer step sees. */
    public record Step(List<List<TokenizedExample>> microBatches) {
        /** All tokens, each once. */
        public int tokens() {
            return microBatches.stream().flatMap(List::stream).mapToInt(TokenizedExample::length).sum();
        }

        /** The tokens that the loss counts: what its sum is divided by. */
        public int targetTokens() {
            return microBatches.stream().flatMap(List::stream).mapToInt(TokenizedExample::targetTokens).sum();
        }
    }

    public int stepsPerEpoch() {
        return Math.ceilDiv(Math.ceilDiv(examples.size(), batchSize), accumulation);
    }

    /** The steps of an epoch, the first being 0. The same number always gives the same steps, so that training can be resumed. */
    public List<Step> epoch(int number) {
        List<TokenizedExample> order = new ArrayList<>(examples);
        new SplitMix64(new SplitMix64(seed).next() + number).shuffle(order);
        return cut(cut(order, batchSize), accumulation).stream().map(Step::new).toList();
    }

    private static <T> List<List<T>> cut(List<T> list, int size) {
        List<List<T>> parts = new ArrayList<>();
        for (int i = 0; i < list.size(); i += size) {
            parts.add(List.copyOf(list.subList(i, Math.min(list.size(), i + size))));
        }
        return parts;
    }
}
