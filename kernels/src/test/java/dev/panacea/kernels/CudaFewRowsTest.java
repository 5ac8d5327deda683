package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;

/**
 * Products of few rows on a GPU, called directly: every format, number of rows, alignment and block size; right within {@link Tolerance}, the same
 * bits on a second call. Every operand is an allocation of its own, so a driver that watches memory sees an access beyond it.
 */
class CudaFewRowsTest {
    private static final float SCALING = 0.5f;
    private static final int[] ROWS = {1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 17, 33, 64};
    private static final int[] RANKS = {0, 1, 3, 8, 33};
    private static final int[] BLOCKS = {32, 64, 128, 4096};
    private static final WeightFormat[] FORMATS = Arrays.stream(WeightFormat.values()).filter(f -> f.ggml().isEmpty()).toArray(WeightFormat[]::new);

    private static CudaKernels kernels;

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

    /** @param rank of the low-rank term; 0 without one. shift: the operands start one element after an aligned address */
    private record Shape(int m, int n, int k, WeightFormat format, int block, int rank, DType in, DType out, boolean accumulate, boolean shift) {
        KernelCase named(String title) {
            KernelCase c = new KernelCase("%s%s%s %s->%s m=%d n=%d k=%d rank=%d%s%s".formatted(title, format, format.isQ4() ? "/" + block : "", in, out, m, n, k, rank, accumulate ? " accumulate" : "",
                    shift ? " shifted" : ""));
            format.add(c, n, k, block);
            return rank == 0 ? c : c.in("s", DType.F32, m * rank).in("factor", DType.F32, KernelCase.random(c.random(), (long) n * rank, 1 / Math.sqrt(rank)));
        }

        KernelCase of(String title, double[] x) {
            KernelCase c = named(title);
            return c.in("x", in, x == null ? KernelCase.random(c.random(), (long) m * k, 1) : x).result("y", out, (long) m * n, accumulate)
                    .call(this::run).naive(in, (k, b) -> naive(b));
        }

        private Weight weight(KernelCase.Buffers b) {
            return format.of(b, n, k, block, 0);
        }

        private void run(Kernels on, KernelCase.Buffers b) {
            if (on instanceof CudaKernels) {
                assertThat(runOnDevice(b)).as("served").isTrue();
                return;
            }
            on.linear(weight(b), b.at("x"), m, b.at("y"), accumulate);
            if (rank > 0) {
                on.linear(new DenseWeight(scaled(b.at("factor")), n, rank), b.at("s"), m, b.at("y"), true);
            }
        }

        private boolean runOnDevice(KernelCase.Buffers b) {
            Optional<CudaGemm.LowRank> low = rank == 0 ? Optional.empty() : Optional.of(new CudaGemm.LowRank(b.at("s"), b.at("factor"), rank, 1, rank, SCALING));
            CudaFewRows fewRows = new CudaFewRows(kernels.context());
            if (!shift) {
                return fewRows.linear(weight(b), b.at("x"), m, b.at("y"), accumulate, low);
            }
            try (Shifted shifted = new Shifted()) {
                Map<String, DeviceBuffer> moved = new java.util.HashMap<>(b.byName());
                moved.replaceAll((name, buffer) -> shifted.copy(buffer));
                boolean served = fewRows.linear(weight(new KernelCase.Buffers(moved)), moved.get("x"), m, moved.get("y"), accumulate, low);
                transfer(moved.get("y"), b.at("y"));
                return served;
            }
        }

        private void naive(KernelCase.Buffers b) {
            NaiveBf16.linear(weight(b), b.at("x"), m, b.at("y"), accumulate);
            if (rank > 0) {
                NaiveBf16.linear(new DenseWeight(scaled(b.at("factor")), n, rank), b.at("s"), m, b.at("y"), true);
            }
        }

        private static DeviceBuffer scaled(DeviceBuffer factor) {
            return HostBuffers.f32(Arrays.stream(HostBuffers.values(factor)).map(v -> v * SCALING).toArray());
        }
    }

    private static void transfer(DeviceBuffer from, DeviceBuffer to) {
        MemorySegment bytes = KernelCase.heap(from.byteSize());
        kernels.download(from, bytes);
        kernels.upload(bytes, to);
    }

    /** Copies of operands that start one element after an aligned address. */
    private static final class Shifted implements AutoCloseable {
        private final List<DeviceMemory> memories = new ArrayList<>();

        DeviceBuffer copy(DeviceBuffer b) {
            memories.add(kernels.allocate(b.byteSize() + b.type().bytes()));
            DeviceBuffer copy = memories.getLast().view(b.type(), b.type().bytes(), b.length());
            transfer(b, copy);
            return copy;
        }

        @Override
        public void close() {
            memories.forEach(DeviceMemory::close);
        }
    }

    // ---- cases -------------------------------------------------------------------------------------------------------

    /** n, k: odd numbers of both, rows that begin within a byte and within a block, whole and half steps of the kernels, several stages and parts of k. */
    private static final int[][] SIZES = {{1, 1}, {17, 31}, {33, 64}, {5, 127}, {35, 192}, {18, 320}, {9, 1088}, {66, 576}, {130, 2112}};

    private static boolean served(WeightFormat format, int m, int k, DType in) {
        return m <= 8 || format.isQ4() && in == DType.BF16 && k % 64 == 0;
    }

    private static List<KernelCase> cases() {
        List<KernelCase> cases = new ArrayList<>();
        int i = 0;
        for (WeightFormat format : FORMATS) {
            for (int m : ROWS) {
                for (int[] size : SIZES) {
                    for (DType in : new DType[] {DType.F32, DType.BF16}) {
                        if (served(format, m, size[1], in)) {
                            boolean shift = m <= 8 && i % 5 == 4;
                            cases.add(new Shape(m, size[0], size[1], format, BLOCKS[i / 2 % BLOCKS.length], RANKS[i / 3 % RANKS.length], in, i % 7 < 4 ? in : i % 2 == 0 ? DType.F32 : DType.BF16,
                                    i % 3 == 0, shift).of("", null));
                            i++;
                        }
                    }
                }
            }
            for (int m : new int[] {1, 3, 8}) {
                for (DType in : new DType[] {DType.F32, DType.BF16}) {
                    cases.add(uneven(new Shape(m, 33, 768, format, 64, 0, in, DType.F32, false, false)));
                }
            }
        }
        // More columns than the blocks that the GPU holds take in one turn; x in several parts; both.
        cases.add(new Shape(1, 6950, 32, WeightFormat.NF4, 32, 3, DType.BF16, DType.BF16, false, false).of("turns ", null));
        cases.add(new Shape(1, 7117, 96, WeightFormat.NF4_NESTED, 64, 8, DType.F32, DType.F32, true, false).of("turns ", null));
        cases.add(new Shape(5, 3490, 192, WeightFormat.FP4_NESTED, 64, 8, DType.BF16, DType.BF16, true, false).of("many columns ", null));
        cases.add(new Shape(3, 3470, 12, WeightFormat.F32, 0, 0, DType.F32, DType.F32, true, false).of("turns ", null));
        cases.add(new Shape(8, 3, 9000, WeightFormat.BF16, 0, 0, DType.F32, DType.F32, false, false).of("parts ", null));
        cases.add(new Shape(1, 5, 17504, WeightFormat.FP4_NESTED, 64, 0, DType.BF16, DType.F32, true, false).of("parts ", null));
        cases.add(new Shape(7, 3462, 4160, WeightFormat.BF16, 0, 0, DType.F32, DType.F32, false, false).of("turns and parts ", null));
        // More rows of a block than a turn has: three turns with fewer units than warps, two with many.
        cases.add(new Shape(1, 28003, 64, WeightFormat.NF4_NESTED, 64, 1, DType.BF16, DType.BF16, true, false).of("rows in turns ", null));
        cases.add(new Shape(2, 1731, 6208, WeightFormat.FP4_NESTED, 32, 0, DType.BF16, DType.F32, false, false).of("rows in turns ", null));
        // Scales of several parts of k, blocks that begin within a row, few and many parts of k.
        for (int m : new int[] {4, 12, 24, 40}) {
            cases.add(new Shape(m, 70, 4672, WeightFormat.NF4_NESTED, 32, 8, DType.BF16, DType.BF16, false, false).of("parts ", null));
            cases.add(new Shape(m, 70, 4672, WeightFormat.FP4, 4096, 0, DType.BF16, DType.F32, true, false).of("parts ", null));
            cases.add(new Shape(m, 3600, 2752, WeightFormat.NF4, 1024, 0, DType.BF16, DType.BF16, false, false).of("stages ", null));
        }
        String wanted = System.getProperty("panacea.cases", "");
        cases.removeIf(c -> !c.toString().contains(wanted));
        return cases;
    }

    /** Values that a scale for all of a row would spoil: huge and tiny ones, runs of zeros, and a row of nothing else. */
    private static KernelCase uneven(Shape s) {
        double[] x = KernelCase.random(new java.util.SplittableRandom(s.hashCode()), (long) s.m() * s.k(), 1);
        for (int i = 0; i < x.length; i++) {
            int column = i % s.k();
            x[i] *= column == 5 ? 3e4 : column % 97 == 96 ? 1e3 : column / 128 == 2 ? 1e-3 : column / 128 == 4 ? 1e-38 : column / 96 == 4 || i / s.k() == 6 ? 0 : 1;
        }
        return s.of("uneven x ", x);
    }

    @TestFactory
    Stream<DynamicTest> products() {
        return cases().stream().map(c -> DynamicTest.dynamicTest(c.toString(), () -> {
            Map<String, byte[]> results = c.runOnDevice(kernels);
            assertThat(c.violation(results)).as(c.toString()).isEmpty();
            c.runOnDevice(kernels).forEach((name, bytes) -> assertThat(bytes).as(c + ": " + name + " on another call").isEqualTo(results.get(name)));
        }));
    }

    @Test
    void leavesToOthersWhatIsFasterWithADenseCopy() {
        try (DeviceMemory memory = kernels.allocate(1 << 20)) {
            DeviceBuffer bytes = memory.view(DType.U8);
            DeviceBuffer x = memory.view(DType.BF16, 0, 65 * 96);
            DeviceBuffer floats = memory.view(DType.F32, 0, 65 * 96);
            Q4Weight codes = new Q4Weight(8, 64, 64, bytes, floats, floats, Optional.empty());
            Q4Weight uneven = new Q4Weight(8, 96, 64, bytes, floats, floats, Optional.empty());
            Q4Weight shifted = new Q4Weight(8, 64, 64, bytes.slice(8, 8 * 32), floats, floats, Optional.empty());
            CudaFewRows fewRows = new CudaFewRows(kernels.context());
            DeviceBuffer y = memory.view(DType.F32, 1 << 19, 65 * 8);
            assertThat(fewRows.linear(codes, x, 65, y, false, Optional.empty())).as("65 rows").isFalse();
            assertThat(fewRows.linear(codes, floats, 9, y, false, Optional.empty())).as("9 rows of F32").isFalse();
            assertThat(fewRows.linear(uneven, x, 9, y, false, Optional.empty())).as("96 columns").isFalse();
            assertThat(fewRows.linear(shifted, x, 9, y, false, Optional.empty())).as("codes at an odd address").isFalse();
            assertThat(fewRows.linear(codes, x.slice(1, 9 * 64), 9, y, false, Optional.empty())).as("x at an odd address").isFalse();
            assertThat(fewRows.linear(new DenseWeight(x, 8, 64), x, 9, y, false, Optional.empty())).as("9 rows and a dense weight").isFalse();
            assertThat(fewRows.linear(new BlockWeight(GgmlType.Q4_0, bytes, 8, 64, 0), x, 9, y, false, Optional.empty())).as("9 rows and ggml's blocks").isFalse();
            MemorySegment after = KernelCase.heap(y.byteSize());
            kernels.download(y, after);
            assertThat(after.mismatch(KernelCase.heap(y.byteSize()))).as("y").isEqualTo(-1);
        }
    }
}
