package dev.panacea.data;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.SplittableRandom;

/** The order in which examples are trained on. */
public final class Batches {
    private Batches() {}

    /**
     * The optimizer steps of one epoch: all examples in an order that depends on seed and epoch alone, cut into micro-batches, and these into
     * steps; the last may be smaller.
     *
     * @return for each step its micro-batches
     */
    public static List<List<List<TokenizedExample>>> epoch(List<TokenizedExample> examples, int batchSize, int accumulationSteps, long seed, int epoch) {
        List<TokenizedExample> order = new ArrayList<>(examples);
        // Fisher-Yates written out, since the order of Collections.shuffle is not promised to stay the same between Java versions.
        SplittableRandom random = new SplittableRandom(seed * 1_000_003 + epoch);
        for (int i = order.size() - 1; i > 0; i--) {
            Collections.swap(order, i, random.nextInt(i + 1));
        }
        return cut(cut(order, batchSize), accumulationSteps);
    }

    private static <T> List<List<T>> cut(List<T> list, int size) {
        List<List<T>> parts = new ArrayList<>();
        for (int from = 0; from < list.size(); from += size) {
            parts.add(list.subList(from, Math.min(list.size(), from + size)));
        }
        return parts;
    }
}
