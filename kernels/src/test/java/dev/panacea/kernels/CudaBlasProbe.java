package dev.panacea.kernels;

import java.util.ArrayList;
import java.util.List;

/**
 * Products of BF16 matrices through {@link CudaKernels}, compared with the reference: a program of its own, since a process loads one cuBLASLt library once.
 * {@link CudaBlasGemmTest} starts it.
 */
final class CudaBlasProbe {
    /** m, n, k of a layer: rows, outputs, inputs. All have matrices that start 64 bytes after an address aligned to 256. */
    static final int[][] SIZES = {{128, 64, 72}, {136, 128, 200}, {128, 72, 8}, {120, 64, 64}, {129, 64, 64}, {128, 70, 64}, {128, 64, 33}};
    /**
     * How many products the sizes make that cuBLASLt should get: of the first three, four of a layer forwards, two backwards and one beside a low-rank term, and the gradient
     * of the weight that has 128 rows; of the others some side is too small, or not a multiple of 8.
     */
    static final int LARGE_AND_ALIGNED = 3 * 7 + 1;

    private static final int RANK = 8;

    private CudaBlasProbe() {}

    /** @param args how many of the sizes to try */
    public static void main(String[] args) {
        List<String> violations = new ArrayList<>();
        try (CudaKernels kernels = CudaKernels.open(0, true)) {
            System.out.println("library=" + kernels.matrixLibrary().orElse("none"));
            for (int[] s : List.of(SIZES).subList(0, Integer.parseInt(args[0]))) {
                for (KernelCase c : cases(s[0], s[1], s[2])) {
                    String violation = c.violation(c.runOnDevice(kernels));
                    if (!violation.isEmpty()) {
                        violations.add(c + ": " + violation);
                    }
                }
            }
        }
        System.out.println("violations=" + violations);
    }

    private static List<KernelCase> cases(int m, int n, int k) {
        List<KernelCase> cases = new ArrayList<>();
        String size = " m=%d n=%d k=%d".formatted(m, n, k);
        for (DType out : new DType[] {DType.F32, DType.BF16}) {
            for (boolean accumulate : new boolean[] {false, true}) {
                cases.add(new KernelCase("linear " + out + accumulate + size).in("w", DType.BF16, (long) n * k).in("x", DType.BF16, (long) m * k).result("y", out, (long) m * n, accumulate)
                        .call((on, b) -> on.linear(new DenseWeight(b.at("w"), n, k), b.at("x"), m, b.at("y"), accumulate)));
            }
        }
        for (boolean accumulate : new boolean[] {false, true}) {
            cases.add(new KernelCase("linearInputGrad " + accumulate + size).in("w", DType.BF16, (long) n * k).in("dy", DType.BF16, (long) m * n)
                    .result("dx", DType.BF16, (long) m * k, accumulate).call((on, b) -> on.linearInputGrad(new DenseWeight(b.at("w"), n, k), b.at("dy"), m, b.at("dx"), accumulate)));
        }
        KernelCase lora = new KernelCase("loraLinear" + size).in("w", DType.BF16, (long) n * k).in("x", DType.BF16, (long) m * k).out("s", DType.F32, (long) m * RANK)
                .in("a", DType.F32, (long) RANK * k).in("b", DType.F32, (long) n * RANK).out("y", DType.BF16, (long) m * n);
        cases.add(lora.call((on, b) -> on.loraLinear(new DenseWeight(b.at("w"), n, k), lora(b), b.at("x"), m, b.at("s"), b.at("y"), false))
                .naive(DType.BF16, (on, b) -> NaiveBf16.loraLinear(new DenseWeight(b.at("w"), n, k), lora(b), b.at("x"), m, b.at("s"), b.at("y"), false)));
        cases.add(new KernelCase("linearWeightGrad" + size).in("dy", DType.BF16, (long) m * n).in("x", DType.BF16, (long) m * k).inOut("dw", DType.F32, (long) n * k)
                .call((on, b) -> on.linearWeightGrad(b.at("dy"), b.at("x"), m, n, k, b.at("dw"))));
        return cases;
    }

    private static Lora lora(KernelCase.Buffers b) {
        return new Lora(b.at("a"), b.at("b"), RANK, 1.5f);
    }
}
