package dev.panacea.benchmarks;

import java.io.PrintStream;
import java.util.List;
import java.util.Locale;

/** The console table of the quick mode; each row is printed as soon as it is there, so the widths are taken from what is known before. */
final class Table {
    private static final String NONE = "-";

    private final PrintStream out;
    private final String format;

    Table(PrintStream out, List<Row> rows) {
        this.out = out;
        int name = rows.stream().mapToInt(r -> r.name().length()).max().orElse(4);
        int shape = rows.stream().mapToInt(r -> r.shape().length()).max().orElse(5);
        this.format = "%-" + name + "s  %-" + shape + "s  %-10s %3s %9s %-8s %6s  %-13s %8s  %-34s %8s%n";
    }

    void header() {
        out.printf(format, "name", "shape", "tier", "thr", "value", "unit", "share", "of ceiling", "to peer", "peer", "peak MB");
    }

    void row(Result r) {
        out.printf(format, r.name(), r.shape(), r.tier(), r.threads(), number(r.value()), r.unit(), r.shareOfCeiling() == null ? NONE : percent(r.shareOfCeiling()),
                r.ceiling().isEmpty() ? NONE : r.ceiling(), r.ratioToPeer() == null ? NONE : String.format(Locale.ROOT, "%.2f x", r.ratioToPeer()),
                r.peer() == null ? NONE : r.peer(), r.peakRssMb() == null ? NONE : number(r.peakRssMb()));
        out.flush();
    }

    /** A row that has no figures. */
    void missing(Row row, String why) {
        out.println(row.name() + "  " + row.shape() + "  " + row.tier().id() + ": " + why);
        out.flush();
    }

    /** Three significant digits or more. */
    static String number(double value) {
        return String.format(Locale.ROOT, value < 10 ? "%.2f" : value < 100 ? "%.1f" : "%.0f", value);
    }

    private static String percent(double share) {
        return String.format(Locale.ROOT, "%.0f %%", 100 * share);
    }
}
