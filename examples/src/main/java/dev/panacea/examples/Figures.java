package dev.panacea.examples;

import dev.panacea.io.ByteCount;
import dev.panacea.train.SftConfig;
import java.math.BigDecimal;
import java.math.MathContext;
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

    /** 1 step, 2 steps, 1,234 steps. */
    static String count(long n, String one) {
        return count(n) + " " + one + (n == 1 ? "" : "s");
    }

    /** A rate as a person writes it: 0.001, 2.5e-5. */
    static String rate(double value) {
        if (value == 0 || value >= 1e-4) {
            return new BigDecimal(value, new MathContext(4)).stripTrailingZeros().toPlainString();
        }
        return format("%.3e", value).replaceFirst("0*e", "e").replace(".e", "e").replace("e-0", "e-");
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

    /** 4 examples; 4 × 2 examples. */
    static String batch(SftConfig sft) {
        return sft.gradientAccumulationSteps() == 1 ? count(sft.perDeviceTrainBatchSize(), "example")
                : sft.perDeviceTrainBatchSize() + " × " + sft.gradientAccumulationSteps() + " examples";
    }

    /** What quantization did to the loss, as a clause. */
    static String quantizationCost(double change) {
        String size = loss(Math.abs(change));
        return size.equals("0.000") ? "quantization to 4 bits costs nothing here: the loss is the same"
                : change > 0 ? "quantization to 4 bits costs " + size + " in loss" : "quantization to 4 bits costs nothing here: the loss is even " + size
                + " lower";
    }
}
