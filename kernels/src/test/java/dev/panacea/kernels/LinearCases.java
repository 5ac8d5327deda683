package dev.panacea.kernels;

import java.util.ArrayList;
import java.util.List;

/** Products with weights, 4-bit codes, and rows of weights. */
final class LinearCases {
    /**
     * m, n, k: around vector and tile widths, one token, few tokens, rows that share a block of 4-bit codes, odd numbers of elements, and
     * every dimension beyond the block in which the native kernels reduce it.
     */
    private static final int[][] SIZES = {{1, 1, 1}, {1, 2, 3}, {2, 17, 31}, {3, 33, 64}, {4, 130, 576}, {5, 65, 127}, {17, 63, 130}, {33, 192, 576}, {64, 64, 64}, {65, 130, 33},
            {127, 31, 192}, {1, 192, 576}, {2, 576, 192}, {130, 5, 17}, {63, 257, 1030}, {9, 33, 1601}, {9, 1601, 33},
        {530, 17, 33}, {0, 17, 31}, {6, 17, 192}, {7, 18, 320}, {8, 35, 1088}};
    /** For blocks of 32: odd numbers of blocks and of rows, and more than the block of the reduction; for blocks of 256: also where that ends within one. */
    private static final int[][] SIZES_32 = {{1, 2, 32}, {1, 6, 96}, {2, 17, 64}, {3, 33, 544}, {4, 130, 576}, {5, 66, 96}, {17, 63, 160}, {33, 192, 576}, {64, 64, 64},
            {63, 257, 1280}, {9, 34, 1632}, {9, 1602, 32}, {1, 192, 768}, {2, 576, 192}, {530, 18, 32}, {0, 17, 64}, {6, 17, 96},
            {7, 18, 320}, {8, 35, 1056}};
    private static final int[][] SIZES_256 = {{1, 1, 256}, {1, 6, 768}, {2, 17, 512}, {3, 33, 1280}, {4, 130, 256}, {5, 66, 1280}, {17, 63, 1792}, {33, 192, 512},
            {64, 64, 256}, {9, 34, 3328}, {9, 1602, 256}, {2, 576, 768}, {530, 18, 256}, {0, 17, 512}, {6, 17, 256}, {7, 18, 512},
            {8, 35, 1280}};
    private static final int[] RANKS = {1, 3, 8, 16, 33};
    private static final int[] BLOCKS = {64, 64, 32, 64, 128, 4096};
    /** The other sizes of blocks of 4-bit codes, for the operations that are about nothing else. */
    private static final int[] FURTHER_BLOCKS = {256, 512, 1024, 2048};
    private static final DType[][] TYPES = {{DType.F32, DType.F32}, {DType.BF16, DType.BF16}};
    private static final DType[][] MIXED = {{DType.F32, DType.BF16}, {DType.BF16, DType.F32}};

    private LinearCases() {}

    /** The numbers of one case. */
    private record Shape(int m, int n, int k, WeightFormat format, int block, int rank, DType in, DType out, boolean accumulate) {
        /** Of four block weights with even rows, one is in order, one has heads of 2 rows, one a single head, one heads of some rows. */
        int pairDim() {
            int[] candidates = {0, 2, n, n % 6 == 0 ? 6 : 64};
            int dim = candidates[(m + n / 2 + k / 32) % 4];
            return format.ggml().isEmpty() || dim % 2 != 0 || dim > 0 && n % dim != 0 ? 0 : dim;
        }

        KernelCase named(String operation) {
            String detail = format.isQ4() ? "/" + block : pairDim() > 0 ? "/pairs of " + pairDim() : "";
            String text = "%s %s%s %s->%s m=%d n=%d k=%d".formatted(operation, format, detail, in, out, m, n, k);
            KernelCase c = new KernelCase(text + (operation.startsWith("lora") ? " rank=" + rank : "") + (accumulate ? " accumulate" : ""));
            return format.add(c, n, k, block);
        }

        KernelCase loraNamed(String operation) {
            KernelCase c = named(operation);
            c.in("a", DType.F32, KernelCase.random(c.random(), (long) rank * k, 1 / Math.sqrt(k)));
            return c.in("b", DType.F32, KernelCase.random(c.random(), (long) n * rank, 1 / Math.sqrt(n + rank)));
        }

        Weight weight(KernelCase.Buffers b) {
            return format.of(b, n, k, block, pairDim());
        }

        Lora lora(KernelCase.Buffers b) {
            return new Lora(b.at("a"), b.at("b"), rank, 1.5f);
        }
    }

    private static int[][] sizes(WeightFormat format) {
        return switch (format.ggml().map(GgmlType::blockElements).orElse(1)) {
            case 32 -> SIZES_32;
            case 256 -> SIZES_256;
            default -> SIZES;
        };
    }

    private static List<Shape> shapes(DType[][] types) {
        List<Shape> shapes = new ArrayList<>();
        for (WeightFormat format : WeightFormat.values()) {
            for (int[] size : sizes(format)) {
                for (DType[] type : types) {
                    int i = shapes.size();
                    shapes.add(new Shape(size[0], size[1], size[2], format, BLOCKS[i % BLOCKS.length], RANKS[i / 2 % RANKS.length], type[0], type[1], i % 3 == 0));
                }
            }
        }
        return shapes;
    }

    static List<KernelCase> all() {
        List<KernelCase> cases = new ArrayList<>();
        for (Shape s : shapes(TYPES)) {
            cases.add(linear(s));
            cases.add(inputGrad(s));
            cases.add(lora(s));
            cases.add(loraBackward(s));
        }
        for (Shape s : shapes(MIXED)) {
            if (s.m() == 5 || s.m() == 33 || s.k() == 31 || s.k() == 544 || s.k() == 1792) {
                cases.add(linear(s));
                cases.add(inputGrad(s));
            }
        }
        for (int[] size : SIZES) {
            for (DType type : List.of(DType.F32, DType.BF16)) {
                cases.add(weightGrad(size[0], size[1], size[2], type));
            }
        }
        for (WeightFormat format : WeightFormat.values()) {
            for (int m : new int[] {1, 8}) {
                cases.add(unevenLinear(new Shape(m, 33, 768, format, 64, 1, DType.BF16, DType.F32, false)));
            }
        }
        quantization(cases);
        rows(cases);
        return cases;
    }

    private static KernelCase linear(Shape s) {
        return s.named("linear").in("x", s.in(), s.m() * s.k()).result("y", s.out(), s.m() * s.n(), s.accumulate())
                .call((k, b) -> k.linear(s.weight(b), b.at("x"), s.m(), b.at("y"), s.accumulate()))
                .naive(s.in(), (k, b) -> NaiveBf16.linear(s.weight(b), b.at("x"), s.m(), b.at("y"), s.accumulate()));
    }

    /** Few rows of x that a scale for all of their values would spoil: huge and tiny values, runs of zeros, and a row of nothing else. */
    private static KernelCase unevenLinear(Shape s) {
        KernelCase c = s.named("linear, uneven x,");
        double[] x = KernelCase.random(c.random(), (long) s.m() * s.k(), 1);
        for (int i = 0; i < x.length; i++) {
            int column = i % s.k();
            x[i] *= column == 5 ? 3e4 : column % 97 == 96 ? 1e3 : column / 128 == 2 ? 1e-3 : column / 128 == 4 ? 1e-38 : column / 96 == 4 || i / s.k() == 6 ? 0 : 1;
        }
        return c.in("x", s.in(), x).result("y", s.out(), s.m() * s.n(), false)
                .call((k, b) -> k.linear(s.weight(b), b.at("x"), s.m(), b.at("y"), false))
                .naive(s.in(), (k, b) -> NaiveBf16.linear(s.weight(b), b.at("x"), s.m(), b.at("y"), false));
    }

    private static KernelCase inputGrad(Shape s) {
        return s.named("linearInputGrad").in("dy", s.in(), s.m() * s.n()).result("dx", s.out(), s.m() * s.k(), s.accumulate())
                .call((k, b) -> k.linearInputGrad(s.weight(b), b.at("dy"), s.m(), b.at("dx"), s.accumulate()))
                .naive(s.in(), (k, b) -> NaiveBf16.linearInputGrad(s.weight(b), b.at("dy"), s.m(), b.at("dx"), s.accumulate()));
    }

    private static KernelCase lora(Shape s) {
        return s.loraNamed("loraLinear").in("x", s.in(), s.m() * s.k()).out("s", DType.F32, s.m() * s.rank()).result("y", s.out(), s.m() * s.n(), s.accumulate())
                .call((k, b) -> k.loraLinear(s.weight(b), s.lora(b), b.at("x"), s.m(), b.at("s"), b.at("y"), s.accumulate()))
                .naive(s.in(), (k, b) -> NaiveBf16.loraLinear(s.weight(b), s.lora(b), b.at("x"), s.m(), b.at("s"), b.at("y"), s.accumulate()));
    }

    private static KernelCase loraBackward(Shape s) {
        return s.loraNamed("loraLinearBackward").in("x", s.in(), s.m() * s.k()).in("s", DType.F32, s.m() * s.rank()).in("dy", s.in(), s.m() * s.n())
                .inOut("da", DType.F32, s.rank() * s.k()).inOut("db", DType.F32, s.n() * s.rank()).result("dx", s.out(), s.m() * s.k(), s.accumulate())
                .call((k, b) -> k.loraLinearBackward(s.weight(b), s.lora(b), b.at("x"), b.at("s"), b.at("dy"), s.m(), b.at("da"), b.at("db"), b.at("dx"), s.accumulate()))
                .naive(s.in(), (k, b) -> NaiveBf16.loraLinearBackward(s.weight(b), s.lora(b), b.at("x"), b.at("s"), b.at("dy"), s.m(), b.at("da"), b.at("db"), b.at("dx"),
                        s.accumulate()));
    }

    private static KernelCase weightGrad(int m, int n, int k, DType type) {
        return new KernelCase("linearWeightGrad %s m=%d n=%d k=%d".formatted(type, m, n, k)).in("dy", type, m * n).in("x", type, m * k).inOut("dw", DType.F32, n * k)
                .call((kernels, b) -> kernels.linearWeightGrad(b.at("dy"), b.at("x"), m, n, k, b.at("dw")));
    }

    private static void quantization(List<KernelCase> cases) {
        for (QuantType quant : QuantType.values()) {
            for (DType type : List.of(DType.F32, DType.BF16)) {
                for (int n : new int[] {0, 1, 2, 31, 63, 64, 65, 127, 130, 1001, 4096, 4257, 70001}) {
                    cases.add(quantize(quant, BLOCKS[n % BLOCKS.length], type, n));
                }
                for (int block : FURTHER_BLOCKS) {
                    cases.add(quantize(quant, block, type, 4 * block + 4096 + 1));
                }
            }
        }
        for (int block : FURTHER_BLOCKS) {
            for (DType type : List.of(DType.F32, DType.BF16)) {
                cases.add(dequantize(new Shape(1, 7, 613, WeightFormat.NF4_NESTED, block, 1, type, type, false)));
            }
        }
        for (WeightFormat format : WeightFormat.values()) {
            for (int[] size : sizes(format)) {
                for (DType type : List.of(DType.F32, DType.BF16)) {
                    cases.add(dequantize(new Shape(1, size[1], size[2], format, BLOCKS[size[2] % BLOCKS.length], 1, type, type, false)));
                }
            }
        }
    }

    private static KernelCase quantize(QuantType quant, int block, DType type, int n) {
        KernelCase c = new KernelCase("quantize4 %s/%d %s n=%d".formatted(quant, block, type, n)).sameBits();
        double[] values = KernelCase.random(c.random(), n, 0.02);
        for (int i = 0; i < n / 3; i++) {
            values[i] = i % 70 == 0 ? 3e4 : i < 200 ? i % 2 == 0 ? 0.0 : -0.0 : values[i];
        }
        return c.in("x", type, values).out("packed", DType.U8, (n + 1) / 2).out("absmax", DType.F32, Math.ceilDiv(n, block))
                .call((k, b) -> k.quantize4(quant, b.at("x"), n, block, b.at("packed"), b.at("absmax")));
    }

    private static KernelCase dequantize(Shape s) {
        return s.named("dequantize").sameBits().out("y", s.out(), s.n() * s.k()).call((k, b) -> k.dequantize(s.weight(b), b.at("y")));
    }

    private static void rows(List<KernelCase> cases) {
        int[] index = {4, 0, 16, 16, 3, 16, 0};
        for (WeightFormat format : WeightFormat.values()) {
            int elements = format.ggml().map(GgmlType::blockElements).orElse(1);
            for (int cols : elements == 1 ? new int[] {1, 3, 33, 64, 127, 576} : new int[] {elements, 3 * elements, 5 * elements}) {
                for (DType type : List.of(DType.F32, DType.BF16)) {
                    for (int m : new int[] {0, 1, index.length}) {
                        Shape s = new Shape(m, 18, cols, format, BLOCKS[cols % BLOCKS.length], 1, type, type, false);
                        cases.add(s.named("gatherRows").sameBits().ints("index", index).out("y", type, m * cols)
                                .call((k, b) -> k.gatherRows(s.weight(b), b.at("index"), m, b.at("y"))));
                    }
                }
            }
        }
        int[] distinct = {4, 0, 16, 3, 9};
        for (int cols : new int[] {1, 3, 33, 64, 127, 576}) {
            for (DType x : List.of(DType.F32, DType.BF16)) {
                for (DType y : List.of(DType.F32, DType.BF16)) {
                    for (boolean accumulate : new boolean[] {false, true}) {
                        int[] rows = accumulate ? index : distinct;
                        KernelCase c = new KernelCase("scatterRows %s->%s cols=%d%s".formatted(x, y, cols, accumulate ? " accumulate, repeated rows" : ""));
                        cases.add(c.ints("index", rows).in("x", x, rows.length * cols).inOut("y", y, 17 * cols)
                                .call((k, b) -> k.scatterRows(b.at("x"), b.at("index"), rows.length, cols, b.at("y"), accumulate))
                                .naive(y, (k, b) -> NaiveBf16.scatterRows(b.at("x"), rows, cols, b.at("y"), accumulate)));
                    }
                }
            }
        }
    }
}
