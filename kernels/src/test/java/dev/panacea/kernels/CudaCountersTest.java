package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.panacea.bindings.CudaLibrary;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import org.assertj.core.api.SoftAssertions;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * What the CUDA kernels move and multiply, against the least that is possible, by the counters of a simulated driver ({@code PTXSIM_PROFILE}). They follow from the
 * addresses used, not from a clock. Skipped with any other driver.
 */
class CudaCountersTest {
    /** Dense bf16 multiply-adds of an A100 per second, two operations each, as in the simulator's estimate of a launch. */
    private static final double A100_FLOPS = 312e12;
    private static final int A100_MULTIPROCESSORS = 108;

    /**
     * Where sectors asked for may exceed the least bytes by more than a tenth, since few rows share what every block reads: RMSNorm's weight (F32, for each 8 rows of 256), the table of the
     * nested scales of a gathered row, and x of a product of one row with a weight of 2048 rows.
     */
    private static final Map<String, Double> ASKED_FOR = Map.of("pan_rms_norm_bf16", 1.15, "pan_gather_q4_bf16", 1.3, "pan_gemv_blocks_q6_k_bf16", 1.2);

    @TempDir
    private static Path folder;

    @BeforeAll
    static void simulated() {
        boolean simulator = CudaLibrary.FILE.read().map(f -> Files.exists(Path.of(f.text()).resolveSibling("libcudart.so.13")) && Files.exists(Path.of(f.text()).resolveSibling("ptx_parser.o"))).orElse(false);
        if (!simulator) {
            String reason = "the counters of the CUDA kernels are not tested: " + CudaLibrary.FILE + " names no build of the simulated driver";
            System.out.println(reason);
            Assumptions.abort(reason);
        }
    }

    /** The counters of a group of {@link CudaCounters}, by kernel. */
    private static Map<String, JsonNode> counters(String group) throws IOException, InterruptedException {
        Path profile = folder.resolve(group + ".json");
        Path log = folder.resolve(group + ".log");
        ProcessBuilder child = new ProcessBuilder(ProcessHandle.current().info().command().orElseThrow(), "--enable-native-access=ALL-UNNAMED", "-cp", System.getProperty("java.class.path"),
                "-D" + CudaLibrary.FILE.property() + "=" + CudaLibrary.FILE.read().orElseThrow().text(), CudaCounters.class.getName(), group);
        child.environment().put("PTXSIM_PROFILE", profile.toString());
        child.environment().put("PTXSIM_RACECHECK", "0");
        Process process = child.redirectErrorStream(true).redirectOutput(log.toFile()).start();
        assertThat(process.waitFor()).as(Files.readString(log)).isZero();
        Map<String, JsonNode> kernels = new LinkedHashMap<>();
        new ObjectMapper().readTree(profile.toFile()).get("kernels").forEach(k -> kernels.put(k.get("name").asText(), k));
        System.out.println(group + ":");
        kernels.forEach((name, k) -> System.out.printf("  %-44s loads %.3f stores %.3f of the ideal, %,12d bytes, %.2f times of them asked for, conflicts %4.1f %%, mma %,d%n", name,
                efficiency(k, "global_load"), efficiency(k, "global_store"), bytes(k), (double) requested(k) / bytes(k), 100 * conflicts(k), k.get("mma_flops").asLong()));
        return kernels;
    }

    private static double efficiency(JsonNode kernel, String kind) {
        return kernel.get(kind).get("efficiency").asDouble();
    }

    private static long bytes(JsonNode kernel) {
        return kernel.get("unique_bytes_read").asLong() + kernel.get("unique_bytes_written").asLong();
    }

    /** Bytes of all sectors of all loads and stores: what is asked of the L2 cache, were nothing found in L1. */
    private static long requested(JsonNode kernel) {
        return 32 * (kernel.get("global_load").get("sectors").asLong() + kernel.get("global_store").get("sectors").asLong());
    }

    /** The share of the shared-memory wavefronts that bank conflicts cost. */
    private static double conflicts(JsonNode kernel) {
        long wavefronts = kernel.get("shared").get("wavefronts").asLong();
        return wavefronts == 0 ? 0 : (double) kernel.get("shared").get("bank_conflicts").asLong() / wavefronts;
    }

    @Test
    void streamingKernelsMoveNoMoreThanTheyMust() throws IOException, InterruptedException {
        long elements = (long) CudaCounters.M * CudaCounters.N;
        long rows = 4L * CudaCounters.M;
        long head = 64L * CudaCounters.VOCAB;
        long p = CudaCounters.PARAMETERS;
        long weights = (long) CudaCounters.K * CudaCounters.K;
        long nested = weights / 2 + weights / 64 + weights / 64 / 256 * 4 + 1024 + 64;
        Map<String, Long> least = new LinkedHashMap<>();
        least.put("pan_copy_bf16_f32", 6 * elements);
        // This one adds to y.
        least.put("pan_copy_bf16_bf16", 6 * elements);
        least.put("pan_rms_norm_bf16", 4 * elements + 4 * CudaCounters.N + rows);
        least.put("pan_rms_norm_backward_bf16", 6 * elements + 4 * CudaCounters.N + rows);
        least.put("pan_swiglu_bf16", 6 * elements);
        least.put("pan_swiglu_backward_bf16", 10 * elements);
        least.put("pan_rope_bf16", 4 * elements + rows + 2 * 32 * rows);
        least.put("pan_scatter_rows_bf16_bf16", 4 * elements + rows);
        least.put("pan_cross_entropy_grad_bf16", 6 * head + 8 * 64);
        least.put("pan_adamw", 28 * p);
        least.put("pan_adamw8bit", (12 + 4) * p + 16 * p / 256 + 2048);
        least.put("pan_sum_of_squares_f32", 4 * p);
        least.put("pan_dequantize_q4_bf16", nested + 2 * weights);
        least.put("pan_quantize4_nf4_bf16", 2 * elements + elements / 2 + elements / 16);
        least.put("pan_gather_q4_bf16", rows + CudaCounters.M * (CudaCounters.N / 2L + CudaCounters.N / 64L) + 2 * elements + 1024);
        long wide = (long) CudaCounters.WIDE * CudaCounters.K;
        least.put("pan_gemv_codes", wide / 2 + wide / 64 + wide / 64 / 256 * 4 + 1024 + 64 + 2L * (CudaCounters.K + CudaCounters.WIDE));
        least.put("pan_gemv_dense_bf16_m1", 2 * weights + 4L * CudaCounters.K);
        least.put("pan_gemv_blocks_q6_k_bf16", GgmlType.Q6_K.byteSize(CudaCounters.K) * CudaCounters.K + 4L * CudaCounters.K);
        Map<String, JsonNode> kernels = counters("streaming");
        SoftAssertions all = new SoftAssertions();
        kernels.forEach((name, k) -> {
            all.assertThat(efficiency(k, "global_load")).as(name + ": ideal sectors / sectors loaded").isGreaterThanOrEqualTo(0.95);
            all.assertThat(efficiency(k, "global_store")).as(name + ": ideal sectors / sectors stored").isGreaterThanOrEqualTo(0.95);
        });
        least.forEach((name, bytes) -> {
            JsonNode k = kernels.get(name);
            all.assertThat(k).as(name).isNotNull();
            if (k != null) {
                all.assertThat((double) bytes(k) / bytes).as(name + ": bytes moved, each counted once / least possible").isBetween(0.9, 1.1);
                all.assertThat((double) requested(k) / bytes).as(name + ": bytes of all sectors asked for / least possible").isBetween(0.9, ASKED_FOR.getOrDefault(name, 1.1));
            }
        });
        all.assertAll();
    }

    @Test
    void matrixProductsKeepTheTensorCoresBusy() throws IOException, InterruptedException {
        Map<String, JsonNode> kernels = counters("gemm");
        SoftAssertions all = new SoftAssertions();
        double useful = 2.0 * CudaCounters.GEMM_M * CudaCounters.K * CudaCounters.K;
        for (String mode : new String[] {"nt", "nn", "tn"}) {
            JsonNode k = kernels.entrySet().stream().filter(e -> e.getKey().matches("pan_gemm_bf16_" + mode + ".*")).findFirst().orElseThrow(() -> new AssertionError(mode + ": " + kernels.keySet())).getValue();
            String name = k.get("name").asText();
            long blocks = k.get("grid").get(0).asLong() * k.get("grid").get(1).asLong() * k.get("grid").get(2).asLong();
            double tensor = useful / (A100_FLOPS * Math.min(A100_MULTIPROCESSORS, blocks) / A100_MULTIPROCESSORS);
            double estimate = k.get("estimate_us_per_launch").get("A100").asDouble() / 1e6;
            System.out.printf("  %s: %d blocks, tensor cores busy for %.1f %% of the roofline estimate%n", name, blocks, 100 * tensor / estimate);
            // Gradients of weights are bound by the F32 result, which is read and written.
            if (!mode.equals("tn")) {
                all.assertThat(tensor / estimate).as(name + ": share of the tensor cores in the roofline estimate").isGreaterThanOrEqualTo(0.70);
            }
            judgeMatrix(all, name, k);
        }
        all.assertAll();
    }

    @Test
    void productsInSinglePrecisionAreFreeOfConflicts() throws IOException, InterruptedException {
        Map<String, JsonNode> kernels = counters("single");
        assertThat(kernels.keySet()).containsExactly("pan_gemm_f32_nt_128", "pan_gemm_f32_nn_128", "pan_gemm_f32_tn_128");
        SoftAssertions all = new SoftAssertions();
        kernels.forEach((name, k) -> judgeMatrix(all, name, k));
        all.assertAll();
    }

    @Test
    void lowRankProductsReadTheActivationsOnce() throws IOException, InterruptedException {
        Map<String, JsonNode> kernels = counters("lora");
        SoftAssertions all = new SoftAssertions();
        kernels.forEach((name, k) -> judgeMatrix(all, name, k));
        long x = (long) CudaCounters.GEMM_M * CudaCounters.K;
        long low = 4L * CudaCounters.RANK * CudaCounters.GEMM_M;
        long factor = 4L * CudaCounters.RANK * CudaCounters.K;
        // Each of the four reads x; the products of two read and write one of the small ones each, the gradients read both and write one.
        long least = 4 * (2 + 4) * x + 2 * (4 * low + 6 * factor);
        long moved = kernels.values().stream().mapToLong(CudaCountersTest::bytes).sum();
        System.out.printf("  all: %.3f of the bytes that they must move%n", (double) moved / least);
        all.assertThat((double) moved / least).as("bytes moved / least possible").isBetween(0.9, 1.1);
        all.assertAll();
    }

    @Test
    void attentionMultipliesLittleThatTheMaskHides() throws IOException, InterruptedException {
        Map<String, JsonNode> kernels = counters("attention");
        SoftAssertions all = new SoftAssertions();
        for (AttentionShape shape : new AttentionShape[] {CudaCounters.HEADS_64, CudaCounters.HEADS_128}) {
            // One product over the pairs of query and key that are seen.
            double product = 2.0 * shape.heads() * shape.headDim() * CudaCounters.TOKENS * (CudaCounters.TOKENS + 1) / 2;
            judgeAttention(all, kernels, "pan_attention_forward.*_" + shape.headDim() + "(_.*)?", 2 * product, 1.15);
            // Two of the forward pass again, for each of the two passes; then dV, dK and dQ.
            judgeAttention(all, kernels, "pan_attention_backward.*_" + shape.headDim() + "(_.*)?", 7 * product, 1.3);
        }
        kernels.forEach((name, k) -> judgeMatrix(all, name, k));
        all.assertAll();
    }

    private static void judgeAttention(SoftAssertions all, Map<String, JsonNode> kernels, String name, double own, double limit) {
        long flops = kernels.entrySet().stream().filter(e -> e.getKey().matches(name)).mapToLong(e -> e.getValue().get("mma_flops").asLong()).sum();
        System.out.printf("  %s: %.3f of the algorithm's own operations%n", name, flops / own);
        all.assertThat(flops / own).as(name + ": mma operations / the algorithm's own").isBetween(1.0, limit);
    }

    private static void judgeMatrix(SoftAssertions all, String name, JsonNode k) {
        all.assertThat(conflicts(k)).as(name + ": bank conflicts of all wavefronts").isLessThanOrEqualTo(0.05);
        all.assertThat(efficiency(k, "global_load")).as(name + ": ideal sectors / sectors loaded").isGreaterThanOrEqualTo(0.95);
        all.assertThat(efficiency(k, "global_store")).as(name + ": ideal sectors / sectors stored").isGreaterThanOrEqualTo(0.95);
    }
}
