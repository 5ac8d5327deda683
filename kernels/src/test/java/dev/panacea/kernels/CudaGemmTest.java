package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;

import dev.panacea.kernels.CudaGemm.LowRank;
import dev.panacea.kernels.CudaGemm.Mode;
import dev.panacea.kernels.CudaGemm.Plan;
import dev.panacea.kernels.CudaGemm.Tile;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/**
 * Every kernel of gemm_bf16.cu, also those that would not be chosen at a size, against the reference: sizes around those of tiles, both types of
 * results, low-rank terms, parts of k, addresses that are aligned to elements only. With {@code -Dpanacea.cases=text} only the cases whose name
 * contains the text.
 */
class CudaGemmTest {
    /** m, n, k of any kind: some matrices have rows that are not aligned to 16 bytes. */
    private static final int[][] ODD = {{1, 1, 1}, {3, 17, 31}, {17, 3, 130}, {63, 65, 33}, {65, 63, 1}, {127, 129, 70}, {130, 67, 1100}, {1, 257, 65}};
    /** m, n, k where those that rows run along (see {@link #aligned}) are multiples of 8; the others are as odd as may be. */
    private static final int[][] ALIGNED = {{1, 1, 8}, {3, 8, 32}, {63, 17, 64}, {64, 64, 40}, {65, 130, 120}, {127, 257, 72}, {130, 129, 200}, {257, 63, 96},
        {130, 264, 1096}};
    private static final int[][] LONG = {{3, 530, 264}, {530, 65, 40}};
    private static final int[] RANKS = {0, 1, 3, 8, 16, 33, 70};
    private static final DType[] TYPES = {DType.BF16, DType.F32};

    private static CudaKernels kernels;
    private static CudaGemm gemm;

    @BeforeAll
    static void open() {
        kernels = CudaUnderTest.openOrSkip(() -> CudaKernels.open(0, false));
        gemm = new CudaGemm(kernels.context());
    }

    @AfterAll
    static void close() {
        if (kernels != null) {
            kernels.close();
        }
    }

    @TestFactory
    Stream<DynamicTest> products() {
        String filter = System.getProperty("panacea.cases", "");
        return cases().stream().filter(c -> c.toString().contains(filter)).map(c -> DynamicTest.dynamicTest(c.toString(), () -> {
            Map<String, byte[]> results = c.runOnDevice(kernels);
            assertThat(c.violation(results)).as(c.toString()).isEmpty();
            c.runOnDevice(kernels).forEach((name, bytes) -> assertThat(bytes).as(c + ": " + name + " on another call").isEqualTo(results.get(name)));
        }));
    }

    /** @param tile the kernel, or none: as the sizes choose */
    private record Product(Mode mode, Optional<Tile> tile, int m, int n, int k, int partK, DType type, boolean accumulate, int rank, boolean swapped, int shift) {
        KernelCase asCase() {
            String size = "gemm %s %s ->%s m=%d n=%d k=%d".formatted(mode, tile.map(Tile::name).orElse("chosen"), type, m, n, k);
            String lowRank = rank == 0 ? "" : " rank=" + rank + (swapped ? " factor [rank, n]" : " factor [n, rank]");
            KernelCase c = new KernelCase(size + (partK < k ? " parts of " + partK : "") + lowRank + (accumulate ? " accumulate" : "")
                    + (shift > 0 ? " from element " + shift : ""));
            c.in("a", DType.BF16, shift + (long) m * k).in("b", DType.BF16, shift + (long) n * k);
            if (rank > 0) {
                c.in("s", DType.F32, (long) m * rank).in("factor", DType.F32, (long) n * rank);
            }
            return (accumulate ? c.inOut("c", type, shift + (long) m * n) : c.out("c", type, (long) m * n)).call(this::run).naive(DType.BF16, this::naive);
        }

        private DeviceBuffer matrix(KernelCase.Buffers b, String name) {
            DeviceBuffer whole = b.at(name);
            int from = name.equals("c") && !accumulate ? 0 : shift;
            return whole.slice(from, whole.length() - from);
        }

        private void run(Kernels on, KernelCase.Buffers b) {
            if (on instanceof CudaKernels) {
                Optional<LowRank> low = rank == 0 ? Optional.empty()
                        : Optional.of(new LowRank(b.at("s"), b.at("factor"), swapped ? 1 : rank, swapped ? n : 1, rank, 1.5f));
                multiply(matrix(b, "a"), matrix(b, "b"), matrix(b, "c"), low);
            } else {
                product(on, b, matrix(b, "c"), accumulate);
                if (rank > 0) {
                    lowRank(on, NaiveBf16.scaled(b.at("s"), 1.5f, DType.F32), b.at("factor"), matrix(b, "c"), true);
                }
            }
        }

        private void multiply(DeviceBuffer a, DeviceBuffer b, DeviceBuffer c, Optional<LowRank> low) {
            if (tile.isPresent()) {
                gemm.run(new Plan(tile.get(), partK), mode, a, b, m, n, k, c, accumulate, low);
            } else {
                switch (mode) {
                    case NT -> gemm.nt(a, b, m, n, k, c, accumulate, low);
                    case NN -> gemm.nn(a, b, m, n, k, c, accumulate, low);
                    case TN -> gemm.tn(a, b, m, n, k, c);
                }
            }
        }

        /** Every step rounded. */
        private void naive(Kernels reference, KernelCase.Buffers b) {
            DeviceBuffer c = matrix(b, "c");
            if (mode == Mode.TN) {
                product(reference, b, c, true);
                return;
            }
            DeviceBuffer product = NaiveBf16.temporary(c.type(), c.length());
            product(reference, b, product, false);
            reference.copy(product, c, c.length(), accumulate);
            if (rank > 0) {
                DeviceBuffer up = NaiveBf16.temporary(DType.BF16, c.length());
                lowRank(reference, NaiveBf16.bf16(b.at("s")), NaiveBf16.bf16(b.at("factor")), up, false);
                reference.copy(NaiveBf16.scaled(up, 1.5f, DType.BF16), c, c.length(), true);
            }
        }

        private void product(Kernels reference, KernelCase.Buffers b, DeviceBuffer c, boolean add) {
            DeviceBuffer left = matrix(b, "a");
            DeviceBuffer right = matrix(b, "b");
            switch (mode) {
                case NT -> reference.linear(new DenseWeight(right, n, k), left, m, c, add);
                case NN -> reference.linearInputGrad(new DenseWeight(right, k, n), left, m, c, add);
                case TN -> reference.linearWeightGrad(left, right, k, m, n, c);
            }
        }

        private void lowRank(Kernels reference, DeviceBuffer s, DeviceBuffer factor, DeviceBuffer c, boolean add) {
            if (swapped) {
                reference.linearInputGrad(new DenseWeight(factor, rank, n), s, m, c, add);
            } else {
                reference.linear(new DenseWeight(factor, n, rank), s, m, c, add);
            }
        }
    }

    private static List<KernelCase> cases() {
        List<Product> products = new ArrayList<>();
        for (Mode mode : Mode.values()) {
            for (Tile tile : Tile.fitting(kernels.context())) {
                for (int[] size : ALIGNED) {
                    add(products, mode, Optional.of(tile), true, size);
                }
                for (int[] size : ODD) {
                    if (tile == Tile.T64X64 || size[2] > 32) {
                        add(products, mode, Optional.of(tile), false, size);
                    }
                }
            }
            add(products, mode, Optional.of(Tile.T64X64), true, LONG[0]);
            add(products, mode, Optional.of(Tile.T128X128), true, LONG[1]);
            for (int[] size : new int[][] {{65, 33, 130}, {130, 72, 264}, {16, 8, 1100}, {64, 200, 1096}}) {
                add(products, mode, Optional.empty(), products.size() % 2 == 0, size);
            }
        }
        return products.stream().map(Product::asCase).toList();
    }

    private static void add(List<Product> products, Mode mode, Optional<Tile> tile, boolean aligned, int[] size) {
        int i = products.size();
        int m = aligned && mode == Mode.TN ? aligned(size[0]) : size[0];
        int n = aligned && mode != Mode.NT ? aligned(size[1]) : size[1];
        int k = aligned && mode == Mode.TN ? size[2] - 3 : size[2];
        int partK = k > 150 && i % 2 == 0 ? Math.max(128, k / 3 / 128 * 128) : k;
        DType type = mode == Mode.TN ? DType.F32 : TYPES[i % 2];
        int rank = mode == Mode.TN ? 0 : RANKS[i % RANKS.length];
        products.add(new Product(mode, tile, m, n, k, partK, type, mode == Mode.TN || i / 2 % 2 == 0, rank, i / 7 % 2 == 0, aligned ? 0 : i % 9));
    }

    private static int aligned(int size) {
        return Math.ceilDiv(size, 8) * 8;
    }
}
