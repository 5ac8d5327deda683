package dev.panacea.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class SplitsAndBatchesTest {
    private static List<Integer> numbers(int n) {
        return IntStream.range(0, n).boxed().toList();
    }

    private static TokenizedExample example(int number) {
        return new TokenizedExample(new int[] {number, 1, 2}, new int[] {TokenizedExample.IGNORED, TokenizedExample.IGNORED, 2});
    }

    @ParameterizedTest
    @CsvSource({"300,0.1,30", "2,0.1,1", "2,0.9,1", "3,0.99,2", "1,0.5,0", "0,0.5,0", "9,0.1,1", "1000,0.0001,1"})
    void splits(int rows, double fraction, int heldOut) {
        Splits<Integer> split = Splits.heldOut(numbers(rows), fraction, 42, any -> true);
        assertThat(split.heldOut()).hasSize(heldOut).isSorted();
        assertThat(split.train()).hasSize(rows - heldOut).isSorted().doesNotContainAnyElementsOf(split.heldOut().isEmpty() ? List.of(-1) : split.heldOut());
        assertThat(Splits.heldOut(numbers(rows), fraction, 42, any -> true)).isEqualTo(split);
    }

    @Test
    void theSeedDecides() {
        assertThat(Splits.heldOut(numbers(300), 0.1, 1, any -> true).heldOut()).isNotEqualTo(Splits.heldOut(numbers(300), 0.1, 2, any -> true).heldOut());
        // A published split must not move with a new version of ours or of Java.
        assertThat(Splits.heldOut(numbers(20), 0.25, 7, any -> true).heldOut()).isEqualTo(List.of(2, 10, 14, 17, 18));
        assertThat(new SplitMix64(1234567).next()).isEqualTo(6457827717110365317L);
    }

    @Test
    void rowsThatCannotBeUsedAreNeverHeldOut() {
        for (int seed = 0; seed < 50; seed++) {
            Splits<Integer> split = Splits.heldOut(numbers(60), 0.1, seed, i -> i < 6);
            assertThat(split.heldOut()).hasSize(1).allMatch(i -> i < 6);
            assertThat(split.train()).hasSize(59);
            assertThat(Splits.heldOut(numbers(60), 0.1, seed, i -> i == 6).heldOut()).isEmpty();
        }
    }

    @ParameterizedTest
    @ValueSource(doubles = {0, 1, -0.1, 1.5, Double.NaN})
    void fractionsThatAreNone(double fraction) {
        assertThatThrownBy(() -> Splits.heldOut(numbers(5), fraction, 1, any -> true)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining(String.valueOf(fraction));
    }

    @ParameterizedTest
    @CsvSource({"10,2,2", "11,2,2", "13,4,3", "1,4,8", "8,4,2", "5,1,1"})
    void everyExampleOncePerEpoch(int n, int batch, int accumulation) {
        Batches batches = new Batches(IntStream.range(0, n).mapToObj(SplitsAndBatchesTest::example).toList(), batch, accumulation, 3);
        for (int epoch = 0; epoch < 3; epoch++) {
            List<Batches.Step> steps = batches.epoch(epoch);
            assertThat(steps).hasSize(batches.stepsPerEpoch());
            List<Integer> seen = new ArrayList<>();
            for (int s = 0; s < steps.size(); s++) {
                List<List<TokenizedExample>> micro = steps.get(s).microBatches();
                assertThat(micro).hasSizeLessThanOrEqualTo(accumulation).isNotEmpty();
                micro.forEach(m -> assertThat(m).hasSizeLessThanOrEqualTo(batch).isNotEmpty());
                int size = micro.stream().mapToInt(List::size).sum();
                if (s < steps.size() - 1) {
                    assertThat(size).isEqualTo(batch * accumulation);
                }
                assertThat(steps.get(s).tokens()).isEqualTo(3 * size);
                assertThat(steps.get(s).targetTokens()).isEqualTo(size);
                micro.forEach(m -> m.forEach(e -> seen.add(e.inputIds()[0])));
            }
            assertThat(seen).hasSize(n).containsExactlyInAnyOrderElementsOf(numbers(n));
        }
    }

    @Test
    void epochsDifferAndRepeat() {
        List<TokenizedExample> examples = IntStream.range(0, 50).mapToObj(SplitsAndBatchesTest::example).toList();
        HashSet<List<Integer>> orders = new HashSet<>();
        for (int seed = 0; seed < 3; seed++) {
            for (int epoch = 0; epoch < 3; epoch++) {
                List<Integer> order = order(new Batches(examples, 4, 2, seed), epoch);
                assertThat(order(new Batches(examples, 1, 1, seed), epoch)).isEqualTo(order);
                orders.add(order);
            }
        }
        assertThat(orders).hasSize(9);
    }

    private static List<Integer> order(Batches batches, int epoch) {
        return batches.epoch(epoch).stream().flatMap(s -> s.microBatches().stream()).flatMap(List::stream).map(e -> e.inputIds()[0]).toList();
    }

    @Test
    void sizesThatAreNone() {
        assertThatThrownBy(() -> new Batches(List.of(), 0, 1, 1)).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> new Batches(List.of(), 1, 0, 1)).isInstanceOf(IllegalArgumentException.class);
        assertThat(new Batches(List.of(), Integer.MAX_VALUE, Integer.MAX_VALUE, 1).epoch(0)).isEmpty();
    }
}
