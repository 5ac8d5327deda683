package dev.panacea.examples;

import dev.panacea.io.ByteCount;
import java.time.Duration;
import java.util.Locale;

/** Numbers as a person reads them; always with a decimal point, whatever the machine's language. */
final class Figures {
    private Figures() {}

    static String format(String pattern, Object... values) {
        return String.format(Locale.ROOT, pattern, values);
    }

    /** 4.2 s, 1:05 min, 2:03:00 h. */
    static String duration(Duration d) {
        if (d.toMillis() < 59_950) {
            return format("%.1f s", d.toMillis() / 1000.0);
        }
        return clock(d) + (rounded(d) < 3600 ? " min" : " h");
    }

    /** 0:07, 1:05, 2:03:00. */
    static String clock(Duration d) {
        long s = rounded(d);
        return s < 3600 ? format("%d:%02d", s / 60, s % 60) : format("%d:%02d:%02d", s / 3600, s / 60 % 60, s % 60);
    }

    private static long rounded(Duration d) {
        return Math.max(0, Math.round(d.toMillis() / 1000.0));
    }

    /** 12,345. */
    static String count(long n) {
        return format("%,d", n);
    }

    static String loss(double value) {
        return format("%.3f", value);
    }

    /** Two decimals, or an exponent where that would say nothing. */
    static String perplexity(double value) {
        return value < 1e6 ? format("%,.2f", value) : format("%.2e", value);
    }

    /** 112 MB in memory; 98 MB mapped, 140 kB in memory. */
    static String weights(long bytes, long mapped) {
        return (mapped > 0 ? ByteCount.text(mapped) + " mapped, " : "") + ByteCount.text(bytes - mapped) + " in memory";
    }

    /** A change with its sign. */
    static String change(double value, int decimals) {
        return format("%+." + decimals + "f", value);
    }
}
