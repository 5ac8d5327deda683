package dev.panacea.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.panacea.benchmarks.CudaRow.Bound;
import dev.panacea.bindings.CudaLibrary;
import dev.panacea.data.Batches;
import dev.panacea.data.TokenizedExample;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.DeviceMemory;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.MemoryUse;
import dev.panacea.kernels.UnsupportedBackendException;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.LoadOptions;
import dev.panacea.llama.Quantization;
import dev.panacea.lora.LoraAdapter;
import dev.panacea.lora.LoraConfig;
import dev.panacea.optim.AdamW;
import dev.panacea.train.OptimizerStep;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.lang.reflect.Proxy;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Collections;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import picocli.CommandLine;

/** The table of a GPU: its rows, what is said of the memory that they need, and what becomes of the others when one fails. */
class CudaTableTest {
    @TempDir
    Path folder;

    /** Kernels of a device without memory behind it: they compute nothing, and remember the most that was allocated. */
    private static final class Counting {
        private long used;
        private long most;
        private long next = 1L << 40;

        Kernels kernels() {
            return (Kernels) Proxy.newProxyInstance(Kernels.class.getClassLoader(), new Class<?>[] {Kernels.class}, (proxy, method, arguments) -> switch (method.getName()) {
                case "allocate" -> memory((long) arguments[0]);
                case "memoryUse" -> Optional.of(new MemoryUse(used, Long.MAX_VALUE));
                case "readsHostMemory" -> false;
                case "scratchBytes" -> 0L;
                case "sumOfSquares" -> 0.0;
                default -> null;
            });
        }

        private DeviceMemory memory(long bytes) {
            used += bytes;
            most = Math.max(most, used);
            long address = next;
            next += bytes + 4096;
            return new DeviceMemory() {
                @Override
                public long byteSize() {
                    return bytes;
                }

                @Override
                public DeviceBuffer view(DType type, long byteOffset, long length) {
                    return DeviceBuffer.ofDevice(type, address + byteOffset, length);
                }

                @Override
                public void close() {
                    used -= bytes;
                }
            };
        }
    }

    @Test
    void theRowsHaveNamesOfTheirOwn() {
        List<String> full = CudaRows.full().stream().map(CudaRow::text).toList();
        assertThat(full).doesNotHaveDuplicates().contains("linear NF4 M 4096, (N,K) 14336x4096 cuda", "gemv NF4 M 1, (N,K) 14336x4096 cuda", "attention-backward 4x2048 32/8x128 cuda",
                "qlora-step-135m NF4, r 8 all linear, 4x256 cuda", "qlora-step-8b NF4, r 8 all linear, 2x2048, checkpointing cuda", "decode-1b NF4, batch 1, context 512 cuda",
                "prompt-8b NF4, 1x2048 cuda");
        List<String> small = CudaRows.small().stream().map(CudaRow::text).toList();
        assertThat(small).doesNotHaveDuplicates();
        assertThat(small.stream().map(t -> t.split(" ")[0].replace("tiny", "")).toList()).as("what is measured in full is tried small")
                .containsAll(full.stream().map(t -> t.split(" ")[0].replaceAll("135m|1b|8b", "")).toList());
    }

    /** What is said must not be less than what is taken, or a row would fail that could be skipped; nor far more. */
    @Test
    void theMemoryOfAKernelsRowIsThatOfItsOperands() {
        for (CudaRow row : CudaRows.full()) {
            if (row instanceof CudaRow.Kernel kernel) {
                Counting counting = new Counting();
                kernel.ours().apply(counting.kernels()).close();
                long taken = counting.most;
                assertThat(row.memory()).as(row.text() + " takes " + taken).isBetween((long) (0.99 * taken), 6 * taken + 300_000_000L);
                assertThat(row.memory()).as(row.text() + " on a GPU of 4 GB").isLessThan(3_000_000_000L);
            }
        }
    }

    @Test
    void theMemoryOfATrainingStepIsThatOfTheModelAndTheStep() {
        for (CudaRow row : CudaRows.full()) {
            if (row.name().equals("qlora-step-135m")) {
                long taken = step("135m", 4, 256, false);
                assertThat(row.memory()).as(row.text() + " takes " + taken).isBetween((long) (0.9 * taken), (long) (1.4 * taken));
            }
        }
    }

    private static long step(String name, int sequences, int length, boolean checkpointing) {
        Counting counting = new Counting();
        Kernels kernels = counting.kernels();
        try (RandomCheckpoint weights = new RandomCheckpoint(RandomCheckpoint.named(name));
                LlamaModel model = LlamaModel.load(kernels, weights, new LoadOptions(Quantization.NF4, DType.BF16));
                LoraAdapter adapter = LoraAdapter.create(model, new LoraConfig(8, 16, LoraConfig.ALL_LINEAR, false), 1);
                AdamW optimizer = new AdamW(kernels, adapter.parameters(), 0.9, 0.999, 1e-8, 0)) {
            adapter.attachTo(model);
            int[] ids = new int[length];
            List<TokenizedExample> batch = Collections.nCopies(sequences, new TokenizedExample(ids, ids));
            new OptimizerStep(model, adapter.parameters(), optimizer, 1, checkpointing).run(new Batches.Step(List.of(batch)), 1e-4);
        }
        return counting.most;
    }

    @Test
    void aGpuThatIsNotThereIsAnErrorOfOneLine() {
        String property = CudaLibrary.FILE.property();
        String before = System.getProperty(property);
        System.setProperty(property, folder.resolve("nosuchdriver.so").toString());
        try {
            ByteArrayOutputStream errors = new ByteArrayOutputStream();
            PrintStream usual = System.err;
            System.setErr(new PrintStream(errors, true, StandardCharsets.UTF_8));
            try {
                assertThat(Quick.run(new String[] {"--device", "cuda"})).isEqualTo(1);
            } finally {
                System.setErr(usual);
            }
            assertThat(errors.toString(StandardCharsets.UTF_8)).contains("error: ").contains("nosuchdriver.so").hasLineCount(1);
        } finally {
            if (before == null) {
                System.clearProperty(property);
            } else {
                System.setProperty(property, before);
            }
        }
    }

    @Test
    void aRowThatFailsOrDoesNotFitIsToldAndTheOthersGoOn() throws IOException {
        List<CudaRow> rows = List.of(
                new CudaRow.Kernel("huge", "1x1", Bound.TENSOR, Long.MAX_VALUE, k -> LinearWork.forward(k, WeightFormat.BF16, 9, 64, 64), Optional.empty()),
                new CudaRow.Kernel("broken", "1x1", Bound.TENSOR, 0, k -> LinearWork.forward(k, WeightFormat.BF16, 9, 64, -64), Optional.empty()),
                new CudaRow.Program("broken-too", "1x1", Bound.TENSOR, 0, List.of("step", "nosuchmodel", "1", "16")),
                new CudaRow.Kernel("linear", "9, 64x64", Bound.TENSOR, 0, k -> LinearWork.forward(k, WeightFormat.BF16, 9, 64, 64), Optional.empty()),
                new CudaRow.Program("decode-tiny", "24", Bound.BANDWIDTH, 0, List.of("decode", "tiny", "1", "24")));
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        Path json = folder.resolve("rows.json");
        Quick quick = new Quick(Rows::all, new Interleaved.Budget(1, 1, 0), new PrintStream(out, true, StandardCharsets.UTF_8));
        new CommandLine(quick).parseArgs("--device", "cuda", "--json", json.toString());
        try (CudaBench bench = new CudaBench(0, CudaBench.Effort.SMALL)) {
            assertThat(quick.cuda(bench, rows)).as("one has failed").isFalse();
        } catch (UnsupportedBackendException e) {
            System.out.println("the table of a GPU not tested: " + e.getMessage());
            Assumptions.abort(e.getMessage());
        }
        assertThat(out.toString(StandardCharsets.UTF_8)).contains("huge  1x1: skipped: it needs about", "are free", "broken  1x1: failed: ", "broken-too  1x1: failed: the program 'step nosuchmodel");
        JsonNode measured = new ObjectMapper().readTree(json.toFile());
        assertThat(measured.findValuesAsText("name")).containsExactly("linear", "decode-tiny");
        assertThat(measured.get(1).get("peakDeviceMb").doubleValue()).isPositive();
        assertThat(measured.get(1).get("value").doubleValue()).isPositive();
    }
}
