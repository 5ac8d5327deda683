package dev.panacea.benchmarks;

import org.openjdk.jmh.annotations.AuxCounters;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.State;

/** Work done, which JMH turns into work per second: GFLOP/s and GB/s stand beside the operations per second. */
@AuxCounters(AuxCounters.Type.OPERATIONS)
@State(Scope.Thread)
public class Rate {
    public double gflop;
    public double gigabytes;

    /** Runs once and counts it. */
    int run(Workload work) {
        gflop += work.flops() / 1e9;
        gigabytes += work.bytes() / 1e9;
        return work.run() + work.await();
    }
}
