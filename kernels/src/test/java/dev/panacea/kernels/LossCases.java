package dev.panacea.kernels;

import java.lang.foreign.MemorySegment;
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
            adamW8bit(cases, n, new AdamWStep(0.5f, 1e-2f, 0.9f, 0.999f, 1e-8f, 0.1f, 1), 1);
            adamW8bit(cases, n, new AdamWStep(1, 0.5f, 0.9f, 0.95f, 0.1f, 0, 1000), 4);
            for (DType x : TYPES) {
                cases.add(new KernelCase("sumOfSquares %s n=%d".formatted(x, n)).in("x", x, n).out("sum", DType.F32, 1)
                        .call((k, b) -> k.upload(MemorySegment.ofArray(KernelCase.content(DType.F32, new double[] {k.sumOfSquares(b.at("x"), n) / Math.max(n, 1)})), b.at("sum"))));
                for (DType y : TYPES) {
                    cases.add(new KernelCase("copy %s->%s n=%d".formatted(x, y, n)).sameBits().in("x", x, n).out("y", y, n).call((k, b) -> k.copy(b.at("x"), b.at("y"), n, false)));
                    cases.add(new KernelCase("copy %s->%s n=%d accumulate".formatted(x, y, n)).in("x", x, n).inOut("y", y, n)
                            .call((k, b) -> k.copy(b.at("x"), b.at("y"), n, true)));
                }
            }
        }
        for (int n : new int[] {255, 256, 257, 512, 32768, 33025}) {
            adamW8bit(cases, n, new AdamWStep(1, 1e-3f, 0.9f, 0.999f, 1e-8f, 0.01f, 7), 3);
        }
        return cases;
    }

    static void crossEntropy(List<KernelCase> cases, int rows, int vocab) {
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

    /**
     * Several steps on one state, with all codes to begin with; every bit is defined. Of each ten blocks the gradients of one are zero, of one hardly
     * representable, of one too large to be squared; and some are not numbers.
     */
    private static void adamW8bit(List<KernelCase> cases, int n, AdamWStep step, int steps) {
        KernelCase c = new KernelCase("adamW8bit n=%d steps=%d %s".formatted(n, steps, step)).sameBits();
        double[] gradients = KernelCase.random(c.random(), n, 1);
        for (int i = 0; i < n; i++) {
            double[] odd = {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY, 0, -0.0};
            gradients[i] = i % 97 == 13 ? odd[i / 97 % odd.length] : gradients[i] * switch (i / 256 % 10) {
                case 3 -> 0;
                case 5 -> 1e-44;
                case 7 -> 1e25;
                case 8 -> 1e-19;
                default -> Math.exp(3 * c.random().nextGaussian());
            };
        }
        int blocks = (n + Moments8bit.BLOCK - 1) / Moments8bit.BLOCK;
        byte[] codes = new byte[n];
        byte[] squareCodes = new byte[n];
        for (int i = 0; i < n; i++) {
            codes[i] = (byte) i;
            squareCodes[i] = (byte) (i / 3);
        }
        cases.add(c.inOut("p", DType.F32, n).in("g", DType.F32, gradients).inOutBytes("mCodes", codes).inOutBytes("vCodes", squareCodes)
                .inOut("mAbsmax", DType.F32, c.random().doubles(blocks, 0, 2).toArray()).inOut("vAbsmax", DType.F32, c.random().doubles(blocks, 0, 2).toArray())
                .in("mLevels", DType.F32, doubles(DynamicMap.SIGNED.levels())).in("vLevels", DType.F32, doubles(DynamicMap.UNSIGNED.levels())).call((k, b) -> {
                    Moments8bit moments = new Moments8bit(b.at("mCodes"), b.at("vCodes"), b.at("mAbsmax"), b.at("vAbsmax"), b.at("mLevels"), b.at("vLevels"));
                    for (int t = 0; t < steps; t++) {
                        k.adamW8bit(b.at("p"), b.at("g"), moments, n,
                                new AdamWStep(step.gradScale(), step.learningRate(), step.beta1(), step.beta2(), step.eps(), step.weightDecay(), step.step() + t));
                    }
                }));
    }

    private static double[] doubles(float[] values) {
        double[] wide = new double[values.length];
        for (int i = 0; i < values.length; i++) {
            wide[i] = values[i];
        }
        return wide;
    }
}
