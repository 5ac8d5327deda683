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

/** The optimizer on f32 parameters, in DRAM, with moments in f32 or in 8 bits. */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Fork(value = 1, jvmArgsAppend = "--enable-native-access=ALL-UNNAMED")
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 5, time = 2)
public class AdamWBenchmark {
    @Param({"32", "8"})
    public int bits;

    @Param("4194304")
    public int parameters;

    private Workload work;

    @Setup(Level.Trial)
    public void open(OnDevice device) {
        work = bits == 8 ? OtherWork.adamW8bit(device.kernels, parameters) : OtherWork.adamW(device.kernels, parameters);
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
