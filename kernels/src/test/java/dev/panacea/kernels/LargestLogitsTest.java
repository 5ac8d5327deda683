package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Comparator;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The largest logits of rows on every backend against a sort, and the sum of their exponentials. */
class LargestLogitsTest {
    /** Logits with many that are equal, both zeros, infinities and NaN. */
    private static float[] logits(int rows, int vocab) {
        SplittableRandom random = new SplittableRandom(rows * 31L + vocab);
        float[] odd = {Float.NaN, -Float.NaN, Float.NEGATIVE_INFINITY, 0f, -0f, Float.MIN_VALUE, -Float.MAX_VALUE};
        float[] values = new float[rows * vocab];
        for (int i = 0; i < values.length; i++) {
            values[i] = i % 11 == 3 ? odd[random.nextInt(odd.length)] : random.nextInt(-vocab, vocab) / 8f;
        }
        if (rows > 1) {
            Arrays.fill(values, vocab, 2 * vocab, Float.NaN);
        }
        return values;
    }

    /** The ids of a row: numbers before NaN, greater ones before lesser, both zeros equal, lower ids first. */
    private static int[] order(float[] logits, int row, int vocab) {
        Comparator<Integer> order = Comparator.<Integer, Boolean>comparing(i -> Float.isNaN(logits[row * vocab + i]))
                .thenComparing(Comparator.<Integer>comparingDouble(i -> Float.isNaN(logits[row * vocab + i]) ? 0 : logits[row * vocab + i] + 0.0).reversed())
                .thenComparing(Comparator.naturalOrder());
        return IntStream.range(0, vocab).boxed().sorted(order).mapToInt(Integer::intValue).toArray();
    }

    private record Results(int[] best, int[] ids, float[] values, float[] sums) {}

    private static Results run(BackendUnderTest backend, float[] values, int rows, int vocab, int k, double temperature) {
        Kernels kernels = backend.variants().getFirst();
        try (DeviceMemory logits = kernels.allocate(4L * values.length); DeviceMemory ids = kernels.allocate(4L * rows * k); DeviceMemory largest = kernels.allocate(4L * rows * k);
                DeviceMemory best = kernels.allocate(4L * rows); DeviceMemory sums = kernels.allocate(4L * rows)) {
            kernels.upload(MemorySegment.ofArray(values), logits.view(DType.F32));
            kernels.topK(logits.view(DType.F32), rows, vocab, k, temperature, ids.view(DType.I32), largest.view(DType.F32), sums.view(DType.F32));
            kernels.argMax(logits.view(DType.F32), rows, vocab, best.view(DType.I32));
            Results results = new Results(new int[rows], new int[rows * k], new float[rows * k], new float[rows]);
            kernels.download(best.view(DType.I32), MemorySegment.ofArray(results.best));
            kernels.download(ids.view(DType.I32), MemorySegment.ofArray(results.ids));
            kernels.download(largest.view(DType.F32), MemorySegment.ofArray(results.values));
            kernels.download(sums.view(DType.F32), MemorySegment.ofArray(results.sums));
            return results;
        }
    }

    @ParameterizedTest
    @CsvSource({"1, 1, 1", "3, 7, 7", "2, 1000, 50", "2, 4096, 1024", "2, 9001, 1024", "1, 49152, 64", "5, 5000, 1"})
    void theLargestOfEveryRowInOrder(int rows, int vocab, int k) {
        float[] values = logits(rows, vocab);
        for (BackendUnderTest backend : BackendUnderTest.all()) {
            Results results = run(backend, values, rows, vocab, k, 1);
            for (int row = 0; row < rows; row++) {
                int[] expected = Arrays.copyOf(order(values, row, vocab), k);
                assertThat(Arrays.copyOfRange(results.ids, row * k, (row + 1) * k)).as(backend + ", row " + row).isEqualTo(expected);
                assertThat(results.best[row]).as(backend + ", row " + row).isEqualTo(expected[0]);
                float[] expectedValues = new float[k];
                for (int i = 0; i < k; i++) {
                    expectedValues[i] = values[row * vocab + expected[i]];
                }
                assertThat(Arrays.copyOfRange(results.values, row * k, (row + 1) * k)).as(backend + ", row " + row).isEqualTo(expectedValues);
            }
        }
    }

    /** Rows as wide as real ones and as flat as can be, one with tokens that are forbidden, at several temperatures. */
    @ParameterizedTest
    @CsvSource({"9001, 4, 0.7", "9001, 0.01, 1", "131072, 3, 1.3", "50, 30, 0.05"})
    void sumsOfExponentialsAreAsExactAsPromised(int vocab, double deviation, double temperature) {
        SplittableRandom random = new SplittableRandom(vocab);
        float[] values = new float[2 * vocab];
        for (int i = 0; i < values.length; i++) {
            values[i] = i > vocab && i % 3 == 0 ? Float.NEGATIVE_INFINITY : (float) (20 + random.nextGaussian() * deviation);
        }
        for (BackendUnderTest backend : BackendUnderTest.all()) {
            Results results = run(backend, values, 2, vocab, 1, temperature);
            for (int row = 0; row < 2; row++) {
                float most = values[row * vocab + results.ids[row]];
                double exact = IntStream.range(row * vocab, (row + 1) * vocab).mapToDouble(i -> Math.exp(((double) values[i] - most) / temperature)).sum();
                assertThat((double) results.sums[row]).as(backend + ", row " + row).isCloseTo(exact, within(Kernels.SUM_ERROR * exact));
            }
        }
    }

    @Test
    void wrongArgumentsAreRefused() {
        for (BackendUnderTest backend : BackendUnderTest.all()) {
            Kernels kernels = backend.variants().getFirst();
            try (DeviceMemory memory = kernels.allocate(4 * 2000)) {
                DeviceBuffer floats = memory.view(DType.F32);
                DeviceBuffer ids = memory.view(DType.I32);
                assertThatThrownBy(() -> kernels.topK(floats, 1, 2000, 1025, 1, ids, floats, floats)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("k is 1025, it must be at most 1024");
                assertThatThrownBy(() -> kernels.topK(floats, 1, 10, 11, 1, ids, floats, floats)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("at most 10");
                assertThatThrownBy(() -> kernels.topK(floats, 1, 10, 1, 0, ids, floats, floats)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("temperature is 0.0");
                assertThatThrownBy(() -> kernels.topK(floats, 2, 1001, 1, 1, ids, floats, floats)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("logits has 2000 elements, 2002 are needed");
                assertThatThrownBy(() -> kernels.argMax(floats, 1, 10, floats)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("ids is F32, I32 is needed");
            }
        }
    }
}
