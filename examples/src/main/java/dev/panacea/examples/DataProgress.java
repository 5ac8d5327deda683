package dev.panacea.examples;

import java.time.Duration;

/** Shows how far the reading or encoding of some data is, where that takes long enough to wait for. */
final class DataProgress {
    /** What ends sooner needs no word of progress; a log gets a line less often than a terminal. */
    private static final long FIRST_NANOS = 500_000_000L;
    private static final long TERMINAL_NANOS = 100_000_000L;
    private static final long LOG_NANOS = 5_000_000_000L;

    private final String what;
    private final Console console;
    private final long start = System.nanoTime();
    private long next = start + FIRST_NANOS;

    /** @param what is being done, such as {@code Encoding the data} */
    DataProgress(String what, Console console) {
        this.what = what;
        this.console = console;
    }

    /**
     * Shows how far it is, if it is time for that.
     *
     * @param rows rows so far
     * @param fraction of the work that is done, from 0 to 1
     */
    void at(long rows, double fraction) {
        long now = System.nanoTime();
        if (now - next >= 0 && fraction < 1) {
            next = now + (console.terminal() ? TERMINAL_NANOS : LOG_NANOS);
            Duration left = Duration.ofNanos((long) ((now - start) * (1 - fraction) / fraction));
            console.progress(Figures.format("%s: %s, %.0f %%", what, Figures.count(rows, "row"), 100 * fraction) + (fraction > 0.01 ? ", " + Figures.clock(left) + " left" : ""));
        }
    }
}
