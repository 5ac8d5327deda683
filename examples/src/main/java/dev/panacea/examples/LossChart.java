package dev.panacea.examples;

import dev.panacea.train.StepReport;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.ToDoubleFunction;

/** The course of a training run as inline SVG: loss of every step, the loss smoothed, and the learning rate on an axis of its own. */
final class LossChart {
    private static final int WIDTH = 860;
    private static final int HEIGHT = 320;
    private static final int LEFT = 52;
    private static final int RIGHT = 64;
    private static final int TOP = 16;
    private static final int BOTTOM = 42;
    /** Weight of the new value in the smoothed line. */
    private static final double SMOOTHING = 0.2;
    /** Points beyond which a screen shows no more. */
    private static final int MOST_POINTS = 1200;

    private final List<StepReport> steps;
    private final StringBuilder svg = new StringBuilder();
    private final int lastStep;

    private LossChart(List<StepReport> steps) {
        this.steps = steps;
        this.lastStep = Math.max(2, steps.isEmpty() ? 0 : steps.getLast().step());
    }

    /** The SVG element; it takes its colours from CSS classes of the page. */
    static String svg(List<StepReport> steps) {
        return new LossChart(steps).draw();
    }

    private String draw() {
        add("<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"Training loss and learning rate by step\">%n", WIDTH, HEIGHT);
        double[] finite = steps.stream().mapToDouble(StepReport::loss).filter(Double::isFinite).toArray();
        if (finite.length == 0) {
            add("<text class=\"tick\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">no steps</text>%n</svg>%n", WIDTH / 2, HEIGHT / 2);
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

    private void grid(Axis loss, Axis rate) {
        for (double v : loss.ticks()) {
            double y = y(loss, v);
            add("<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>%n", LEFT, WIDTH - RIGHT, y, y);
            add("<text class=\"tick\" x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>%n", LEFT - 8, y + 4, loss.label(v));
        }
        for (double v : rate.ticks()) {
            add("<text class=\"tick\" x=\"%d\" y=\"%.1f\">%s</text>%n", WIDTH - RIGHT + 8, y(rate, v) + 4, v == 0 ? "0" : Figures.format("%.1e", v).replace("e-0", "e-"));
        }
        int every = Math.max(1, (int) Axis.niceStep(lastStep / 8.0));
        for (int s = every; s <= lastStep; s += every) {
            add("<text class=\"tick\" x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%d</text>%n", x(s), HEIGHT - BOTTOM + 18, s);
        }
        add("<text class=\"axis\" x=\"%d\" y=\"%d\" text-anchor=\"middle\">optimizer step</text>%n", (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6);
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
        int every = (points.size() + MOST_POINTS - 1) / MOST_POINTS;
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
        if (steps.size() > 400) {
            return;
        }
        for (StepReport s : steps) {
            if (Double.isFinite(s.loss())) {
                add("<circle class=\"point\" cx=\"%.1f\" cy=\"%.1f\" r=\"%s\"><title>step %d: loss %.4f, gradient norm %.3f, learning rate %.2e</title></circle>%n", x(s.step()),
                        y(axis, s.loss()), steps.size() > 120 ? "1.5" : "2.5", s.step(), s.loss(), s.gradNorm(), s.learningRate());
            }
        }
    }

    private double x(double step) {
        return LEFT + (step - 1) / (lastStep - 1) * (WIDTH - LEFT - RIGHT);
    }

    private static double y(Axis axis, double value) {
        return TOP + (axis.high - value) / (axis.high - axis.low) * (HEIGHT - TOP - BOTTOM);
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
            int decimals = Math.max(0, Math.min(6, (int) Math.ceil(-Math.log10(step) + (step / Math.pow(10, Math.floor(Math.log10(step))) == 2.5 ? 1 : 0) - 1e-9)));
            return Figures.format("%." + decimals + "f", v);
        }
    }
}
