package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** Products of F32 matrices on a GPU, beside the linear layers of the reference: every tile, whole and partial ones, split sums, unaligned operands. */
class CudaGemmF32Test {
    /** m, n, k: single elements, around the small tile, long sums that are split, narrow results, and enough of the large tiles. */
    private static final int[][] SIZES = {{1, 1, 1}, {2, 3, 4}, {5, 9, 1601}, {64, 64, 64}, {65, 132, 36}, {63, 61, 17}, {17, 16, 1100}, {300, 8, 520}, {16, 300, 520}, {12, 3, 300},
            {1284, 1276, 20}};
    private static final int RANK = 19;

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

    @TestFactory
    Stream<DynamicTest> products() {
        List<KernelCase> cases = new ArrayList<>();
        for (int[] size : SIZES) {
            int i = cases.size();
            for (boolean lowRank : new boolean[] {false, true}) {
                cases.add(nt(size[0], size[1], size[2], lowRank ? DType.BF16 : DType.F32, lowRank == (i % 2 == 0), lowRank, 0));
                cases.add(nn(size[0], size[1], size[2], lowRank ? DType.F32 : DType.BF16, lowRank == (i % 2 == 0), lowRank, 0));
            }
            cases.add(tn(size[0], size[1], size[2], 0));
        }
        cases.add(nt(66, 64, 32, DType.F32, true, true, 1));
        cases.add(nn(66, 64, 32, DType.BF16, true, true, 1));
        cases.add(tn(64, 68, 40, 1));
        return cases.stream().map(c -> DynamicTest.dynamicTest(c.toString(), () -> {
            Map<String, byte[]> results = c.runOnDevice(kernels);
            assertThat(c.violation(results)).as(c.toString()).isEmpty();
            c.runOnDevice(kernels).forEach((name, bytes) -> assertThat(bytes).as(c + ": " + name + " on another call").isEqualTo(results.get(name)));
        }));
    }

    private static KernelCase named(String mode, int m, int n, int k, String detail, int offset) {
        return new KernelCase("%s m=%d n=%d k=%d%s%s".formatted(mode, m, n, k, detail, offset > 0 ? " unaligned" : ""));
    }

    /** Every operand begins {@code offset} elements into its memory. */
    private static DeviceBuffer at(KernelCase.Buffers b, String name, int offset) {
        DeviceBuffer buffer = b.at(name);
        return buffer.slice(offset, buffer.length() - offset);
    }

    private static KernelCase nt(int m, int n, int k, DType type, boolean accumulate, boolean lowRank, int offset) {
        KernelCase c = named("nt", m, n, k, " " + type + (accumulate ? " accumulate" : "") + (lowRank ? " rank " + RANK : ""), offset);
        c.in("a", DType.F32, offset + (long) m * k).in("b", DType.F32, KernelCase.random(c.random(), offset + (long) n * k, 1 / Math.sqrt(k)));
        c.in("s", DType.F32, (long) m * RANK).in("f", DType.F32, (long) n * RANK);
        return c.inOut("c", type, offset + (long) m * n).call((kernels, b) -> {
            if (kernels instanceof CudaKernels cuda) {
                var term = lowRank ? Optional.of(new CudaGemm.LowRank(b.at("s"), b.at("f"), RANK, 1, RANK, 0.5f)) : Optional.<CudaGemm.LowRank>empty();
                new CudaGemmF32(cuda.context()).nt(at(b, "a", offset), at(b, "b", offset), m, n, k, at(b, "c", offset), accumulate, term);
            } else {
                double[] sums = ReferenceProducts.nt(at(b, "a", offset), at(b, "b", offset), m, n, k);
                if (lowRank) {
                    ReferenceProducts.add(sums, 0.5f, ReferenceProducts.nt(b.at("s"), b.at("f"), m, n, RANK));
                }
                Elements.write(at(b, "c", offset), 0, sums, accumulate);
            }
        });
    }

    private static KernelCase nn(int m, int n, int k, DType type, boolean accumulate, boolean lowRank, int offset) {
        KernelCase c = named("nn", m, n, k, " " + type + (accumulate ? " accumulate" : "") + (lowRank ? " rank " + RANK : ""), offset);
        c.in("a", DType.F32, offset + (long) m * k).in("b", DType.F32, KernelCase.random(c.random(), offset + (long) n * k, 1 / Math.sqrt(k)));
        c.in("s", DType.F32, (long) m * RANK).in("f", DType.F32, (long) n * RANK);
        return c.inOut("c", type, offset + (long) m * n).call((kernels, b) -> {
            if (kernels instanceof CudaKernels cuda) {
                var term = lowRank ? Optional.of(new CudaGemm.LowRank(b.at("s"), b.at("f"), 1, n, RANK, 0.5f)) : Optional.<CudaGemm.LowRank>empty();
                new CudaGemmF32(cuda.context()).nn(at(b, "a", offset), at(b, "b", offset), m, n, k, at(b, "c", offset), accumulate, term);
            } else {
                double[] sums = ReferenceProducts.nn(at(b, "a", offset), at(b, "b", offset), m, n, k);
                if (lowRank) {
                    ReferenceProducts.add(sums, 0.5f, ReferenceProducts.nn(b.at("s"), b.at("f"), m, n, RANK));
                }
                Elements.write(at(b, "c", offset), 0, sums, accumulate);
            }
        });
    }

    private static KernelCase tn(int m, int n, int k, int offset) {
        KernelCase c = named("tn", m, n, k, "", offset);
        c.in("a", DType.F32, offset + (long) m * k).in("b", DType.F32, KernelCase.random(c.random(), offset + (long) n * k, 1 / Math.sqrt(k)));
        return c.inOut("c", DType.F32, offset + (long) m * n).call((kernels, b) -> {
            if (kernels instanceof CudaKernels cuda) {
                new CudaGemmF32(cuda.context()).tn(at(b, "a", offset), at(b, "b", offset), m, n, k, at(b, "c", offset));
            } else {
                Elements.write(at(b, "c", offset), 0, ReferenceProducts.tn(at(b, "a", offset), at(b, "b", offset), m, n, k), true);
            }
        });
    }
}
