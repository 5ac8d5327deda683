package dev.panacea.data;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
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
     * Holds out rows chosen by the seed: the fraction, rounded, but at least one and not all. A single row is kept for training.
     *
     * @param fraction between 0 and 1, both excluded
     */
    public static <T> Splits<T> heldOut(List<T> rows, double fraction, long seed) {
        if (!(fraction > 0 && fraction < 1)) {
            throw new IllegalArgumentException("the fraction to hold out must lie between 0 and 1, not " + fraction);
        }
        int n = rows.size() < 2 ? 0 : (int) Math.clamp(Math.round(rows.size() * fraction), 1, rows.size() - 1);
        List<Integer> order = new ArrayList<>(IntStream.range(0, rows.size()).boxed().toList());
        new SplitMix64(seed).shuffle(order);
        Set<Integer> chosen = new HashSet<>(order.subList(0, n));
        List<T> train = new ArrayList<>();
        List<T> heldOut = new ArrayList<>();
        for (int i = 0; i < rows.size(); i++) {
            (chosen.contains(i) ? heldOut : train).add(rows.get(i));
        }
        return new Splits<>(train, heldOut);
    }
}
