package dev.panacea.kernels;

import java.util.ArrayList;
import java.util.List;
import java.util.stream.DoubleStream;
import java.util.stream.IntStream;

/** Normalisation, positions, attention, SwiGLU. */
final class LayerCases {
    private static final List<DType> TYPES = List.of(DType.F32, DType.BF16);

    private LayerCases() {}

    static List<KernelCase> all() {
        List<KernelCase> cases = new ArrayList<>();
        for (DType type : TYPES) {
            for (int[] size : new int[][] {{1, 1}, {2, 3}, {3, 17}, {5, 64}, {17, 65}, {33, 127}, {130, 31}, {2, 576}, {65, 576}, {0, 31}}) {
                rmsNorm(cases, type, size[0], size[1]);
            }
            for (int[] size : new int[][] {{1, 1, 2}, {3, 2, 6}, {5, 3, 64}, {17, 9, 64}, {33, 2, 34}, {2, 5, 128}, {130, 1, 30}, {0, 3, 64}}) {
                cases.add(rope(type, size[0], size[1], size[2], false));
                cases.add(rope(type, size[0], size[1], size[2], true));
            }
            for (Heads heads : HEADS) {
                for (Sequences sequences : SEQUENCES) {
                    attention(cases, type, heads, sequences);
                }
            }
            // Enough rows for the gradient to be cut into ranges, enough keys for the most runs, and sequences like those of a batch.
            attention(cases, type, new Heads(12, 1, 16), new Sequences("two ranges", 0, 190, 0, 190));
            attention(cases, type, new Heads(24, 2, 16), new Sequences("ranges of a cached prompt beside a short one", 3, 150, 2, 291, 153, 20, 293, 20));
            attention(cases, type, new Heads(8, 2, 64), new Sequences("decoding farther", 0, 1, 0, 2500));
            attention(cases, type, new Heads(8, 2, 128), new Sequences("decoding three tokens", 0, 3, 0, 300, 3, 2, 300, 129));
            attention(cases, type, new Heads(2, 2, 96), new Sequences("few queries, some of which see one part of the keys", 0, 8, 0, 129, 8, 1, 129, 300));
            for (Heads heads : List.of(new Heads(4, 2, 64), new Heads(3, 3, 96))) {
                forward(cases, type, heads, new Sequences("a text with several continuations", 0, 2, 0, 300, 2, 1, 0, 299, 3, 1, 100, 150));
                forward(cases, type, heads, new Sequences("long continuations of one text", 0, 40, 0, 90, 40, 33, 0, 70));
            }
            attention(cases, type, new Heads(6, 2, 64), new Sequences("batch", 0, 96, 0, 96, 96, 96, 96, 96, 192, 96, 192, 96, 288, 96, 288, 96));
            attention(cases, type, new Heads(7, 1, 256), new Sequences("one and a cached prompt", 0, 9, 0, 9, 9, 4, 9, 50));
            attention(cases, type, new Heads(2, 2, 160), new Sequences("decoding", 0, 1, 0, 131, 1, 1, 131, 65));
            if (type == DType.BF16) {
                tiledAttention(cases);
            }
            for (int n : new int[] {0, 1, 17, 64, 127, 1000, 5003}) {
                swiGlu(cases, type, n);
            }
        }
        return cases;
    }

    // ---- RMSNorm, RoPE, SwiGLU ---------------------------------------------------------------------------------------

    static void rmsNorm(List<KernelCase> cases, DType type, int m, int n) {
        String size = " %s m=%d n=%d".formatted(type, m, n);
        cases.add(new KernelCase("rmsNorm" + size).in("x", type, m * n).in("weight", DType.F32, n).out("y", type, m * n).out("inv", DType.F32, m)
                .call((k, b) -> k.rmsNorm(b.at("x"), b.at("weight"), 1e-5f, m, n, b.at("y"), b.at("inv"))));
        for (boolean accumulate : new boolean[] {false, true}) {
            KernelCase c = new KernelCase("rmsNormBackward" + size + (accumulate ? " accumulate" : ""));
            cases.add(c.in("x", type, m * n).in("weight", DType.F32, n).in("inv", DType.F32, uniform(c, m)).in("dy", type, m * n).result("dx", type, m * n, accumulate)
                    .call((k, b) -> k.rmsNormBackward(b.at("x"), b.at("weight"), b.at("inv"), b.at("dy"), m, n, b.at("dx"), accumulate)));
        }
        KernelCase c = new KernelCase("rmsNormWeightGrad" + size);
        cases.add(c.in("x", type, m * n).in("inv", DType.F32, uniform(c, m)).in("dy", type, m * n).inOut("dweight", DType.F32, n)
                .call((k, b) -> k.rmsNormWeightGrad(b.at("x"), b.at("inv"), b.at("dy"), m, n, b.at("dweight"))));
    }

    private static double[] uniform(KernelCase c, int count) {
        return c.random().doubles(count, 0.5, 1.5).toArray();
    }

    private static KernelCase rope(DType type, int m, int heads, int headDim, boolean inverse) {
        int rows = 50;
        KernelCase c = new KernelCase("rope %s m=%d heads=%d headDim=%d%s".formatted(type, m, heads, headDim, inverse ? " inverse" : ""));
        double[] angles = c.random().doubles((long) rows * headDim / 2, 0, 7).toArray();
        return c.inOut("x", type, m * heads * headDim).ints("positions", c.random().ints(m, 0, rows).toArray())
                .in("cos", DType.F32, DoubleStream.of(angles).map(Math::cos).toArray()).in("sin", DType.F32, DoubleStream.of(angles).map(Math::sin).toArray())
                .call((k, b) -> k.rope(b.at("x"), b.at("positions"), b.at("cos"), b.at("sin"), m, heads, headDim, inverse));
    }

    private static void swiGlu(List<KernelCase> cases, DType type, int n) {
        for (String result : List.of("y", "gate", "up")) {
            KernelCase c = new KernelCase("swiGlu %s n=%d into %s".formatted(type, n, result));
            gateAndUp(c, type, n, result);
            if (result.equals("y")) {
                c.out("y", type, n);
            }
            cases.add(c.call((k, b) -> k.swiGlu(b.at("gate"), b.at("up"), n, b.at(result))));
        }
        KernelCase apart = new KernelCase("swiGluBackward %s n=%d".formatted(type, n));
        gateAndUp(apart, type, n, "");
        cases.add(apart.in("dy", type, n).out("dgate", type, n).out("dup", type, n)
                .call((k, b) -> k.swiGluBackward(b.at("gate"), b.at("up"), b.at("dy"), n, b.at("dgate"), b.at("dup")))
                .naive(type, (k, b) -> NaiveBf16.swiGluBackward(b.at("gate"), b.at("up"), b.at("dy"), b.at("dgate"), b.at("dup"))));
        KernelCase inPlace = new KernelCase("swiGluBackward %s n=%d in place".formatted(type, n));
        gateAndUp(inPlace, type, n, "gate up");
        cases.add(inPlace.in("dy", type, n).call((k, b) -> k.swiGluBackward(b.at("gate"), b.at("up"), b.at("dy"), n, b.at("gate"), b.at("up")))
                .naive(type, (k, b) -> NaiveBf16.swiGluBackward(b.at("gate"), b.at("up"), b.at("dy"), b.at("gate"), b.at("up"))));
    }

    /** Gates of every size, whose exponentials overflow too; {@code written} names those that the call overwrites. */
    private static void gateAndUp(KernelCase c, DType type, int n, String written) {
        double[] gate = KernelCase.random(c.random(), n, 3);
        for (int i = 13; i < n; i += 17) {
            gate[i] = -200 - i;
        }
        for (String name : List.of("gate", "up")) {
            double[] values = name.equals("gate") ? gate : KernelCase.random(c.random(), n, 1);
            if (written.contains(name)) {
                c.inOut(name, type, values);
            } else {
                c.in(name, type, values);
            }
        }
    }

    // ---- attention ---------------------------------------------------------------------------------------------------

    record Heads(int heads, int kvHeads, int headDim) {
        AttentionShape shape() {
            return new AttentionShape(heads, kvHeads, headDim, (float) (1 / Math.sqrt(headDim)));
        }
    }

    private static final List<Heads> HEADS = List.of(new Heads(1, 1, 2), new Heads(3, 3, 16), new Heads(3, 1, 64), new Heads(8, 2, 34), new Heads(9, 3, 64), new Heads(4, 1, 128));

    record Sequences(String name, int... table) {
        int count() {
            return table.length / 4;
        }

        int queryRows() {
            return IntStream.range(0, table.length / 4).map(i -> table[4 * i] + table[4 * i + 1]).max().orElse(0);
        }

        int keyRows() {
            return IntStream.range(0, table.length / 4).map(i -> table[4 * i + 2] + table[4 * i + 3]).max().orElse(0);
        }
    }

    private static final List<Sequences> SEQUENCES = List.of(new Sequences("none"), new Sequences("one token", 0, 1, 0, 1), new Sequences("one", 0, 33, 0, 33),
            new Sequences("long", 0, 130, 0, 130), new Sequences("decoding", 0, 1, 0, 131, 1, 1, 131, 65), new Sequences("decoding far", 0, 1, 0, 700), new Sequences("cached prompt", 0, 17, 0, 80),
            new Sequences("long cached prompt", 2, 70, 1, 330),
            new Sequences("packed, out of order, with an empty one and gaps", 70, 31, 64, 31, 0, 5, 3, 5, 40, 0, 20, 0, 6, 64, 97, 65));

    /** Groups of every size, and sequences that end before, at and after the tiles of the kernels for heads of 64 and 128. */
    private static void tiledAttention(List<KernelCase> cases) {
        Sequences ends = new Sequences("ends of tiles", 129, 63, 129, 63, 0, 65, 0, 65, 65, 64, 65, 64, 192, 1, 192, 1, 193, 0, 193, 70, 193, 0, 193, 0, 193, 5, 263, 130);
        for (int headDim : new int[] {64, 128}) {
            for (int group : new int[] {1, 3, 4, 7, 8}) {
                attention(cases, DType.BF16, new Heads(group, 1, headDim), ends);
            }
            attention(cases, DType.BF16, new Heads(1, 1, headDim), new Sequences("ends of large tiles", 0, 127, 0, 127, 127, 128, 127, 128, 255, 129, 255, 129));
            attention(cases, DType.BF16, new Heads(6, 2, headDim), new Sequences("few queries, many keys", 0, 9, 0, 1100, 9, 2, 1100, 257, 11, 1, 1357, 256));
            attention(cases, DType.BF16, new Heads(2, 2, headDim), hundred());
            attention(cases, DType.BF16, new Heads(4, 4, headDim), many());
        }
    }

    /** A hundred sequences of 0 to 3 tokens. */
    private static Sequences hundred() {
        int[] table = new int[400];
        for (int i = 0, row = 0; i < 100; row += i++ % 4) {
            System.arraycopy(new int[] {row, i % 4, row, i % 4}, 0, table, 4 * i, 4);
        }
        return new Sequences("a hundred tiny ones", table);
    }

    /** Enough rows for the largest tiles on a large GPU. */
    private static Sequences many() {
        int[] table = new int[4 * 44];
        for (int i = 0; i < 44; i++) {
            int row = 32 * i;
            System.arraycopy(new int[] {row, i == 43 ? 150 : 32, row, i == 43 ? 150 : 32}, 0, table, 4 * i, 4);
        }
        return new Sequences("many", table);
    }

    static void attention(List<KernelCase> cases, DType type, Heads h, Sequences s) {
        forward(cases, type, h, s);
        backward(cases, type, h, s);
    }

    private static String size(DType type, Heads h, Sequences s) {
        return " %s %d/%d heads of %d, %s".formatted(type, h.heads(), h.kvHeads(), h.headDim(), s.name());
    }

    static void forward(List<KernelCase> cases, DType type, Heads h, Sequences s) {
        int queryElements = s.queryRows() * h.heads() * h.headDim();
        int keyElements = s.keyRows() * h.kvHeads() * h.headDim();
        cases.add(new KernelCase("attention" + size(type, h, s)).in("q", type, queryElements).in("k", type, keyElements).in("v", type, keyElements).ints("sequences", s.table())
                .inOut("out", type, queryElements).inOut("lse", DType.F32, s.queryRows() * h.heads())
                .call((k, b) -> k.attention(b.at("q"), b.at("k"), b.at("v"), b.at("sequences"), s.count(), h.shape(), b.at("out"), b.at("lse")))
                .naive(type, (k, b) -> NaiveBf16.attention(b, s.table(), h.shape())));
    }

    /** The backward pass takes what the forward pass of the same inputs gave. */
    private static void backward(List<KernelCase> cases, DType type, Heads h, Sequences s) {
        AttentionShape shape = h.shape();
        int count = s.count();
        int queryElements = s.queryRows() * h.heads() * h.headDim();
        int keyElements = s.keyRows() * h.kvHeads() * h.headDim();
        int lseElements = s.queryRows() * h.heads();
        KernelCase backward = new KernelCase("attentionBackward" + size(type, h, s));
        backward.in("q", type, queryElements).in("k", type, keyElements).in("v", type, keyElements).ints("sequences", s.table());
        backward.out("out", type, queryElements).out("lse", DType.F32, lseElements);
        var results = backward.call((k, b) -> k.attention(b.at("q"), b.at("k"), b.at("v"), b.at("sequences"), count, shape, b.at("out"), b.at("lse")))
                .run(new ReferenceKernels(), KernelCase::heap);
        double[] out = KernelCase.values(type, results.get("out"));
        double[] lse = KernelCase.values(DType.F32, results.get("lse"));
        cases.add(backward.in("out", type, out).in("lse", DType.F32, lse).in("dout", type, queryElements)
                .inOut("dq", type, queryElements).inOut("dk", type, keyElements).inOut("dv", type, keyElements)
                .call((k, b) -> k.attentionBackward(b.at("q"), b.at("k"), b.at("v"), b.at("out"), b.at("lse"), b.at("dout"), b.at("sequences"), count, shape, b.at("dq"),
                        b.at("dk"), b.at("dv")))
                .naive(type, (k, b) -> NaiveBf16.attentionBackward(b, s.table(), shape)));
    }
}
