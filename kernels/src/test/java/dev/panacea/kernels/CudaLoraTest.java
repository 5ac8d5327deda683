package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/**
 * The low-rank products of LoRA on a GPU. With BF16 activations too they must be as exact as F32 allows ({@link Tolerance}): the factors in F32 are not
 * rounded to BF16.
 */
class CudaLoraTest {
    private static final float SCALING = 1.5f;
    /** m, width of x or dy, rank: single elements, around the pieces that a warp takes, split sums, several groups of ranks; odd widths are unaligned. */
    private static final int[][] SIZES = {{1, 1, 1}, {1, 8, 3}, {33, 64, 8}, {3, 129, 5}, {70, 136, 16}, {64, 576, 1}, {97, 72, 17}, {31, 100, 33}, {65, 40, 64}, {130, 33, 40}, {20, 24, 67},
            {9, 2056, 4}, {1100, 24, 8}, {2100, 16, 3}, {5, 17, 130}, {40, 6920, 2}};

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
            for (DType type : List.of(DType.F32, DType.BF16)) {
                cases.addAll(cases(size[0], size[1], size[2], type, 0));
            }
        }
        cases.addAll(cases(34, 72, 8, DType.BF16, 1));
        return cases.stream().map(c -> DynamicTest.dynamicTest(c.toString(), () -> {
            Map<String, byte[]> results = c.runOnDevice(kernels);
            assertThat(c.violation(results)).as(c.toString()).isEmpty();
            c.runOnDevice(kernels).forEach((name, bytes) -> assertThat(bytes).as(c + ": " + name + " on another call").isEqualTo(results.get(name)));
        }));
    }

    /** All four of one size; the activations begin {@code offset} elements into their memory. */
    private static List<KernelCase> cases(int m, int width, int rank, DType type, int offset) {
        return List.of(
                named("down", m, width, rank, type, offset).in("f", DType.F32, (long) rank * width).out("out", DType.F32, (long) m * rank).call((kernels, b) -> {
                    if (kernels instanceof CudaKernels cuda) {
                        new CudaLora(cuda.context()).down(x(b, offset), b.at("f"), m, width, rank, b.at("out"));
                    } else {
                        Elements.write(b.at("out"), 0, ReferenceProducts.nt(x(b, offset), b.at("f"), m, rank, width), false);
                    }
                }),
                named("up", m, width, rank, type, offset).in("f", DType.F32, (long) rank * width).out("out", DType.F32, (long) m * rank).call((kernels, b) -> {
                    if (kernels instanceof CudaKernels cuda) {
                        new CudaLora(cuda.context()).up(x(b, offset), b.at("f"), m, width, rank, b.at("out"));
                    } else {
                        Elements.write(b.at("out"), 0, ReferenceProducts.nn(x(b, offset), b.at("f"), m, rank, width), false);
                    }
                }),
                named("gradA", m, width, rank, type, offset).in("f", DType.F32, (long) m * rank).inOut("out", DType.F32, (long) rank * width).call((kernels, b) -> {
                    if (kernels instanceof CudaKernels cuda) {
                        new CudaLora(cuda.context()).gradA(b.at("f"), x(b, offset), m, width, rank, SCALING, b.at("out"));
                    } else {
                        double[] sums = new double[rank * width];
                        ReferenceProducts.add(sums, SCALING, ReferenceProducts.tn(b.at("f"), x(b, offset), rank, width, m));
                        Elements.write(b.at("out"), 0, sums, true);
                    }
                }),
                named("gradB", m, width, rank, type, offset).in("f", DType.F32, (long) m * rank).inOut("out", DType.F32, (long) rank * width).call((kernels, b) -> {
                    if (kernels instanceof CudaKernels cuda) {
                        new CudaLora(cuda.context()).gradB(x(b, offset), b.at("f"), m, width, rank, SCALING, b.at("out"));
                    } else {
                        double[] sums = new double[rank * width];
                        ReferenceProducts.add(sums, SCALING, ReferenceProducts.tn(x(b, offset), b.at("f"), width, rank, m));
                        Elements.write(b.at("out"), 0, sums, true);
                    }
                }));
    }

    private static KernelCase named(String operation, int m, int width, int rank, DType type, int offset) {
        return new KernelCase("%s %s m=%d width=%d rank=%d%s".formatted(operation, type, m, width, rank, offset > 0 ? " unaligned" : "")).in("x", type, offset + (long) m * width);
    }

    private static DeviceBuffer x(KernelCase.Buffers b, int offset) {
        return b.at("x").slice(offset, b.at("x").length() - offset);
    }
}
