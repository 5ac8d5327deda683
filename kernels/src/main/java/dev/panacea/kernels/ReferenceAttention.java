package dev.panacea.kernels;

import java.util.stream.IntStream;

/** Causal attention of {@link ReferenceKernels}: every score is computed, none kept. */
final class ReferenceAttention {
    private final AttentionShape shape;
    private final int[] sequences;
    private final int queryWidth;
    private final int keyWidth;

    /** @param sequences checked: four numbers per sequence */
    ReferenceAttention(AttentionShape shape, int[] sequences) {
        this.shape = shape;
        this.sequences = sequences;
        this.queryWidth = shape.heads() * shape.headDim();
        this.keyWidth = shape.kvHeads() * shape.headDim();
    }

    void forward(DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer out, DeviceBuffer lse) {
        for (int sequence = 0; sequence < sequences.length; sequence += 4) {
            int firstQuery = sequences[sequence];
            int queries = sequences[sequence + 1];
            int firstKey = sequences[sequence + 2];
            int keys = sequences[sequence + 3];
            double[] query = Elements.read(q, (long) firstQuery * queryWidth, queries * queryWidth);
            double[] key = Elements.read(k, (long) firstKey * keyWidth, keys * keyWidth);
            double[] value = Elements.read(v, (long) firstKey * keyWidth, keys * keyWidth);
            double[] result = new double[query.length];
            double[] logSum = new double[queries * shape.heads()];
            IntStream.range(0, logSum.length).parallel().forEach(i -> {
                int visible = keys - queries + i / shape.heads() + 1;
                logSum[i] = forwardRow(query, key, value, i * shape.headDim(), keyColumn(i % shape.heads()), visible, result);
            });
            Elements.write(out, (long) firstQuery * queryWidth, result, false);
            Elements.write(lse, (long) firstQuery * shape.heads(), logSum, false);
        }
    }

    /** One query of one head; returns the logarithm of the softmax denominator. */
    private double forwardRow(double[] query, double[] key, double[] value, int at, int column, int visible, double[] result) {
        double[] scores = new double[visible];
        double max = Double.NEGATIVE_INFINITY;
        for (int j = 0; j < visible; j++) {
            scores[j] = shape.scale() * dot(query, at, key, j * keyWidth + column);
            max = Math.max(max, scores[j]);
        }
        double sum = 0;
        for (double score : scores) {
            sum += Math.exp(score - max);
        }
        double logSum = max + Math.log(sum);
        for (int j = 0; j < visible; j++) {
            addScaled(result, at, Math.exp(scores[j] - logSum), value, j * keyWidth + column);
        }
        return logSum;
    }

    void backward(DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer out, DeviceBuffer lse, DeviceBuffer dout, DeviceBuffer dq, DeviceBuffer dk, DeviceBuffer dv) {
        for (int sequence = 0; sequence < sequences.length; sequence += 4) {
            int queries = sequences[sequence + 1];
            int keys = sequences[sequence + 3];
            long queryStart = (long) sequences[sequence] * queryWidth;
            long keyStart = (long) sequences[sequence + 2] * keyWidth;
            Gradients g = new Gradients(queries, keys, Elements.read(q, queryStart, queries * queryWidth), Elements.read(k, keyStart, keys * keyWidth),
                    Elements.read(v, keyStart, keys * keyWidth), Elements.read(out, queryStart, queries * queryWidth),
                    Elements.read(lse, (long) sequences[sequence] * shape.heads(), queries * shape.heads()), Elements.read(dout, queryStart, queries * queryWidth),
                    new double[queries * queryWidth], new double[keys * keyWidth], new double[keys * keyWidth]);
            // One task per key/value head: the sums of its query heads and queries are in one fixed order.
            IntStream.range(0, shape.kvHeads()).parallel().forEach(g1 -> backwardGroup(g, g1));
            Elements.write(dq, queryStart, g.dq, false);
            Elements.write(dk, keyStart, g.dk, false);
            Elements.write(dv, keyStart, g.dv, false);
        }
    }

    private record Gradients(int queries, int keys, double[] q, double[] k, double[] v, double[] out, double[] lse, double[] dout, double[] dq, double[] dk, double[] dv) {}

    /** With P = exp(S - lse): dV = P^T dO, dP = dO V^T, dS = P (dP - rowsum(dO O)), dQ = scale dS K, dK = scale dS^T Q. */
    private void backwardGroup(Gradients g, int kvHead) {
        int group = shape.heads() / shape.kvHeads();
        int column = kvHead * shape.headDim();
        for (int head = kvHead * group; head < (kvHead + 1) * group; head++) {
            for (int i = 0; i < g.queries; i++) {
                int at = i * queryWidth + head * shape.headDim();
                double rowSum = dot(g.dout, at, g.out, at);
                for (int j = 0; j <= g.keys - g.queries + i; j++) {
                    int keyAt = j * keyWidth + column;
                    double p = Math.exp(shape.scale() * dot(g.q, at, g.k, keyAt) - g.lse[i * shape.heads() + head]);
                    double ds = shape.scale() * p * (dot(g.dout, at, g.v, keyAt) - rowSum);
                    addScaled(g.dv, keyAt, p, g.dout, at);
                    addScaled(g.dq, at, ds, g.k, keyAt);
                    addScaled(g.dk, keyAt, ds, g.q, at);
                }
            }
        }
    }

    private int keyColumn(int head) {
        return head / (shape.heads() / shape.kvHeads()) * shape.headDim();
    }

    private double dot(double[] a, int atA, double[] b, int atB) {
        double sum = 0;
        for (int d = 0; d < shape.headDim(); d++) {
            sum += a[atA + d] * b[atB + d];
        }
        return sum;
    }

    private void addScaled(double[] sums, int at, double factor, double[] terms, int from) {
        for (int d = 0; d < shape.headDim(); d++) {
            sums[at + d] += factor * terms[from + d];
        }
    }
}
