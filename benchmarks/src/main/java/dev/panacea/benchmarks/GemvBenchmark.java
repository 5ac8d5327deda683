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

/** Linear layers of few rows, as in decoding; the weights are read from DRAM. */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Fork(value = 1, jvmArgsAppend = "--enable-native-access=ALL-UNNAMED")
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 5, time = 2)
public class GemvBenchmark {
    /** N x K. */
    @Param({"8192x2048", "2048x8192"})
    public String shape;

    @Param({"1", "2", "4", "8"})
    public int tokens;

    /** Also F32 and the formats of GGUF files, such as Q4_1 or Q4_K. */
    @Param({"NF4", "BF16"})
    public WeightFormat format;

    private Workload work;

    @Setup(Level.Trial)
    public void open(OnDevice device) {
        int[] s = OnDevice.shape(shape);
        work = LinearWork.gemv(device.kernels, format, tokens, s[0], s[1]);
    }

    @Benchmark
    public int run(Rate rate) {
        return rate.run(work);
    }

    @TearDown(Level.Trial)
    public void close() {
        work.close();
    }
}
