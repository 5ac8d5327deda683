package dev.panacea.kernels;

import java.util.ArrayList;
import java.util.List;

/** Loss, optimizer, sums and copies. */
final class LossCases {
    private static final List<DType> TYPES = List.of(DType.F32, DType.BF16);

    private LossCases() {}

    static List<KernelCase> all() {
        List<KernelCase> cases = new ArrayList<>();
        for (int[] size : new int[][] {{1, 1}, {1, 2}, {3, 17}, {5, 1000}, {33, 4097}, {2, 49157}, {65, 130}, {0, 17}}) {
            crossEntropy(cases, size[0], size[1]);
        }
        for (int n : new int[] {0, 1, 17, 64, 1000, 5003, 70001}) {
            adamW(cases, n, new AdamWStep(0.5f, 1e-2f, 0.9f, 0.999f, 1e-8f, 0.1f, 1));
            adamW(cases, n, new AdamWStep(1, 0.5f, 0.9f, 0.95f, 0.1f, 0, 1000));
            for (DType x : TYPES) {
                cases.add(new KernelCase("sumOfSquares %s n=%d".formatted(x, n)).in("x", x, n).out("sum", DType.F32, 1)
                        .call((k, b) -> Elements.write(b.at("sum"), 0, new double[] {k.sumOfSquares(b.at("x"), n) / Math.max(n, 1)}, false)));
                for (DType y : TYPES) {
                    cases.add(new KernelCase("copy %s->%s n=%d".formatted(x, y, n)).sameBits().in("x", x, n).out("y", y, n).call((k, b) -> k.copy(b.at("x"), b.at("y"), n, false)));
                    cases.add(new KernelCase("copy %s->%s n=%d accumulate".formatted(x, y, n)).in("x", x, n).inOut("y", y, n)
                            .call((k, b) -> k.copy(b.at("x"), b.at("y"), n, true)));
                }
            }
        }
        return cases;
    }

    private static void crossEntropy(List<KernelCase> cases, int rows, int vocab) {
        String size = " rows=%d vocab=%d".formatted(rows, vocab);
        KernelCase plain = new KernelCase("crossEntropy" + size);
        cases.add(targets(plain, rows, vocab).in("logits", DType.F32, logits(plain, rows, vocab)).out("losses", DType.F32, rows)
                .call((k, b) -> k.crossEntropy(b.at("logits"), b.at("targets"), rows, vocab, b.at("losses"))));
        for (DType type : TYPES) {
            KernelCase c = new KernelCase("crossEntropyWithGrad " + type + size);
            cases.add(targets(c, rows, vocab).in("logits", DType.F32, logits(c, rows, vocab)).out("losses", DType.F32, rows).out("gradient", type, rows * vocab)
                    .call((k, b) -> k.crossEntropyWithGrad(b.at("logits"), b.at("targets"), rows, vocab, 2.5f, b.at("losses"), b.at("gradient"))));
        }
        KernelCase inPlace = new KernelCase("crossEntropyWithGrad in place" + size);
        cases.add(targets(inPlace, rows, vocab).inOut("logits", DType.F32, logits(inPlace, rows, vocab)).out("losses", DType.F32, rows)
                .call((k, b) -> k.crossEntropyWithGrad(b.at("logits"), b.at("targets"), rows, vocab, 2.5f, b.at("losses"), b.at("logits"))));
    }

    /** The spread of real logits, and one row whose exponentials overflow. */
    private static double[] logits(KernelCase c, int rows, int vocab) {
        double[] values = KernelCase.random(c.random(), (long) rows * vocab, 4);
        for (int j = 0; rows > 2 && j < vocab; j++) {
            values[vocab + j] = 500 + values[vocab + j];
        }
        return values;
    }

    private static KernelCase targets(KernelCase c, int rows, int vocab) {
        return c.ints("targets", c.random().ints(rows, 0, vocab).toArray());
    }

    private static void adamW(List<KernelCase> cases, int n, AdamWStep step) {
        KernelCase c = new KernelCase("adamW n=%d %s".formatted(n, step));
        double[] squares = c.random().doubles(n, 0.01, 1).toArray();
        cases.add(c.inOut("p", DType.F32, n).in("g", DType.F32, n).inOut("m", DType.F32, n).inOut("v", DType.F32, squares)
                .call((k, b) -> k.adamW(b.at("p"), b.at("g"), b.at("m"), b.at("v"), n, step)));
    }
}
