package dev.panacea.kernels;

import java.lang.foreign.MemorySegment;
import java.util.Objects;
import java.util.SplittableRandom;

/**
 * What the CPU can do at most, at this moment, with the instruction set and the threads of some {@link CpuKernels}: the ceiling to measure a kernel
 * against. Clocks change and machines are shared, so take it right beside what is measured, again and again. For one thread.
 */
public final class CpuProbe implements AutoCloseable {
    /** Million operations per thread and probe: some milliseconds, long enough for all threads to be awake. */
    private static final long ROUNDS = 400;
    private static final long LINE = 64;

    private final CpuKernels kernels;
    private final long memoryBytes;
    private DeviceMemory memory;
    private long next;

    /**
     * @param memoryBytes of the memory that {@link #readGBs} goes round in; to measure DRAM, at least twice the last-level cache. It is taken when first read.
     */
    public CpuProbe(CpuKernels kernels, long memoryBytes) {
        Objects.requireNonNull(kernels);
        if (memoryBytes < LINE) {
            throw new IllegalArgumentException(memoryBytes + " bytes to read from: it must be at least " + LINE);
        }
        this.kernels = kernels;
        this.memoryBytes = memoryBytes / LINE * LINE;
    }

    /**
     * GFLOP/s of multiply-adds between registers, two operations each.
     *
     * @param type F32 for FMA; BF16 for the tier's dot products of pairs
     * @throws UnsupportedBackendException if it is BF16 and the tier computes in F32
     */
    public double gflops(DType type) {
        if (type != DType.F32 && type != DType.BF16) {
            throw new IllegalArgumentException("no arithmetic in " + type + ": F32 or BF16");
        }
        long start = System.nanoTime();
        double operations = kernels.probeArithmetic(type, ROUNDS);
        return operations / (System.nanoTime() - start);
    }

    /**
     * GB/s (10⁹ bytes) of reading from memory once, from where the last call stopped.
     *
     * @param bytes at most the memory; rounded down to whole cache lines, and cut where the memory ends
     */
    public double readGBs(long bytes) {
        if (bytes < LINE || bytes > memoryBytes) {
            throw new IllegalArgumentException(bytes + " bytes to read: it must be " + LINE + " to " + memoryBytes);
        }
        if (memory == null) {
            memory = filled();
        }
        if (next == memoryBytes) {
            next = 0;
        }
        long length = Math.min(bytes / LINE * LINE, memoryBytes - next);
        DeviceBuffer part = memory.view(DType.U8, next, length);
        next += length;
        long start = System.nanoTime();
        kernels.probeRead(part);
        return (double) length / (System.nanoTime() - start);
    }

    /** Pages that were never written may all be the same page of zeros, which a cache holds. */
    private DeviceMemory filled() {
        DeviceMemory all = kernels.allocate(memoryBytes);
        long[] words = new SplittableRandom(1).longs(8192).toArray();
        MemorySegment from = MemorySegment.ofArray(words);
        for (long at = 0; at < memoryBytes; at += from.byteSize()) {
            long n = Math.min(from.byteSize(), memoryBytes - at);
            kernels.upload(from.asSlice(0, n), all.view(DType.U8, at, n));
        }
        return all;
    }

    /** Frees the memory, which is taken anew if it is read again; the kernels stay open. */
    @Override
    public void close() {
        if (memory != null) {
            memory.close();
            memory = null;
        }
    }
}
