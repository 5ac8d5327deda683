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

/** What reads and writes each element of the activations once, in DRAM. */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Fork(value = 1, jvmArgsAppend = "--enable-native-access=ALL-UNNAMED")
@Warmup(iterations = 2, time = 1)
@Measurement(iterations = 5, time = 2)
public class ElementwiseBenchmark {
    @Param({"RMS_NORM", "RMS_NORM_BACKWARD", "ROPE", "SWIGLU", "SWIGLU_BACKWARD"})
    public Operation operation;

    @Param("1024")
    public int tokens;

    /** Elements per token, a multiple of 64. */
    @Param({"576", "2048"})
    public int width;

    private Workload work;

    @Setup(Level.Trial)
    public void open(OnDevice device) {
        work = switch (operation) {
            case RMS_NORM -> OtherWork.rmsNorm(device.kernels, tokens, width);
            case RMS_NORM_BACKWARD -> OtherWork.rmsNormBackward(device.kernels, tokens, width);
            case ROPE -> OtherWork.rope(device.kernels, tokens, width);
            case SWIGLU -> OtherWork.swiGlu(device.kernels, tokens, width);
            case SWIGLU_BACKWARD -> OtherWork.swiGluBackward(device.kernels, tokens, width);
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
        RMS_NORM,
        RMS_NORM_BACKWARD,
        ROPE,
        SWIGLU,
        SWIGLU_BACKWARD
    }
}
