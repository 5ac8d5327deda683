package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/**
 * What the compiler made of the CUDA kernels: no spills, registers and shared memory within the budget that each file states in a line
 * {@code // budget: pan_name registers 64 shared 33000}, the tensor core's instructions where they belong. Needs no GPU, but a build with nvcc.
 */
class CudaBuildTest {
    private static final Path SOURCES = Path.of("../native/cuda");
    private static final Path FATBIN = Path.of("target/cuda", CudaContext.RESOURCE);
    private static final Path LOG = Path.of("target/cuda-build/ptxas.log");
    private static final Pattern BUDGET = Pattern.compile("// budget: (pan_\\w+) registers (\\d+) shared (\\d+)");
    private static final Pattern ENTRY = Pattern.compile("(?s)Compiling entry function '(\\w+)' for '(sm_\\d+)'(.*?)Used (\\d+) registers([^\n]*)");
    private static final Pattern STATIC_SHARED = Pattern.compile("(\\d+) bytes smem");
    private static final Pattern FRAME = Pattern.compile("(\\d+) bytes stack frame, (\\d+) bytes spill stores, (\\d+) bytes spill loads");

    private static Map<String, Budget> budgets;
    private static List<Compiled> kernels;
    private static Map<String, String> ptx;

    /** @param shared bytes of a block, static and dynamic */
    record Budget(int registers, int shared) {}

    private record Compiled(String name, String architecture, int registers, int staticShared, String frame) {}

    @BeforeAll
    static void read() throws IOException {
        if (!Files.exists(FATBIN)) {
            String reason = "the build of the CUDA kernels is not tested: there was no nvcc";
            System.out.println(reason);
            Assumptions.abort(reason);
        }
        budgets = budgets();
        kernels = ENTRY.matcher(Files.readString(LOG)).results().map(m -> {
            Matcher shared = STATIC_SHARED.matcher(m.group(5));
            return new Compiled(m.group(1), m.group(2), Integer.parseInt(m.group(4)), shared.find() ? Integer.parseInt(shared.group(1)) : 0, m.group(3));
        }).toList();
        ptx = entries(new String(Files.readAllBytes(FATBIN), StandardCharsets.ISO_8859_1));
    }

    /** The budgets that the files state, by kernel. */
    static Map<String, Budget> budgets() throws IOException {
        Map<String, Budget> budgets = new TreeMap<>();
        try (Stream<Path> files = Files.list(SOURCES)) {
            for (Path file : files.sorted().toList()) {
                BUDGET.matcher(Files.readString(file)).results().forEach(m -> assertThat(budgets.put(m.group(1), new Budget(Integer.parseInt(m.group(2)), Integer.parseInt(m.group(3)))))
                        .as("a second budget of " + m.group(1)).isNull());
            }
        }
        return budgets;
    }

    /** The bodies of the kernels in the PTX that the fat binary carries as plain text. */
    private static Map<String, String> entries(String fatbin) {
        int start = fatbin.indexOf(".version ");
        assertThat(start).as("PTX in the fat binary").isPositive();
        int end = fatbin.indexOf('\0', start);
        Map<String, String> entries = new LinkedHashMap<>();
        String text = end < 0 ? fatbin.substring(start) : fatbin.substring(start, end);
        assertThat(text).contains(".target sm_80");
        for (String part : text.split("\\.entry ")) {
            Matcher name = Pattern.compile("^(pan_\\w+)\\(").matcher(part);
            if (name.find()) {
                entries.put(name.group(1), part);
            }
        }
        return entries;
    }

    @Test
    void everyKernelHasABudgetAndIsCompiledForBothArchitectures() {
        for (String architecture : List.of("sm_80", "sm_90")) {
            List<String> compiled = kernels.stream().filter(k -> k.architecture().equals(architecture)).map(Compiled::name).toList();
            assertThat(compiled).as("kernels for " + architecture + " and the budgets in native/cuda").containsExactlyInAnyOrderElementsOf(budgets.keySet());
        }
        assertThat(ptx.keySet()).containsExactlyInAnyOrderElementsOf(budgets.keySet());
    }

    @Test
    void noKernelSpills() {
        for (Compiled k : kernels) {
            Matcher frame = FRAME.matcher(k.frame());
            assertThat(frame.find()).as(k.name()).isTrue();
            assertThat(frame.group()).as(k.name() + " for " + k.architecture()).isEqualTo("0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads");
        }
    }

    @Test
    void kernelsKeepToTheirBudgets() {
        for (Compiled k : kernels) {
            Budget budget = budgets.get(k.name());
            assertThat(k.registers()).as("registers of " + k.name() + " for " + k.architecture()).isLessThanOrEqualTo(budget.registers());
            assertThat(k.staticShared()).as("static shared memory of " + k.name() + " for " + k.architecture()).isLessThanOrEqualTo(budget.shared());
        }
    }

    @Test
    void matrixKernelsUseTheTensorCores() {
        List<String> matrix = ptx.keySet().stream().filter(n -> n.matches("pan_gemm_bf16_(nt|nn|tn).*") || n.matches("pan_attention_(forward|backward_(kv|q)|dkv|dq).*")).toList();
        assertThat(matrix).isNotEmpty();
        for (String name : matrix) {
            assertThat(ptx.get(name)).as(name).contains("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", "ldmatrix.sync.aligned.m8n8");
            if (!name.contains("_any")) {
                assertThat(ptx.get(name)).as(name).contains("cp.async.cg.shared.global");
            }
        }
        assertThat(ptx.values()).noneMatch(body -> body.contains("wmma."));
    }

    @Test
    void noKernelKeepsAnArrayInLocalMemory() {
        ptx.forEach((name, body) -> assertThat(body).as(name).doesNotContain(".local .align"));
    }
}
