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

/** Causal flash attention and its gradients. */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Fork(value = 1, jvmArgsAppend = "--enable-native-access=ALL-UNNAMED")
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 5, time = 2)
public class AttentionBenchmark {
    @Param({"FORWARD", "BACKWARD"})
    public Operation operation;

    /** Sequences x length. */
    @Param({"1x2048", "8x256"})
    public String tokens;

    /** Heads x key/value heads x size of a head. */
    @Param({"9x3x64", "32x8x64"})
    public String shape;

    private Workload work;

    @Setup(Level.Trial)
    public void open(OnDevice device) {
        int[] t = OnDevice.shape(tokens);
        int[] s = OnDevice.shape(shape);
        AttentionWork.Shape all = new AttentionWork.Shape(t[0], t[1], s[0], s[1], s[2]);
        work = operation == Operation.FORWARD ? AttentionWork.forward(device.kernels, all) : AttentionWork.backward(device.kernels, all);
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
        BACKWARD
    }
}
