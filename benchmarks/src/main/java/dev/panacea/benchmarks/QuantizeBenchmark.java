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

/** BF16 to NF4, and weights back to BF16, in DRAM. */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Fork(value = 1, jvmArgsAppend = "--enable-native-access=ALL-UNNAMED")
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 5, time = 2)
public class QuantizeBenchmark {
    @Param({"QUANTIZE", "DEQUANTIZE"})
    public Operation operation;

    /** N x K. */
    @Param("8192x2048")
    public String shape;

    /** Of what is dequantized; also the formats of GGUF files, such as Q4_1 or Q4_K. */
    @Param("NF4")
    public WeightFormat format;

    private Workload work;

    @Setup(Level.Trial)
    public void open(OnDevice device) {
        int[] s = OnDevice.shape(shape);
        work = operation == Operation.QUANTIZE ? OtherWork.quantize(device.kernels, s[0], s[1]) : OtherWork.dequantize(device.kernels, format, s[0], s[1]);
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
        QUANTIZE,
        DEQUANTIZE
    }
}
