package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.Comparator;
import java.util.SplittableRandom;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The largest logits of rows against a sort in Java. */
class CudaSamplingTest {
    private static CudaKernels kernels;
    private static CudaSampling sampling;

    @BeforeAll
    static void open() {
        kernels = CudaUnderTest.openOrSkip(() -> CudaKernels.open(0, false));
        sampling = new CudaSampling(kernels.context());
    }

    @AfterAll
    static void close() {
        if (kernels != null) {
            kernels.close();
        }
    }

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

    @ParameterizedTest
    @CsvSource({"1, 1, 1", "3, 7, 7", "2, 1000, 50", "2, 4096, 1024", "2, 9001, 1024", "1, 49152, 64", "5, 5000, 1"})
    void theLargestOfEveryRowInOrder(int rows, int vocab, int k) {
        float[] values = logits(rows, vocab);
        try (DeviceMemory logits = kernels.allocate(4L * values.length); DeviceMemory ids = kernels.allocate(4L * rows * k); DeviceMemory largest = kernels.allocate(4L * rows * k);
                DeviceMemory best = kernels.allocate(4L * rows)) {
            kernels.upload(MemorySegment.ofArray(values), logits.view(DType.F32));
            sampling.topK(logits.view(DType.F32), rows, vocab, k, ids.view(DType.I32), largest.view(DType.F32));
            sampling.argMax(logits.view(DType.F32), rows, vocab, best.view(DType.I32));
            int[] actualIds = new int[rows * k];
            float[] actual = new float[rows * k];
            int[] actualBest = new int[rows];
            kernels.download(ids.view(DType.I32), MemorySegment.ofArray(actualIds));
            kernels.download(largest.view(DType.F32), MemorySegment.ofArray(actual));
            kernels.download(best.view(DType.I32), MemorySegment.ofArray(actualBest));
            for (int row = 0; row < rows; row++) {
                int[] expected = Arrays.copyOf(order(values, row, vocab), k);
                assertThat(Arrays.copyOfRange(actualIds, row * k, (row + 1) * k)).as("row " + row).isEqualTo(expected);
                assertThat(actualBest[row]).isEqualTo(expected[0]);
                float[] expectedValues = new float[k];
                for (int i = 0; i < k; i++) {
                    expectedValues[i] = values[row * vocab + expected[i]];
                }
                assertThat(Arrays.copyOfRange(actual, row * k, (row + 1) * k)).isEqualTo(expectedValues);
            }
        }
    }

    @Test
    void wrongSizesAreRefused() {
        try (DeviceMemory memory = kernels.allocate(4 * 2000)) {
            DeviceBuffer floats = memory.view(DType.F32);
            DeviceBuffer ids = memory.view(DType.I32);
            assertThatThrownBy(() -> sampling.topK(floats, 1, 2000, 1025, ids, floats)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("k is 1025, it must be at most 1024");
            assertThatThrownBy(() -> sampling.topK(floats, 1, 10, 11, ids, floats)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("at most 10");
            assertThatThrownBy(() -> sampling.topK(floats, 2, 1001, 1, ids, floats)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("logits has 2000 elements, 2002 are needed");
            assertThatThrownBy(() -> sampling.argMax(floats, 1, 10, floats)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("ids is F32, I32 is needed");
        }
    }
}
