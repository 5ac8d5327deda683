package dev.panacea.data;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Predicate;
import java.util.stream.IntStream;

/**
 * A data set in two parts, each in the order of the whole.
 *
 * @param heldOut what is never trained on
 */
public record Splits<T>(List<T> train, List<T> heldOut) {
    public Splits {
        train = List.copyOf(train);
        heldOut = List.copyOf(heldOut);
    }

    /**
     * Holds out rows chosen by the seed: the fraction of those that can be used, rounded, but at least one and not all. A single usable row is kept for
     * training, and so are those that cannot be used: nothing can be measured with them.
     *
     * @param fraction between 0 and 1, both excluded
     * @param usable whether a row can be used
     */
    public static <T> Splits<T> heldOut(List<T> rows, double fraction, long seed, Predicate<T> usable) {
        if (!(fraction > 0 && fraction < 1)) {
            throw new IllegalArgumentException("the fraction to hold out must lie between 0 and 1, not " + fraction);
        }
        List<Integer> order = new ArrayList<>(IntStream.range(0, rows.size()).boxed().toList());
        new SplitMix64(seed).shuffle(order);
        List<Integer> candidates = order.stream().filter(i -> usable.test(rows.get(i))).toList();
        int n = candidates.size() < 2 ? 0 : (int) Math.clamp(Math.round(candidates.size() * fraction), 1, candidates.size() - 1);
        Set<Integer> chosen = new HashSet<>(candidates.subList(0, n));
        List<T> train = new ArrayList<>();
        List<T> heldOut = new ArrayList<>();
        for (int i = 0; i < rows.size(); i++) {
            (chosen.contains(i) ? heldOut : train).add(rows.get(i));
        }
        return new Splits<>(train, heldOut);
    }
}
