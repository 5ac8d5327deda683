package dev.panacea.examples;

import dev.panacea.train.MemoryPlan;
import dev.panacea.train.StepReport;
import dev.panacea.train.TrainingListener;

/** Shows the steps of a training run. */
final class TrainingProgress implements TrainingListener {
    /** Lines that a log gets of a long run. */
    private static final int LINES = 60;
    /** Of the narrowest terminal in use: a line that wraps could not be written over. */
    private static final int COLUMNS = 80;
    private static final int BAR = 20;

    private final Console console;
    private volatile int lastStep;

    TrainingProgress(Console console) {
        this.console = console;
    }

    @Override
    public void onPlan(MemoryPlan plan) {
        plan.lines().forEach(console::line);
    }

    @Override
    public void onStep(StepReport step) {
        lastStep = step.step();
        int every = (step.totalSteps() + LINES - 1) / LINES;
        if (console.terminal() || step.step() == 1 || step.step() % every == 0 || step.step() == step.totalSteps()) {
            console.progress(console.terminal() ? bar(step, COLUMNS - 7 - text(step).length()) + text(step) : text(step));
        }
    }

    /** Steps completed so far; safe to ask from another thread. */
    int lastStep() {
        return lastStep;
    }

    static String text(StepReport s) {
        int digits = Integer.toString(s.totalSteps()).length();
        return Figures.format("step %" + digits + "d/%d  loss %.3f  lr %.2e  %.0f tokens/s  %s left", s.step(), s.totalSteps(), s.loss(), s.learningRate(), s.tokensPerSecond(),
                Figures.clock(s.remaining()));
    }

    /** A bar of at most {@code width} steps, if that is enough to say something. */
    private static String bar(StepReport s, int width) {
        int length = Math.min(BAR, width);
        if (length < 5) {
            return "";
        }
        int filled = (int) ((long) length * s.step() / s.totalSteps());
        return "[" + "#".repeat(filled) + ".".repeat(length - filled) + "]  ";
    }
}
