package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Wrong indices that only the GPU sees: the next download names the index, its value and the limit; what it would have named is left out, all else is
 * written as without it, and the operation after it works.
 */
class CudaIndexTest {
    private static CudaKernels kernels;
    private final List<DeviceMemory> memories = new ArrayList<>();

    @BeforeAll
    static void open() {
        kernels = CudaUnderTest.openOrSkip(() -> CudaKernels.open(0, false));
    }

    @AfterAll
    static void close() {
        if (kernels != null) {
            kernels.close();
        }
    }

    @AfterEach
    void free() {
        memories.forEach(DeviceMemory::close);
    }

    private DeviceBuffer buffer(DType type, byte[] content) {
        DeviceMemory memory = kernels.allocate(content.length);
        memories.add(memory);
        DeviceBuffer b = memory.view(type);
        kernels.upload(MemorySegment.ofArray(content), b);
        return b;
    }

    private DeviceBuffer ints(int... values) {
        byte[] content = new byte[4 * values.length];
        MemorySegment.copy(values, 0, MemorySegment.ofArray(content), Elements.I32, 0, values.length);
        return buffer(DType.I32, content);
    }

    /** The same values for the same number of elements. */
    private DeviceBuffer random(int count) {
        return buffer(DType.F32, KernelCase.content(DType.F32, KernelCase.random(new SplittableRandom(count), count, 1)));
    }

    private static float[] floats(DeviceBuffer b) {
        float[] values = new float[(int) b.length()];
        kernels.download(b, MemorySegment.ofArray(values));
        return values;
    }

    private static float[] rows(float[] all, int from, int to, int cols) {
        return Arrays.copyOfRange(all, from * cols, to * cols);
    }

    private static void assertReported(DeviceBuffer any, String... words) {
        assertThatThrownBy(() -> floats(any)).isInstanceOf(IllegalArgumentException.class).hasMessageContainingAll(words);
    }

    @ParameterizedTest
    @ValueSource(ints = {50, -1, Integer.MAX_VALUE, Integer.MIN_VALUE})
    void aPositionOutsideTheTablesLeavesItsRow(int wrong) {
        int heads = 3;
        int headDim = 16;
        int width = heads * headDim;
        DeviceBuffer cos = random(50 * headDim / 2);
        DeviceBuffer sin = random(50 * headDim / 2);
        DeviceBuffer x = random(3 * width);
        float[] before = floats(x);
        DeviceBuffer expected = random(3 * width);
        kernels.rope(expected, ints(4, 0, 49), cos, sin, 3, heads, headDim, false);

        kernels.rope(x, ints(4, wrong, 49), cos, sin, 3, heads, headDim, false);
        assertReported(x, "positions[1] is " + wrong, "within 0 and 49");
        assertThat(rows(floats(x), 1, 2, width)).isEqualTo(rows(before, 1, 2, width));
        assertThat(rows(floats(x), 0, 1, width)).isEqualTo(rows(floats(expected), 0, 1, width));
        assertThat(rows(floats(x), 2, 3, width)).isEqualTo(rows(floats(expected), 2, 3, width));
    }

    @ParameterizedTest
    @CsvSource({"3, false, 9", "3, true, -1", "40, false, -2147483648", "40, true, 2147483647"})
    void aRowThatIsNotThereIsNotScattered(int m, boolean accumulate, int wrong) {
        int cols = 20;
        int yRows = 9;
        int[] index = new int[m];
        int[] without = new int[m - 1];
        for (int i = 0; i < m; i++) {
            index[i] = i == 1 ? wrong : accumulate ? i % 7 : Math.min(i, yRows - 1);
            without[i == 0 ? 0 : i - 1] = index[i];
        }
        without[0] = index[0];
        DeviceBuffer x = random(m * cols);
        float[] values = floats(x);
        DeviceBuffer others = random((m - 1) * cols);
        float[] kept = new float[(m - 1) * cols];
        System.arraycopy(values, 0, kept, 0, cols);
        System.arraycopy(values, 2 * cols, kept, cols, (m - 2) * cols);
        kernels.upload(MemorySegment.ofArray(kept), others);
        DeviceBuffer expected = random(yRows * cols);
        kernels.scatterRows(others, ints(without), m - 1, cols, expected, accumulate);

        DeviceBuffer y = random(yRows * cols);
        kernels.scatterRows(x, ints(index), m, cols, y, accumulate);
        assertReported(y, "index[1] is " + wrong, "within 0 and 8");
        assertThat(floats(y)).isEqualTo(floats(expected));
    }

    @ParameterizedTest
    @ValueSource(ints = {37, -1, -100})
    void aTargetOutsideTheVocabularyHasNoLossAndNoGradient(int wrong) {
        int vocab = 37;
        DeviceBuffer logits = random(3 * vocab);
        DeviceBuffer expectedLosses = random(3);
        DeviceBuffer expected = random(3 * vocab);
        kernels.crossEntropyWithGrad(logits, ints(0, 0, 36), 3, vocab, 2, expectedLosses, expected);

        DeviceBuffer losses = random(3);
        kernels.crossEntropy(logits, ints(0, wrong, 36), 3, vocab, losses);
        assertReported(losses, "targets[1] is " + wrong, "within 0 and 36");
        assertThat(floats(losses)).containsExactly(floats(expectedLosses)[0], 0, floats(expectedLosses)[2]);
        DeviceBuffer lossesAgain = random(3);
        kernels.crossEntropyWithGrad(logits, ints(0, wrong, 36), 3, vocab, 2, lossesAgain, logits);
        assertReported(losses, "targets[1] is " + wrong, "within 0 and 36");
        assertThat(floats(lossesAgain)).isEqualTo(floats(losses));
        assertThat(rows(floats(logits), 0, 1, vocab)).isEqualTo(rows(floats(expected), 0, 1, vocab));
        assertThat(rows(floats(logits), 1, 2, vocab)).containsOnly(0);
        assertThat(rows(floats(logits), 2, 3, vocab)).isEqualTo(rows(floats(expected), 2, 3, vocab));
    }

    /** Sequences 0 and 2 are right; 1 is too long, begins before the rows, or has fewer keys than queries. */
    @ParameterizedTest
    @CsvSource({"3, 99, 3, 99, 8", "3, 2, 3, 6, 8", "-1, 2, 3, 2, 8", "3, 2, -3, 2, 8", "3, 2, 3, 1, 8", "3, -2, 3, 2, 8", "2147483647, 2147483647, 3, 2147483647, 8"})
    void aSequenceThatIsNotThereIsLeftOut(int firstQuery, int queries, int firstKey, int keys, int limit) {
        AttentionShape shape = new AttentionShape(4, 2, 6, 0.4f);
        int width = 4 * 6;
        int keyWidth = 2 * 6;
        CudaGenericAttention attention = new CudaGenericAttention(kernels.context());
        DeviceBuffer q = random(8 * width);
        DeviceBuffer k = random(8 * keyWidth);
        DeviceBuffer v = random(8 * keyWidth);
        DeviceBuffer right = ints(0, 3, 0, 3, 5, 3, 5, 3);
        DeviceBuffer wrong = ints(0, 3, 0, 3, firstQuery, queries, firstKey, keys, 5, 3, 5, 3);
        List<float[]> results = new ArrayList<>();
        for (DeviceBuffer table : new DeviceBuffer[] {right, wrong}) {
            int count = (int) table.length() / 4;
            DeviceBuffer out = random(8 * width);
            DeviceBuffer lse = random(8 * 4);
            attention.forward(q, k, v, table, count, shape, out, lse);
            if (table == wrong) {
                assertReported(out, "sequence 1", "the " + limit + " rows");
            }
            DeviceBuffer dq = random(8 * width);
            DeviceBuffer dk = random(8 * keyWidth);
            DeviceBuffer dv = random(8 * keyWidth);
            attention.backward(q, k, v, out, lse, q, table, count, shape, dq, dk, dv);
            if (table == wrong) {
                assertReported(out, "sequence 1", "the " + limit + " rows");
            }
            results.addAll(List.of(floats(out), floats(lse), floats(dq), floats(dk), floats(dv)));
        }
        assertThat(rows(results.get(0), 3, 5, width)).as("rows of no sequence").isEqualTo(rows(floats(random(8 * width)), 3, 5, width));
        for (int i = 0; i < 5; i++) {
            assertThat(results.get(i + 5)).isEqualTo(results.get(i));
        }
    }

    @Test
    void ofSeveralWrongOnesOneIsReported() {
        DeviceBuffer y = random(2);
        kernels.scatterRows(random(4), ints(2, 3, 4, 5), 4, 1, y, true);
        assertReported(y, "index[", "within 0 and 1");
        assertThat(floats(y)).isEqualTo(floats(random(2)));
    }
}
