package dev.panacea.benchmarks;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import dev.panacea.io.AtomicFiles;
import dev.panacea.io.ModelLocator;
import dev.panacea.kernels.CpuKernels;
import dev.panacea.kernels.CpuTier;
import dev.panacea.kernels.PanaceaException;
import java.io.IOException;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;
import java.util.stream.Stream;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** The quick mode: one table of a few minutes. */
@Command(name = "java -jar benchmarks.jar", sortOptions = false, description = {
    "Measures kernels and whole programs, each figure as a share of what the machine can do at that moment (a probe of multiply-adds in registers, or of reading, before and after"
        + " it) and as a ratio to libtorch, measured in between. All figures are medians.",
    "", "Without --quick, --only, --json, --all, --device, --small or --help this jar is JMH with all its options; -h lists those, -l the benchmarks.", ""},
    footer = {"", "Exit codes: 0 done, 1 a row failed, 2 wrong options."})
final class Quick implements Callable<Integer> {
    private static final Pattern GPU = Pattern.compile("cuda(?::(\\d{1,4}))?");
    /** For a kernel's row. */
    private static final Interleaved.Budget BUDGET = new Interleaved.Budget(5, 40, 2.0);

    /** Makes the rows: for one tier, or for the best and the others. */
    interface RowSource {
        List<Row> rows(CpuTier best, List<CpuTier> others);
    }

    private final RowSource source;
    private final Interleaved.Budget budget;
    private final PrintStream out;

    @Option(names = "--quick", description = "all rows but those that take minutes")
    private boolean quick;

    @Option(names = "--only", paramLabel = "PATTERN", description = "rows in whose name, shape or tier this regular expression is found, such as gemv or 'linear-nf4.*avx2$'; rows that"
        + " take minutes only when it finds no others")
    private String only;

    @Option(names = "--all", description = "rows that take minutes too")
    private boolean all;

    @Option(names = "--json", paramLabel = "FILE", description = "write the rows to this file as well")
    private Path json;

    @Option(names = "--tier", paramLabel = "TIER", description = "portable, avx2, avx512 or avx512bf16; default: the best, and a few rows of each other one")
    private String tier;

    @Option(names = "--threads", paramLabel = "N", defaultValue = "0", description = "threads of the kernels and of libtorch; default: one per physical core")
    private int threads;

    @Option(names = "--device", paramLabel = "DEVICE", defaultValue = "cpu", description = "cpu, or cuda or cuda:N: the kernels and programs of a GPU in a table of their own")
    private String device;

    @Option(names = "--small", description = "with --device cuda: shapes of a few kilobytes, each run a few times; whether everything runs, on a simulated driver too, not how fast")
    private boolean small;

    @Option(names = "--model", paramLabel = "FILE", description = "the model of the start-up row; default: SmolLM2-135M, if it is in the cache")
    private Path model;

    @Option(names = "--help", usageHelp = true, description = "this text")
    private boolean help;

    @Spec
    private CommandSpec spec;

    Quick(RowSource source, Interleaved.Budget budget, PrintStream out) {
        this.source = source;
        this.budget = budget;
        this.out = out;
    }

    /** Runs the command line and returns the exit code. */
    static int run(String[] args) {
        return new CommandLine(new Quick(Rows::all, BUDGET, System.out)).setExecutionExceptionHandler((e, line, parsed) -> {
            line.getErr().println("error: " + e.getMessage());
            return 1;
        }).execute(args);
    }

    @Override
    public Integer call() {
        Matcher gpu = GPU.matcher(device);
        if (gpu.matches()) {
            return cuda(gpu.group(1) == null ? 0 : Integer.parseInt(gpu.group(1)));
        }
        if (!device.equals("cpu")) {
            throw usage("--device " + device + ": it is cpu, cuda or cuda:N");
        }
        if (small) {
            throw usage("--small is for --device cuda");
        }
        List<Row> rows = chosen();
        int used = threads();
        Optional<PeerLibrary> library = PeerLibrary.load(used, out::println);
        List<Result> results = new ArrayList<>();
        boolean failed = false;
        out.println("CPU: " + processor() + "; " + used + (used == 1 ? " thread" : " threads") + "; last-level cache " + (Machine.lastLevelCache() >> 20) + " MiB, operands in DRAM go round in "
                + (Machine.rotation() >> 20) + " MiB" + library.map(t -> "; peer " + t.version() + " on as many threads").orElse(""));
        Table table = new Table(out, rows);
        table.header();
        try (Bench bench = new Bench(used, library, model(), budget)) {
            for (Row row : rows) {
                Optional<String> skipped = bench.skipped(row);
                if (skipped.isPresent()) {
                    table.missing(row, "skipped: " + skipped.get());
                    continue;
                }
                try {
                    Result r = bench.measure(row);
                    results.add(r);
                    table.row(r);
                } catch (RuntimeException e) {
                    // One row that does not run, for lack of memory perhaps, shall not cost the others; the exit code tells.
                    failed = true;
                    table.missing(row, "failed: " + e.getMessage());
                }
            }
        }
        if (json != null) {
            write(results);
        }
        return failed ? 1 : 0;
    }

    private Integer cuda(int ordinal) {
        List<CudaRow> rows = small ? CudaRows.small() : CudaRows.full();
        if (only != null) {
            Pattern pattern = pattern();
            List<CudaRow> all = rows;
            rows = all.stream().filter(r -> pattern.matcher(r.text()).find()).toList();
            if (rows.isEmpty()) {
                throw usage("--only " + only + " finds no row of --device cuda; there are:\n" + String.join("\n", all.stream().map(r -> "  " + r.text()).toList()));
            }
        }
        if (small) {
            System.setProperty(Machine.ROTATION.property(), "0");
        }
        try (CudaBench bench = new CudaBench(ordinal, small ? CudaBench.Effort.SMALL : CudaBench.Effort.FULL)) {
            out.println(bench.description());
            return cuda(bench, rows) ? 0 : 1;
        }
    }

    /** Measures and prints all rows; false if one has failed. The file is written after every row, as a GPU can hang. */
    boolean cuda(CudaBench bench, List<CudaRow> rows) {
        List<Result> results = new ArrayList<>();
        boolean failed = false;
        CudaTable table = new CudaTable(out, rows);
        table.header();
        for (CudaRow row : rows) {
            try {
                Optional<String> skipped = bench.skipped(row);
                if (skipped.isPresent()) {
                    table.missing(row, "skipped: " + skipped.get());
                } else {
                    Result r = bench.measure(row);
                    results.add(r);
                    table.row(r);
                }
            } catch (RuntimeException e) {
                failed = true;
                table.missing(row, "failed: " + e.getMessage());
            }
            if (json != null) {
                write(results);
            }
        }
        return !failed;
    }

    // ---- options -----------------------------------------------------------------------------------------------------

    private List<Row> chosen() {
        List<CpuTier> supported = CpuTier.supported();
        CpuTier best = tier == null ? CpuTier.best() : supported.stream().filter(t -> t.id().equalsIgnoreCase(tier)).findFirst()
                .orElseThrow(() -> usage("--tier " + tier + ": this CPU has " + String.join(", ", supported.stream().map(CpuTier::id).toList())));
        List<Row> rows = source.rows(best, tier == null ? supported.stream().filter(t -> t != best).toList() : List.of());
        if (only != null) {
            List<Row> matching = rows.stream().filter(r -> pattern().matcher(r.text()).find()).toList();
            if (matching.isEmpty()) {
                throw usage("--only " + only + " finds no row; there are:\n" + String.join("\n", rows.stream().map(r -> "  " + r.text()).toList()));
            }
            rows = matching;
        }
        List<Row> soon = rows.stream().filter(r -> all || !r.takesMinutes()).toList();
        return soon.isEmpty() ? rows : soon;
    }

    private Pattern pattern() {
        try {
            return Pattern.compile(only, Pattern.CASE_INSENSITIVE);
        } catch (PatternSyntaxException e) {
            throw usage("--only " + only + " is not a regular expression: " + e.getDescription());
        }
    }

    private int threads() {
        if (threads < 0 || threads > 1024) {
            throw usage("--threads " + threads + ": it must be 1 to 1024, or 0 for one per physical core");
        }
        try (CpuKernels kernels = CpuKernels.open(CpuTier.best(), threads)) {
            return kernels.threads();
        }
    }

    private CommandLine.ParameterException usage(String message) {
        return new CommandLine.ParameterException(spec.commandLine(), message);
    }

    /** Never downloads: with the hub said to be off and no path to programs, only what is there is found. */
    private Optional<Path> model() {
        if (model != null) {
            if (!Files.exists(model)) {
                throw usage("--model " + model + ": there is no such file");
            }
            return Optional.of(model);
        }
        Map<String, String> environment = new HashMap<>(System.getenv());
        environment.put("HF_HUB_OFFLINE", "1");
        environment.put("PATH", "");
        try {
            return Optional.of(new ModelLocator(environment, message -> {}, (file, done, total) -> {}).locate(ModelLocator.DEFAULT_MODEL).path());
        } catch (PanaceaException e) {
            return Optional.empty();
        }
    }

    // ---- output ------------------------------------------------------------------------------------------------------

    private void write(List<Result> results) {
        try {
            AtomicFiles.writeString(json, new ObjectMapper().enable(SerializationFeature.INDENT_OUTPUT).writeValueAsString(results) + "\n");
        } catch (JsonProcessingException e) {
            throw new IllegalStateException(e);
        }
    }

    private static String processor() {
        try (Stream<String> lines = Files.lines(Path.of("/proc/cpuinfo"), StandardCharsets.ISO_8859_1)) {
            return lines.filter(l -> l.startsWith("model name")).findFirst().map(l -> l.substring(l.indexOf(':') + 1).strip()).orElse(System.getProperty("os.arch"));
        } catch (IOException | UncheckedIOException e) {
            // Not Linux.
            return System.getProperty("os.arch");
        }
    }
}
