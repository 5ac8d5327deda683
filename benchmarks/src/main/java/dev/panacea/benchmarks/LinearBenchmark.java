package dev.panacea.benchmarks;

import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/** Linear layers of many tokens: the product, its input gradient, and both with a LoRA pair in the same pass. */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Fork(value = 1, jvmArgsAppend = "--enable-native-access=ALL-UNNAMED")
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 5, time = 2)
public class LinearBenchmark {
    @Param({"FORWARD", "INPUT_GRAD", "LORA_FORWARD", "LORA_BACKWARD"})
    public Operation operation;

    /** N x K. */
    @Param({"1536x576", "576x1536", "8192x2048", "2048x8192", "4096x4096"})
    public String shape;

    @Param("1024")
    public int tokens;

    /** Also F32 and the formats of GGUF files, such as Q4_1 or Q4_K. */
    @Param({"NF4", "BF16"})
    public WeightFormat format;

    /** Of the LoRA pair. */
    @Param("8")
    public int rank;

    private Workload work;

    @Setup(Level.Trial)
    public void open(OnDevice device) {
        int[] s = OnDevice.shape(shape);
        work = switch (operation) {
            case FORWARD -> LinearWork.forward(device.kernels, format, tokens, s[0], s[1]);
            case INPUT_GRAD -> LinearWork.inputGrad(device.kernels, format, tokens, s[0], s[1]);
            case LORA_FORWARD -> LinearWork.loraForward(device.kernels, format, tokens, s[0], s[1], rank);
            case LORA_BACKWARD -> LinearWork.loraBackward(device.kernels, format, tokens, s[0], s[1], rank);
        };
    }

    @Benchmark
    public int run(Rate rate) {
        return rate.run(work);
    }

    @TearDown(Level.Trial)
    public void close() {
        work.close();
    }

    /** What is run. */
    public enum Operation {
        FORWARD,
        INPUT_GRAD,
        LORA_FORWARD,
        LORA_BACKWARD
    }
}
