package dev.panacea.kernels;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.stream.IntStream;

/** Loss, optimizer and sums by row of {@link ReferenceKernels}. */
final class ReferenceLoss {
    private ReferenceLoss() {}

    interface GradientRow {
        void write(int row, double[] gradient);
    }

    /** losses[row] = logsumexp(logits) - logits[target]; every row's (softmax - onehot) * gradScale goes to {@code gradients}. */
    static void crossEntropy(DeviceBuffer logits, int[] targets, int vocab, DeviceBuffer losses, GradientRow gradients, float gradScale) {
        IntStream.range(0, targets.length).parallel().forEach(row -> {
            double[] scores = Elements.read(logits, (long) row * vocab, vocab);
            double max = Double.NEGATIVE_INFINITY;
            for (double score : scores) {
                max = Math.max(max, score);
            }
            double sum = 0;
            for (double score : scores) {
                sum += Math.exp(score - max);
            }
            double logSum = max + Math.log(sum);
            Elements.write(losses, row, new double[] {logSum - scores[targets[row]]}, false);
            for (int j = 0; j < vocab; j++) {
                scores[j] = (Math.exp(scores[j] - logSum) - (j == targets[row] ? 1 : 0)) * gradScale;
            }
            gradients.write(row, scores);
        });
    }

    static void scatterRows(DeviceBuffer x, int[] index, int cols, DeviceBuffer y, boolean accumulate) {
        Map<Integer, double[]> sums = new LinkedHashMap<>();
        for (int i = 0; i < index.length; i++) {
            double[] row = Elements.read(x, (long) i * cols, cols);
            double[] sum = sums.getOrDefault(index[i], row);
            if (accumulate && sum != row) {
                for (int j = 0; j < cols; j++) {
                    row[j] += sum[j];
                }
            }
            sums.put(index[i], row);
        }
        sums.forEach((row, values) -> Elements.write(y, (long) row * cols, values, accumulate));
    }

    static void adamW(DeviceBuffer p, DeviceBuffer g, DeviceBuffer m, DeviceBuffer v, long n, AdamWStep s) {
        double correction1 = 1 - Math.pow(s.beta1(), s.step());
        double correction2 = 1 - Math.pow(s.beta2(), s.step());
        ReferenceElementwise.chunks(n, (from, count) -> {
            double[] parameter = Elements.read(p, from, count);
            double[] gradient = Elements.read(g, from, count);
            double[] mean = Elements.read(m, from, count);
            double[] square = Elements.read(v, from, count);
            for (int i = 0; i < count; i++) {
                double grad = gradient[i] * s.gradScale();
                mean[i] = (float) (s.beta1() * mean[i] + (1.0 - s.beta1()) * grad);
                square[i] = (float) (s.beta2() * square[i] + (1.0 - s.beta2()) * grad * grad);
                parameter[i] *= 1 - (double) s.learningRate() * s.weightDecay();
                parameter[i] -= s.learningRate() * (mean[i] / correction1) / (Math.sqrt(square[i]) / Math.sqrt(correction2) + s.eps());
            }
            Elements.write(p, from, parameter, false);
            Elements.write(m, from, mean, false);
            Elements.write(v, from, square, false);
        });
    }
}
