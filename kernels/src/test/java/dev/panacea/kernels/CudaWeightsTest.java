package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/** What {@link CudaWeights} and {@link CudaBlockGemv} do beyond the cases of {@link KernelsTest}: wrong indices, any alignment, dense copies, products with ggml's blocks. */
class CudaWeightsTest {
    private static final DType[] TYPES = {DType.BF16, DType.F32};
    /** Rows, and blocks of 256 or groups of 32 elements of a row: no whole tiles, one and several chunks of K. */
    private static final int[][] ROWS_AND_GROUPS = {{17, 1}, {33, 3}, {1, 5}, {64, 9}, {15, 66}, {18, 17}, {49, 2}, {34, 4}};

    private static CudaKernels kernels;
    private static CudaWeights weights;
    private static CudaBlockGemv gemv;
    private final List<DeviceMemory> memories = new ArrayList<>();

    @BeforeAll
    static void open() {
        kernels = CudaUnderTest.openOrSkip(() -> CudaKernels.open(0, false));
        weights = new CudaWeights(kernels.context());
        gemv = new CudaBlockGemv(kernels.context());
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

    /** A buffer that begins {@code offset} bytes after an aligned address and ends with its memory. */
    private DeviceBuffer buffer(DType type, byte[] content, int offset) {
        DeviceMemory memory = kernels.allocate(offset + content.length);
        memories.add(memory);
        DeviceBuffer bytes = memory.view(DType.U8, offset, content.length);
        kernels.upload(MemorySegment.ofArray(content), bytes);
        return DeviceBuffer.ofDevice(type, bytes.address(), content.length / type.bytes());
    }

    private DeviceBuffer buffer(DType type, double... values) {
        return buffer(type, KernelCase.content(type, values), 0);
    }

    private DeviceBuffer ints(int... values) {
        DeviceBuffer b = buffer(DType.I32, new byte[4 * values.length], 0);
        kernels.upload(MemorySegment.ofArray(values), b);
        return b;
    }

    private static byte[] download(DeviceBuffer b) {
        byte[] content = new byte[(int) b.byteSize()];
        kernels.download(b, MemorySegment.ofArray(content));
        return content;
    }

    private static double[] values(DeviceBuffer b) {
        return KernelCase.values(b.type(), download(b));
    }

    /** What the reference makes of a weight. */
    private static byte[] expected(Weight w, DType type) {
        byte[] y = new byte[w.rows() * w.cols() * type.bytes()];
        new ReferenceKernels().dequantize(w, host(type, y));
        return y;
    }

    private static DeviceBuffer host(DType type, byte[] content) {
        return DeviceBuffer.ofHost(type, MemorySegment.ofArray(content));
    }

    // ---- rows ------------------------------------------------------------------------------------------------------------

    @Test
    void leavesOutRowsOfWrongIndicesAndSaysWhich() {
        double[] table = {0, 1, 2, 3, 4, 5};
        List<Weight> formats = List.of(new DenseWeight(buffer(DType.F32, table), 3, 2), new BlockWeight(GgmlType.F32, buffer(DType.U8, KernelCase.content(DType.F32, table), 0), 3, 2, 0),
                new Q4Weight(3, 2, 32, buffer(DType.U8, new byte[] {0x01, 0x23, 0x45}, 0), buffer(DType.F32, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), buffer(DType.F32, 1),
                        Optional.empty()));
        for (Weight w : formats) {
            for (int wrong : new int[] {3, -1, Integer.MIN_VALUE, Integer.MAX_VALUE}) {
                DeviceBuffer y = buffer(DType.F32, 9, 9, 9, 9, 9, 9);
                kernels.gatherRows(w, ints(2, wrong, 0), 3, y);
                assertThatThrownBy(() -> download(y)).isInstanceOf(IllegalArgumentException.class).hasMessage("index[1] is " + wrong + ", it must be within 0 and 2");
                assertThat(values(y)).as(w.toString()).containsExactly(4, 5, 9, 9, 0, 1);
            }
        }
    }

    @Test
    void leavesOutRowsOfBlocks() {
        byte[] data = GgmlContent.random(GgmlType.Q4_0, new SplittableRandom(1), 3, 1056);
        double[] all = KernelCase.values(DType.F32, expected(new BlockWeight(GgmlType.Q4_0, host(DType.U8, data), 3, 1056, 0), DType.F32));
        DeviceBuffer y = buffer(DType.F32, new double[2 * 1056]);
        kernels.gatherRows(new BlockWeight(GgmlType.Q4_0, buffer(DType.U8, data, 0), 3, 1056, 0), ints(7, 2), 2, y);
        assertThatThrownBy(() -> download(y)).isInstanceOf(IllegalArgumentException.class).hasMessage("index[0] is 7, it must be within 0 and 2");
        assertThat(values(y)).startsWith(new double[1056]).endsWith(Arrays.copyOfRange(all, 2 * 1056, 3 * 1056));
    }

    // ---- alignment -------------------------------------------------------------------------------------------------------

    @TestFactory
    Stream<DynamicTest> readsBlocksAtAnyAddress() {
        return Arrays.stream(GgmlType.values()).filter(BlockWeight::supports).map(type -> DynamicTest.dynamicTest(type.name(), () -> {
            int cols = type.blockElements() == 1 ? 61 : 3 * type.blockElements();
            byte[] data = GgmlContent.random(type, new SplittableRandom(2), 14, cols);
            for (int offset : new int[] {1, 2, 6, 15}) {
                DType y = TYPES[offset % 2];
                int pairDim = offset == 6 ? 14 : 0;
                BlockWeight w = new BlockWeight(type, buffer(DType.U8, data, offset), 14, cols, pairDim);
                byte[] expected = expected(new BlockWeight(type, host(DType.U8, data), 14, cols, pairDim), y);
                DeviceBuffer all = buffer(y, new byte[expected.length], offset % 4 * y.bytes());
                kernels.dequantize(w, all);
                assertThat(download(all)).as("offset " + offset).isEqualTo(expected);
                DeviceBuffer last = buffer(y, new byte[cols * y.bytes()], y.bytes());
                kernels.gatherRows(w, ints(13), 1, last);
                assertThat(download(last)).as("last row, offset " + offset).isEqualTo(Arrays.copyOfRange(expected, 13 * cols * y.bytes(), expected.length));
            }
        }));
    }

    @TestFactory
    Stream<DynamicTest> readsCodesAtAnyAddress() {
        return Arrays.stream(TYPES).map(type -> DynamicTest.dynamicTest(type.name(), () -> {
            int rows = 5;
            int cols = 416;
            byte[] x = KernelCase.content(type, KernelCase.random(new SplittableRandom(3), (long) rows * cols, 1));
            byte[] packed = new byte[rows * cols / 2];
            byte[] absmax = new byte[4 * Math.ceilDiv(rows * cols, 64)];
            new ReferenceKernels().quantize4(QuantType.NF4, host(type, x), rows * cols, 64, host(DType.U8, packed), host(DType.F32, absmax));
            byte[] levels = new byte[64];
            MemorySegment.ofArray(levels).copyFrom(MemorySegment.ofArray(QuantType.NF4.levels()));
            byte[] expected = expected(new Q4Weight(rows, cols, 64, host(DType.U8, packed), host(DType.F32, levels), host(DType.F32, absmax), Optional.empty()), type);
            for (int offset : new int[] {0, 1, 2, 3}) {
                DeviceBuffer codes = buffer(DType.U8, new byte[packed.length], offset);
                DeviceBuffer scales = buffer(DType.F32, new byte[absmax.length], 4 * offset);
                kernels.quantize4(QuantType.NF4, buffer(type, x, offset * type.bytes()), rows * cols, 64, codes, scales);
                assertThat(download(codes)).as("codes, offset " + offset).isEqualTo(packed);
                assertThat(download(scales)).as("scales, offset " + offset).isEqualTo(absmax);
                Q4Weight w = new Q4Weight(rows, cols, 64, codes, buffer(DType.F32, levels, 0), scales, Optional.empty());
                DeviceBuffer all = buffer(type, new byte[expected.length], offset / 2 * type.bytes());
                kernels.dequantize(w, all);
                assertThat(download(all)).as("offset " + offset).isEqualTo(expected);
                kernels.gatherRows(w, ints(0, 1, 2, 3, 4), 5, all);
                assertThat(download(all)).as("rows, offset " + offset).isEqualTo(expected);
            }
        }));
    }

    // ---- dense copies ----------------------------------------------------------------------------------------------------

    @Test
    void usesDenseMemoryAsItIsAndConvertsTheRest() {
        DenseWeight f32 = new DenseWeight(buffer(DType.F32, 0.5, 1.00390625, -2, 3, 4, 5), 2, 3);
        assertThat(weights.dense(f32, DType.F32)).isSameAs(f32.data());
        DeviceBuffer bf16 = weights.dense(f32, DType.BF16);
        assertThat(bf16.type()).isEqualTo(DType.BF16);
        assertThat(values(bf16)).containsExactly(0.5, 1, -2, 3, 4, 5);
        assertThat(weights.dense(f32, DType.BF16).address()).as("scratch memory is kept").isEqualTo(bf16.address());
        DenseWeight same = new DenseWeight(buffer(DType.BF16, 1, 2, 3, 4), 2, 2);
        assertThat(weights.dense(same, DType.BF16)).isSameAs(same.data());
        assertThat(values(weights.dense(same, DType.F32))).containsExactly(1, 2, 3, 4);
    }

    @Test
    void usesElementsOfAFileAsTheyAreWhereTheyAreAlignedAndInOrder() {
        byte[] data = KernelCase.content(DType.BF16, new double[] {0, 1, 2, 3, 4, 5, 6, 7});
        for (int offset : new int[] {0, 1, 2}) {
            for (int pairDim : new int[] {0, 4}) {
                BlockWeight w = new BlockWeight(GgmlType.BF16, buffer(DType.U8, data, offset), 4, 2, pairDim);
                DeviceBuffer dense = weights.dense(w, DType.BF16);
                assertThat(dense.address() == w.data().address()).as("offset %d, pairs of %d", offset, pairDim).isEqualTo(offset % 2 == 0 && pairDim == 0);
                assertThat(values(dense)).containsExactly(pairDim == 0 ? new double[] {0, 1, 2, 3, 4, 5, 6, 7} : new double[] {0, 1, 4, 5, 2, 3, 6, 7});
            }
        }
    }

    @Test
    void expandsBlocks() {
        byte[] data = GgmlContent.random(GgmlType.Q5_K, new SplittableRandom(4), 6, 512);
        for (DType type : TYPES) {
            byte[] expected = expected(new BlockWeight(GgmlType.Q5_K, host(DType.U8, data), 6, 512, 6), type);
            assertThat(download(weights.dense(new BlockWeight(GgmlType.Q5_K, buffer(DType.U8, data, 0), 6, 512, 6), type))).isEqualTo(expected);
        }
    }

    // ---- products --------------------------------------------------------------------------------------------------------

    private record Product(GgmlType format, int m, int n, int k, int pairDim, DType x, DType y, boolean accumulate) {
        KernelCase toCase() {
            KernelCase c = new KernelCase("%s/pairs of %d %s->%s m=%d n=%d k=%d%s".formatted(format, pairDim, x, y, m, n, k, accumulate ? " accumulate" : ""));
            c.bytes("w", GgmlContent.random(format, c.random(), n, k)).in("x", x, (long) m * k).result("y", y, (long) m * n, accumulate);
            return c.call((kernels, b) -> run(kernels, b, Optional.empty())).naive(x, (kernels, b) -> NaiveBf16.linear(weight(b), b.at("x"), m, b.at("y"), accumulate));
        }

        BlockWeight weight(KernelCase.Buffers b) {
            return new BlockWeight(format, b.at("w"), n, k, pairDim);
        }

        void run(Kernels kernels, KernelCase.Buffers b, Optional<CudaGemm.LowRank> lowRank) {
            if (kernels instanceof CudaKernels) {
                assertThat(gemv.linear(weight(b), b.at("x"), m, b.at("y"), accumulate, lowRank)).isTrue();
            } else {
                kernels.linear(weight(b), b.at("x"), m, b.at("y"), accumulate);
            }
        }
    }

    private static Stream<GgmlType> blockFormats() {
        return Arrays.stream(GgmlType.values()).filter(t -> BlockWeight.supports(t) && t.blockElements() > 1);
    }

    private static DynamicTest test(KernelCase c) {
        return DynamicTest.dynamicTest(c.toString(), () -> {
            Map<String, byte[]> results = c.runOnDevice(kernels);
            assertThat(c.violation(results)).isEmpty();
            c.runOnDevice(kernels).forEach((name, bytes) -> assertThat(bytes).as(name + " on another call").isEqualTo(results.get(name)));
        });
    }

    @TestFactory
    Stream<DynamicTest> multipliesBlocks() {
        List<KernelCase> cases = new ArrayList<>();
        blockFormats().forEach(format -> {
            for (int m = 1; m <= ROWS_AND_GROUPS.length; m++) {
                for (DType x : TYPES) {
                    int i = cases.size();
                    int n = ROWS_AND_GROUPS[m - 1][0];
                    int groups = ROWS_AND_GROUPS[m - 1][1];
                    int k = format.blockElements() == 32 ? 32 * groups : 256 * Math.min(groups, 9);
                    cases.add(new Product(format, m, n, k, n % 2 == 0 ? n : 0, x, i / 2 % 2 == 0 ? x : TYPES[i % 2], i % 3 == 0).toCase());
                }
            }
        });
        // More tiles than blocks that run at once.
        cases.add(new Product(GgmlType.Q4_0, 2, 3 * 16 * 108 + 5, 32, 0, DType.BF16, DType.BF16, false).toCase());
        cases.add(new Product(GgmlType.Q5_1, 1, 3 * 16 * 108 + 5, 1056, 0, DType.F32, DType.F32, false).toCase());
        return cases.stream().map(CudaWeightsTest::test);
    }

    @TestFactory
    Stream<DynamicTest> addsLowRankTerms() {
        List<KernelCase> cases = new ArrayList<>();
        for (int rank : new int[] {1, 8, 33, 70}) {
            for (boolean rows : new boolean[] {false, true}) {
                Product p = new Product(rank % 2 == 0 ? GgmlType.Q4_1 : GgmlType.Q6_K, rank % 8 + 1, 38, 256, rows ? 38 : 0, DType.F32, DType.F32, rows);
                KernelCase c = p.toCase();
                KernelCase named = new KernelCase(c + " rank=" + rank).bytes("w", GgmlContent.random(p.format(), c.random(), p.n(), p.k())).in("x", p.x(), (long) p.m() * p.k())
                        .result("y", p.y(), (long) p.m() * p.n(), p.accumulate()).in("s", DType.F32, (long) p.m() * rank).in("factor", DType.F32, (long) p.n() * rank);
                cases.add(named.call((k, b) -> {
                    p.run(k, b, Optional.of(new CudaGemm.LowRank(b.at("s"), b.at("factor"), rows ? rank : 1, rows ? 1 : p.n(), rank, 1)));
                    if (!(k instanceof CudaKernels)) {
                        if (rows) {
                            k.linear(new DenseWeight(b.at("factor"), p.n(), rank), b.at("s"), p.m(), b.at("y"), true);
                        } else {
                            k.linearInputGrad(new DenseWeight(b.at("factor"), rank, p.n()), b.at("s"), p.m(), b.at("y"), true);
                        }
                    }
                }));
            }
        }
        return cases.stream().map(CudaWeightsTest::test);
    }

    @Test
    void scalesLowRankTerms() {
        BlockWeight zero = new BlockWeight(GgmlType.Q4_0, buffer(DType.U8, new byte[18 * 2], 0), 2, 32, 0);
        DeviceBuffer y = buffer(DType.BF16, 10, 20);
        var lowRank = new CudaGemm.LowRank(buffer(DType.F32, 1, 2), buffer(DType.F32, 3, 4, 5, 6), 2, 1, 2, 0.5f);
        assertThat(gemv.linear(zero, buffer(DType.BF16, new double[32]), 1, y, true, Optional.of(lowRank))).isTrue();
        assertThat(values(y)).containsExactly(10 + 0.5 * (3 + 2 * 4), 20 + 0.5 * (5 + 2 * 6));
    }

    @Test
    void multipliesWithUnalignedRowsOfX() {
        byte[] data = GgmlContent.random(GgmlType.Q8_0, new SplittableRandom(5), 7, 96);
        BlockWeight w = new BlockWeight(GgmlType.Q8_0, buffer(DType.U8, data, 0), 7, 96, 0);
        for (DType type : TYPES) {
            byte[] x = KernelCase.content(type, KernelCase.random(new SplittableRandom(6), 96, 1));
            DeviceBuffer y = buffer(type, new byte[7 * type.bytes()], type.bytes());
            DeviceBuffer aligned = buffer(type, new byte[7 * type.bytes()], 0);
            assertThat(gemv.linear(w, buffer(type, x, type.bytes()), 1, y, false, Optional.empty())).isTrue();
            assertThat(gemv.linear(w, buffer(type, x, 0), 1, aligned, false, Optional.empty())).isTrue();
            assertThat(download(y)).isEqualTo(download(aligned)).isNotEqualTo(new byte[7 * type.bytes()]);
        }
    }

    @Test
    void leavesToOthersWhatItCannotDo() {
        DeviceBuffer x = buffer(DType.BF16, new double[9 * 32]);
        DeviceBuffer y = buffer(DType.BF16, new double[9]);
        BlockWeight w = new BlockWeight(GgmlType.Q4_0, buffer(DType.U8, new byte[18], 0), 1, 32, 0);
        assertThat(gemv.linear(w, x, 9, y, false, Optional.empty())).as("nine rows").isFalse();
        assertThat(gemv.linear(new BlockWeight(GgmlType.Q4_0, buffer(DType.U8, new byte[18], 8), 1, 32, 0), x, 1, y, false, Optional.empty())).as("unaligned").isFalse();
        assertThat(gemv.linear(new BlockWeight(GgmlType.F16, buffer(DType.U8, new byte[64], 0), 1, 32, 0), x, 1, y, false, Optional.empty())).as("no blocks").isFalse();
    }
}
