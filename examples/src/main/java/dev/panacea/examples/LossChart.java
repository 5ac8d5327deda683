package dev.panacea.examples;

import dev.panacea.train.StepReport;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.function.ToDoubleFunction;

/** The course of a training run as inline SVG: loss of every step, the loss smoothed, and the learning rate on an axis of its own. */
final class LossChart {
    private static final int TOP = 14;
    private static final int BOTTOM = 46;
    /** Weight of the new value in the smoothed line. */
    private static final double SMOOTHING = 0.2;

    /** A drawing scales with the page and its letters with it, so a telephone gets one of its own. */
    enum Size {
        WIDE(860, 330, 56, 76, 1200, 8),
        NARROW(360, 270, 46, 62, 400, 4);

        private final int width;
        private final int height;
        private final int left;
        private final int right;
        /** Points beyond which a screen of this width shows no more. */
        private final int mostPoints;
        /** About so many labels of the steps. */
        private final int labels;

        Size(int width, int height, int left, int right, int mostPoints, int labels) {
            this.width = width;
            this.height = height;
            this.left = left;
            this.right = right;
            this.mostPoints = mostPoints;
            this.labels = labels;
        }
    }

    private final List<StepReport> steps;
    private final Size size;
    private final StringBuilder svg = new StringBuilder();
    private final int lastStep;

    private LossChart(List<StepReport> steps, Size size) {
        this.steps = steps;
        this.size = size;
        this.lastStep = Math.max(2, steps.isEmpty() ? 0 : steps.getLast().step());
    }

    /** The SVG element; it takes its colours from CSS classes of the page. */
    static String svg(List<StepReport> steps, Size size) {
        return new LossChart(steps, size).draw();
    }

    private String draw() {
        double[] finite = steps.stream().mapToDouble(StepReport::loss).filter(Double::isFinite).toArray();
        add("<svg class=\"%s\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">%n", size.name().toLowerCase(Locale.ROOT), size.width, size.height,
                inWords(finite));
        if (finite.length == 0) {
            add("<text class=\"tick\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">no steps with a loss</text>%n</svg>%n", size.width / 2, size.height / 2);
            return svg.toString();
        }
        Axis loss = Axis.around(Arrays.stream(finite).min().orElseThrow(), Arrays.stream(finite).max().orElseThrow());
        Axis rate = Axis.around(0, steps.stream().mapToDouble(StepReport::learningRate).max().orElseThrow());
        grid(loss, rate);
        line("rate", rate, StepReport::learningRate);
        line("raw", loss, StepReport::loss);
        smoothed(loss);
        points(loss);
        add("</svg>%n");
        return svg.toString();
    }

    /** For who hears the page instead of seeing it. */
    private static String inWords(double[] losses) {
        return losses.length == 0 ? "Training loss: no step has one" : Figures.format("Training loss by optimizer step, %s at the first, %s at the last, and "
                + "the learning rate",
                Figures.loss(losses[0]), Figures.loss(losses[losses.length - 1]));
    }

    private void grid(Axis loss, Axis rate) {
        for (double v : loss.ticks()) {
            double y = y(loss, v);
            add("<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>%n", size.left, size.width - size.right, y, y);
            add("<text class=\"tick\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>%n", size.left - 8, y + 5, loss.label(v));
        }
        for (double v : rate.ticks()) {
            add("<text class=\"tick\" x=\"%d\" y=\"%.1f\">%s</text>%n", size.width - size.right + 8, y(rate, v) + 5, Figures.rate(v));
        }
        int every = Math.max(1, (int) Axis.niceStep(lastStep / (double) size.labels));
        for (int s = every; s <= lastStep; s += every) {
            add("<text class=\"tick\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%d</text>%n", x(s), size.height - BOTTOM + 19, s);
        }
        add("<text class=\"axis\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">optimizer step</text>%n", (size.left + size.width - size.right) / 2,
                size.height - 6);
    }

    private void line(String name, Axis axis, ToDoubleFunction<StepReport> value) {
        List<double[]> points = new ArrayList<>();
        for (StepReport s : steps) {
            points.add(new double[] {s.step(), value.applyAsDouble(s)});
        }
        path(name, axis, points);
    }

    private void smoothed(Axis axis) {
        List<double[]> points = new ArrayList<>();
        double mean = 0;
        double weight = 0;
        for (StepReport s : steps) {
            if (Double.isFinite(s.loss())) {
                // Divided by the sum of the weights, so that the first values count in full.
                mean = mean * (1 - SMOOTHING) + s.loss() * SMOOTHING;
                weight = weight * (1 - SMOOTHING) + SMOOTHING;
                points.add(new double[] {s.step(), mean / weight});
            }
        }
        path("smooth", axis, points);
    }

    private void path(String name, Axis axis, List<double[]> points) {
        StringBuilder d = new StringBuilder();
        int every = (points.size() + size.mostPoints - 1) / size.mostPoints;
        for (int i = 0; i < points.size(); i++) {
            double[] p = points.get(i);
            if (Double.isFinite(p[1]) && (i % every == 0 || i == points.size() - 1)) {
                d.append(Figures.format("%s%.1f %.1f", d.isEmpty() ? "M" : "L", x(p[0]), y(axis, p[1])));
            }
        }
        add("<path class=\"%s\" d=\"%s\"/>%n", name, d);
    }

    /** Small targets that say their values when pointed at; a run of thousands of steps does without. */
    private void points(Axis axis) {
        if (steps.size() > size.mostPoints / 3) {
            return;
        }
        for (StepReport s : steps) {
            if (Double.isFinite(s.loss())) {
                add("<circle class=\"point\" cx=\"%.1f\" cy=\"%.1f\" r=\"%s\"><title>step %d: loss %.4f, gradient norm %.3f, learning rate "
                        + "%.2e</title></circle>%n", x(s.step()),
                        y(axis, s.loss()), steps.size() > 120 ? "1.5" : "2.5", s.step(), s.loss(), s.gradNorm(), s.learningRate());
            }
        }
    }

    private double x(double step) {
        return size.left + (step - 1) / (lastStep - 1) * (size.width - size.left - size.right);
    }

    private double y(Axis axis, double value) {
        return TOP + (axis.high - value) / (axis.high - axis.low) * (size.height - TOP - BOTTOM);
    }

    private void add(String pattern, Object... values) {
        svg.append(Figures.format(pattern, values));
    }

    /** A range that begins and ends at round numbers. */
    private record Axis(double low, double high, double step) {
        static Axis around(double least, double most) {
            double span = most - least > 1e-12 ? most - least : Math.max(Math.abs(most) * 0.1, 1e-6);
            double step = niceStep(span / 4);
            return new Axis(Math.floor(least / step + 1e-9) * step, Math.ceil((least + span) / step - 1e-9) * step, step);
        }

        /** The smallest of 1, 2, 2.5, 5 times a power of ten that is at least this. */
        static double niceStep(double x) {
            double power = Math.pow(10, Math.floor(Math.log10(Math.max(x, 1e-300))));
            for (double factor : new double[] {1, 2, 2.5, 5}) {
                if (factor * power >= x * (1 - 1e-9)) {
                    return factor * power;
                }
            }
            return 10 * power;
        }

        double[] ticks() {
            int n = (int) Math.round((high - low) / step);
            double[] all = new double[n + 1];
            for (int i = 0; i <= n; i++) {
                all[i] = low + i * step;
            }
            return all;
        }

        String label(double v) {
            int decimals = Math.max(0, Math.min(6, (int) Math.ceil(-Math.log10(step) + (step / Math.pow(10, Math.floor(Math.log10(step))) == 2.5 ? 1 : 0)
                    - 1e-9)));
            return Figures.format("%." + decimals + "f", v);
        }
    }
}
