package dev.panacea.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.panacea.kernels.CpuTier;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

/** The quick mode on a set of tiny rows: what it prints and writes, not how fast anything was. */
class QuickTest {
    private static final Interleaved.Budget BRIEF = new Interleaved.Budget(2, 2, 0);

    @TempDir
    Path folder;

    private final ByteArrayOutputStream out = new ByteArrayOutputStream();
    private final StringWriter errors = new StringWriter();

    private static List<Row> tiny(CpuTier best, List<CpuTier> others) {
        AttentionWork.Shape s = new AttentionWork.Shape(1, 40, 4, 2, 16);
        List<Row> rows = new ArrayList<>();
        rows.add(Rows.linear(best, WeightFormat.NF4, 64, 32));
        rows.add(Rows.attention(best, s));
        rows.add(new Row.Kernel("dequantize", "2048x2048", best, Ceiling.READ, k -> OtherWork.dequantize(k, WeightFormat.NF4, 2048, 2048), Optional.empty()));
        for (CpuTier other : others) {
            rows.add(Rows.inputGrad(other, WeightFormat.NF4, 64, 32));
        }
        rows.add(new Row.Program("step-tiny", "2x16", best, "tokens/s", Ceiling.F32_FMA, BRIEF, false, List.of("step-checkpointed", "tiny", "2", "16")));
        rows.add(new Row.Program("decode-tiny", "24", best, "tokens/s", Ceiling.READ, BRIEF, false, List.of("decode", "tiny", "1", "24")));
        rows.add(new Row.Program("prompt-tiny", "24", best, "tokens/s", Ceiling.F32_FMA, BRIEF, false, List.of("prompt", "tiny", "1", "24")));
        rows.add(new Row.StartUp("start-up", "tiny", best, true));
        rows.add(new Row.Program("long", "2x16", best, "tokens/s", Ceiling.F32_FMA, BRIEF, true, List.of("step", "tiny", "2", "16")));
        return rows;
    }

    private int run(Quick.RowSource rows, String... args) {
        CommandLine line = new CommandLine(new Quick(rows, BRIEF, new PrintStream(out, true, StandardCharsets.UTF_8)));
        return line.setErr(new PrintWriter(errors, true)).execute(args);
    }

    @Test
    void writesTheRowsWithExactlyTheAgreedFields() throws IOException {
        Path json = folder.resolve("new").resolve("rows.json");
        assertThat(run(QuickTest::tiny, "--only", "^(?!start-up)", "--threads", "2", "--json", json.toString())).as(out + " " + errors).isZero();
        JsonNode rows = new ObjectMapper().readTree(json.toFile());
        int tiers = CpuTier.supported().size();
        assertThat(rows).as("the row that takes minutes is left out").hasSize(6 + tiers - 1);
        for (JsonNode row : rows) {
            List<String> names = new ArrayList<>();
            row.fieldNames().forEachRemaining(names::add);
            assertThat(names).containsExactly("name", "shape", "tier", "threads", "value", "unit", "shareOfCeiling", "peer", "ratioToPeer", "peakRssMb");
            String name = row.get("name").asText();
            assertThat(row.get("value").doubleValue()).as(name).isPositive();
            assertThat(row.get("threads").intValue()).isEqualTo(2);
            assertThat(row.get("unit").asText()).isIn("GFLOP/s", "GB/s", "tokens/s");
            assertThat(row.get("shareOfCeiling").doubleValue()).as(name).isBetween(1e-9, 1e3);
            assertThat(row.get("peer").isNull()).as(name).isEqualTo(row.get("ratioToPeer").isNull());
            assertThat(row.get("peakRssMb").isNumber()).as(name).isEqualTo(name.endsWith("tiny"));
            if (name.endsWith("tiny")) {
                assertThat(row.get("peakRssMb").doubleValue()).as(name).isBetween(20.0, 1000.0);
            }
        }
        assertThat(rows.findValuesAsText("tier")).contains(CpuTier.supported().stream().map(CpuTier::id).toArray(String[]::new));
        assertThat(out.toString(StandardCharsets.UTF_8)).contains("share").contains("dequantize").doesNotContain("failed");
        try (Stream<Path> files = Files.list(json.getParent())) {
            assertThat(files).as("nothing half-written stays").containsExactly(json);
        }
    }

    @Test
    void aPatternThatFindsNothingSaysWhatThereIs() {
        assertThat(run(QuickTest::tiny, "--only", "nosuchthing")).isEqualTo(2);
        assertThat(errors.toString()).contains("--only nosuchthing finds no row").contains("linear-nf4 M 1024, (N,K) 64x32 " + CpuTier.best().id()).contains("prompt-tiny");
        assertThat(run(QuickTest::tiny, "--only", "(")).isEqualTo(2);
        assertThat(errors.toString()).contains("not a regular expression");
    }

    @Test
    void refusesWhatItCannotDo() {
        assertThat(run(QuickTest::tiny, "--quick", "--tier", "mmx")).isEqualTo(2);
        assertThat(errors.toString()).contains("--tier mmx: this CPU has portable");
        assertThat(run(QuickTest::tiny, "--quick", "--threads", "-1")).isEqualTo(2);
        assertThat(run(QuickTest::tiny, "--quick", "--fast")).isEqualTo(2);
        assertThat(run(QuickTest::tiny, "--quick", "--model", folder.resolve("none.gguf").toString())).isEqualTo(2);
        assertThat(errors.toString()).contains("none.gguf: there is no such file");
    }

    @Test
    void aRowThatFailsIsToldAndTheOthersGoOn() throws IOException {
        Path json = folder.resolve("rows.json");
        Quick.RowSource rows = (best, others) -> List.of(
                new Row.Program("broken", "1x1", best, "tokens/s", Ceiling.F32_FMA, BRIEF, false, List.of("step", "nosuchmodel", "1", "16")),
                new Row.Kernel("dequantize", "64x64", best, Ceiling.F32_FMA, k -> LinearWork.forward(k, WeightFormat.BF16, 9, 64, 64), Optional.empty()));
        assertThat(run(rows, "--quick", "--json", json.toString())).isEqualTo(1);
        assertThat(out.toString(StandardCharsets.UTF_8)).contains("broken").contains("failed: the program 'step nosuchmodel 1 16");
        assertThat(new ObjectMapper().readTree(json.toFile()).findValuesAsText("name")).containsExactly("dequantize");
    }

    @Test
    void rowsThatTakeMinutesRunWhenAskedForAlone() throws IOException {
        Path json = folder.resolve("rows.json");
        assertThat(run(QuickTest::tiny, "--only", "long", "--json", json.toString())).isZero();
        assertThat(new ObjectMapper().readTree(json.toFile()).findValuesAsText("name")).containsExactly("long");
    }

    @Test
    void theRealRowsAreThoseOfTheIssue() {
        List<Row> rows = Rows.all(CpuTier.PORTABLE, List.of(CpuTier.AVX2));
        List<String> texts = rows.stream().map(Row::text).toList();
        assertThat(texts).doesNotHaveDuplicates().contains("linear-nf4 M 1024, (N,K) 576x1536 portable", "input-grad-nf4 M 1024, (N,K) 4096x4096 portable",
                "linear-nf4 M 1024, (N,K) 8192x2048 avx2", "gemv-nf4 M 1, (N,K) 8192x2048 portable", "attention-backward 8x256 32/8x64 portable",
                "qlora-step-135m NF4, r 8 all linear, 4x256 portable", "start-up to the first step's end, 4 dialogues portable");
        assertThat(texts.stream().filter(t -> t.contains("8b"))).as("--only 8b means the model").hasSize(1);
        assertThat(rows.stream().filter(Row::takesMinutes).map(Row::name)).containsExactly("qlora-step-8b");
    }

    // ---- JMH ---------------------------------------------------------------------------------------------------------

    @Test
    void everythingElseGoesToJmh() {
        assertThat(Main.isQuick(new String[] {"-l"})).isFalse();
        assertThat(Main.isQuick(new String[] {"-h"})).isFalse();
        assertThat(Main.isQuick(new String[] {"LinearBenchmark", "-p", "shape=64x32"})).isFalse();
        assertThat(Main.isQuick(new String[0])).isFalse();
        assertThat(Main.isQuick(new String[] {"--only=gemv"})).isTrue();
        assertThat(Main.isQuick(new String[] {"--quick"})).isTrue();
        assertThat(Main.isQuick(new String[] {"--help"})).isTrue();
    }

    @Test
    void jmhListsEveryBenchmark() throws IOException {
        PrintStream before = System.out;
        System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
        try {
            Main.main(new String[] {"-l"});
        } finally {
            System.setOut(before);
        }
        assertThat(out.toString(StandardCharsets.UTF_8)).contains("AdamWBenchmark.run", "AttentionBenchmark.run", "ElementwiseBenchmark.run", "GemvBenchmark.run", "HeadBenchmark.run",
                "LinearBenchmark.run", "QuantizeBenchmark.run", "TrainingStep.tokens");
    }

    @Test
    void sizesAsTheSystemWritesThem() {
        assertThat(Machine.bytes("266240K")).isEqualTo(266240L << 10);
        assertThat(Machine.bytes("32M")).isEqualTo(32 << 20);
        assertThat(Machine.bytes("4096")).isEqualTo(4096);
        assertThat(Machine.bytes("many")).isZero();
        assertThat(Interleaved.median(List.of(3.0, 1.0, 2.0))).isEqualTo(2);
        assertThat(Interleaved.median(List.of(4.0, 1.0, 2.0, 3.0))).isEqualTo(2.5);
    }
}
