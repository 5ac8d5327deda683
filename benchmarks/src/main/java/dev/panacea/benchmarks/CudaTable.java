package dev.panacea.benchmarks;

import java.io.PrintStream;
import java.util.List;
import java.util.Locale;

/** The console table of a GPU; each row is printed as soon as it is there. */
final class CudaTable {
    private static final String NONE = "-";

    private final PrintStream out;
    private final String format;

    CudaTable(PrintStream out, List<CudaRow> rows) {
        this.out = out;
        int name = rows.stream().mapToInt(r -> r.name().length()).max().orElse(4);
        int shape = rows.stream().mapToInt(r -> r.shape().length()).max().orElse(5);
        this.format = "%-" + name + "s  %-" + shape + "s  %9s %-8s %7s %8s %8s%n";
    }

    void header() {
        out.printf(format, "name", "shape", "value", "unit", "share", "to peer", "peak MB");
    }

    void row(Result r) {
        out.printf(format, r.name(), r.shape(), Table.number(r.value()), r.unit(), r.shareOfCeiling() == null ? NONE : percent(r.shareOfCeiling()),
                r.ratioToPeer() == null ? NONE : String.format(Locale.ROOT, "%.2f x", r.ratioToPeer()), r.peakDeviceMb() == null ? NONE : Table.number(r.peakDeviceMb()));
        out.flush();
    }

    /** A row that has no figures. */
    void missing(CudaRow row, String why) {
        out.println(row.name() + "  " + row.shape() + ": " + why);
        out.flush();
    }

    private static String percent(double share) {
        return String.format(Locale.ROOT, "%.0f %%", 100 * share);
    }
}
