package dev.panacea.jinja;

import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;

/**
 * What one rendering may spend: steps, memory, depth and, should all of these have been too generous for a machine, time. The first three are counted, so
 * that the same template and data end in the same way everywhere. Belongs to one rendering in one thread.
 */
final class Budget {
    static final int MAX_DEPTH = 1200;
    private static final long STEPS = 4_000_000;
    private static final long BYTES = 24L << 20;
    /** What each character or value of the data adds: a template may walk over all messages for every message, and copy the text so far each time. */
    private static final long STEPS_PER_VALUE = 3000;
    private static final long BYTES_PER_CHARACTER = 256;
    private static final long BYTES_PER_CHARACTER_AND_VALUE = 4;
    private static final long MAX_BYTES = 512L << 20;
    private static final long NANOSECONDS = 1_800_000_000L;
    private static final int STEPS_BETWEEN_LOOKS = 1 << 14;
    private static final ThreadMXBean THREADS = ManagementFactory.getThreadMXBean();

    private final long started = now();
    private long steps = STEPS;
    private long bytes = BYTES;
    private long nextLook = STEPS - STEPS_BETWEEN_LOOKS;
    private int depth;

    /** More for more data. */
    void allowFor(long characters, long values) {
        bytes = Math.min(MAX_BYTES, bytes + characters * (BYTES_PER_CHARACTER + values * BYTES_PER_CHARACTER_AND_VALUE));
        steps += values * STEPS_PER_VALUE + characters;
        nextLook = steps - STEPS_BETWEEN_LOOKS;
    }

    /** Counts one evaluation, one round of a loop, or one element looked at. */
    void step() {
        if (--steps < nextLook) {
            look();
        }
    }

    /** Counts work that is proportional to a number of characters or elements. */
    void work(long amount) {
        steps -= amount >> 3;
        step();
    }

    private void look() {
        if (steps < 0) {
            throw new JinjaException("the template takes too many steps: a chat template loops over the messages, not without end");
        }
        nextLook = steps - STEPS_BETWEEN_LOOKS;
        if (now() - started > NANOSECONDS) {
            throw new JinjaException("the template takes longer than any template should");
        }
    }

    /** Time of this thread, so that a machine under load does not fail what it could do. */
    private static long now() {
        return THREADS.isCurrentThreadCpuTimeSupported() && !Thread.currentThread().isVirtual() ? THREADS.getCurrentThreadCpuTime() : System.nanoTime();
    }

    /** Asks for memory before it is taken. */
    void memory(long amount) {
        bytes -= amount;
        if (bytes < 0 || amount < 0) {
            throw new JinjaException("the template makes more text and lists than a conversation of this size can need");
        }
    }

    /** Memory of a list or map with so many elements. */
    void elements(long n) {
        memory(48 + 16 * n);
        work(n);
    }

    void enter() {
        if (++depth > MAX_DEPTH) {
            throw new JinjaException("the template, or a value in it, is nested more than " + MAX_DEPTH + " deep (does a macro call itself without end?)");
        }
    }

    void leave() {
        depth--;
    }
}
