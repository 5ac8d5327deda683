package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

/** What the cases of {@link LayerCases} do not reach of {@link CudaAttention}: tables that are wrong, and what its kernels do not take. */
class CudaAttentionTest {
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

    /** A buffer that begins some bytes into its memory. */
    private DeviceBuffer buffer(DType type, int offset, byte[] content) {
        DeviceMemory memory = kernels.allocate(offset + content.length);
        memories.add(memory);
        DeviceBuffer b = memory.view(type, offset, content.length / type.bytes());
        kernels.upload(MemorySegment.ofArray(content), b);
        return b;
    }

    /** The same values for the same number of elements. */
    private DeviceBuffer random(DType type, int offset, int count) {
        return buffer(type, offset, KernelCase.content(type, KernelCase.random(new SplittableRandom(count), count, 1)));
    }

    private DeviceBuffer table(int... entries) {
        byte[] content = new byte[4 * entries.length];
        MemorySegment.copy(entries, 0, MemorySegment.ofArray(content), Elements.I32, 0, entries.length);
        return buffer(DType.I32, 0, content);
    }

    private List<double[]> download(DeviceBuffer... buffers) {
        return List.of(buffers).stream().map(b -> {
            byte[] content = new byte[(int) b.byteSize()];
            kernels.download(b, MemorySegment.ofArray(content));
            return KernelCase.values(b.type(), content);
        }).toList();
    }

    /** Sequences 0 and 2 are right; 1 is too long, begins before the rows, or has fewer keys than queries. 20 rows of few and of many sequences: both forward kernels. */
    @ParameterizedTest
    @CsvSource({"3, 999, 3, 999", "3, 2, 3, 36", "-1, 2, 3, 2", "3, 2, -3, 2", "3, 2, 3, 1", "3, -2, 3, 2", "2147483647, 2147483647, 3, 2147483647"})
    void aSequenceThatIsNotThereIsLeftOut(int firstQuery, int queries, int firstKey, int keys) {
        for (int headDim : new int[] {64, 128}) {
            for (int rows : new int[] {20, 120}) {
                AttentionShape shape = new AttentionShape(4, 2, headDim, 0.1f);
                DeviceBuffer q = random(DType.BF16, 0, rows * 4 * headDim);
                DeviceBuffer k = random(DType.BF16, 0, rows * 2 * headDim);
                DeviceBuffer v = random(DType.BF16, 0, rows * 2 * headDim);
                List<List<double[]>> results = new ArrayList<>();
                for (DeviceBuffer table : new DeviceBuffer[] {table(0, 3, 0, 3, 0, 0, 0, 0, 5, 3, 5, 3), table(0, 3, 0, 3, firstQuery, queries, firstKey, keys + (keys == 36 ? rows : 0), 5, 3, 5, 3)}) {
                    boolean wrong = !results.isEmpty();
                    DeviceBuffer out = random(DType.BF16, 0, rows * 4 * headDim);
                    DeviceBuffer lse = random(DType.F32, 0, rows * 4);
                    DeviceBuffer dq = random(DType.BF16, 0, rows * 4 * headDim);
                    DeviceBuffer dk = random(DType.BF16, 0, rows * 2 * headDim);
                    DeviceBuffer dv = random(DType.BF16, 0, rows * 2 * headDim);
                    kernels.attention(q, k, v, table, 3, shape, out, lse);
                    if (wrong) {
                        assertReported(out, rows);
                    }
                    kernels.attentionBackward(q, k, v, out, lse, q, table, 3, shape, dq, dk, dv);
                    if (wrong) {
                        assertReported(dq, rows);
                    }
                    results.add(download(out, lse, dq, dk, dv));
                }
                for (int i = 0; i < 5; i++) {
                    assertThat(results.get(1).get(i)).isEqualTo(results.get(0).get(i));
                }
            }
        }
    }

    private void assertReported(DeviceBuffer result, int rows) {
        assertThatThrownBy(() -> download(result)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("sequence 1").hasMessageContaining("the " + rows + " rows");
    }

    /**
     * Keys that are all alike, so many that a rounding error of each tile's factors would add up: every query's lse is the one score and the logarithm of the number of its keys.
     * The score is one whose product with log2(e) lies in the middle between two numbers of single precision.
     */
    @ParameterizedTest
    @ValueSource(ints = {1, 40})
    void manyKeysOfOneScore(int queries) {
        int keys = 8192;
        float score = 90;
        AttentionShape shape = new AttentionShape(1, 1, 64, 1);
        double[] q = new double[queries * 64];
        double[] k = new double[keys * 64];
        for (int i = 0; i < queries; i++) {
            q[64 * i] = 1;
        }
        for (int i = 0; i < keys; i++) {
            k[64 * i] = score;
        }
        DeviceBuffer key = buffer(DType.BF16, 0, KernelCase.content(DType.BF16, k));
        DeviceBuffer out = random(DType.BF16, 0, queries * 64);
        DeviceBuffer lse = random(DType.F32, 0, queries);
        kernels.attention(buffer(DType.BF16, 0, KernelCase.content(DType.BF16, q)), key, key, table(0, queries, 0, keys), 1, shape, out, lse);
        double[] actual = download(lse).getFirst();
        for (int i = 0; i < queries; i++) {
            assertThat(actual[i]).as("query " + i).isCloseTo(score + Math.log(keys - queries + i + 1), within(2e-5));
        }
    }

    /** Buffers that do not begin at a multiple of 16 bytes, and factors that turn the order of the scores, go to the other kernels. */
    @Test
    void whatTheTilesDoNotTakeIsComputedWithoutThem() {
        for (int offset : new int[] {0, 2}) {
            AttentionShape shape = new AttentionShape(4, 2, 64, offset == 0 ? -0.1f : 0.1f);
            DeviceBuffer q = random(DType.BF16, 0, 20 * 256);
            DeviceBuffer k = random(DType.BF16, offset, 20 * 128);
            DeviceBuffer v = random(DType.BF16, 0, 20 * 128);
            DeviceBuffer table = table(0, 20, 0, 20);
            List<List<double[]>> results = new ArrayList<>();
            for (boolean generic : new boolean[] {true, false}) {
                DeviceBuffer out = random(DType.BF16, 0, 20 * 256);
                DeviceBuffer lse = random(DType.F32, 0, 20 * 4);
                DeviceBuffer dq = random(DType.BF16, 0, 20 * 256);
                DeviceBuffer dk = random(DType.BF16, 0, 20 * 128);
                DeviceBuffer dv = random(DType.BF16, 0, 20 * 128);
                if (generic) {
                    CudaGenericAttention attention = new CudaGenericAttention(kernels.context());
                    attention.forward(q, k, v, table, 1, shape, out, lse);
                    attention.backward(q, k, v, out, lse, q, table, 1, shape, dq, dk, dv);
                } else {
                    kernels.attention(q, k, v, table, 1, shape, out, lse);
                    kernels.attentionBackward(q, k, v, out, lse, q, table, 1, shape, dq, dk, dv);
                }
                results.add(download(out, lse, dq, dk, dv));
            }
            for (int i = 0; i < 5; i++) {
                assertThat(results.get(1).get(i)).isEqualTo(results.get(0).get(i));
            }
        }
    }
}
