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

/** Output embedding, cross-entropy and the gradient of the hidden states, in chunks of rows; GFLOP are those of the two products. */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Fork(value = 1, jvmArgsAppend = "--enable-native-access=ALL-UNNAMED")
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 5, time = 2)
public class HeadBenchmark {
    /** Vocabulary x hidden size. */
    @Param({"49152x576", "128256x2048"})
    public String shape;

    @Param("1024")
    public int tokens;

    private Workload work;

    @Setup(Level.Trial)
    public void open(OnDevice device) {
        int[] s = OnDevice.shape(shape);
        work = OtherWork.headLoss(device.kernels, tokens, s[0], s[1]);
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
