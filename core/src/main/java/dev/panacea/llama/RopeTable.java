package dev.panacea.llama;

import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.DeviceMemory;
import dev.panacea.kernels.Kernels;
import java.lang.foreign.MemorySegment;

/** Cosines and sines of the rotary embedding, [positions, headDim/2], extended as longer sequences come. */
final class RopeTable implements AutoCloseable {
    private static final int FIRST_ROWS = 512;

    private final Kernels kernels;
    private final double[] frequencies;
    private final int limit;
    private int rows;
    private DeviceMemory memory;
    private DeviceBuffer cos;
    private DeviceBuffer sin;

    RopeTable(Kernels kernels, LlamaConfig config) {
        this.kernels = kernels;
        this.frequencies = config.rope().frequencies(config.headDim());
        this.limit = config.maxPositionEmbeddings();
        ensure(Math.min(FIRST_ROWS, limit));
    }

    /** Bytes of the tables once there are {@code positions} rows. */
    long bytes(int positions) {
        return 8L * (positions <= rows ? rows : grown(positions)) * frequencies.length;
    }

    private int grown(int positions) {
        return Math.max(positions, Math.min(limit, 2 * rows));
    }

    /** Makes sure of at least {@code positions} rows. */
    void ensure(int positions) {
        if (positions <= rows) {
            return;
        }
        int half = frequencies.length;
        int wanted = grown(positions);
        float[] c = new float[wanted * half];
        float[] s = new float[wanted * half];
        for (int p = 0; p < wanted; p++) {
            for (int j = 0; j < half; j++) {
                double angle = p * frequencies[j];
                c[p * half + j] = (float) Math.cos(angle);
                s[p * half + j] = (float) Math.sin(angle);
            }
        }
        close();
        memory = kernels.allocate(8L * wanted * half);
        cos = memory.view(DType.F32, 0, (long) wanted * half);
        sin = memory.view(DType.F32, 4L * wanted * half, (long) wanted * half);
        kernels.upload(MemorySegment.ofArray(c), cos);
        kernels.upload(MemorySegment.ofArray(s), sin);
        rows = wanted;
    }

    DeviceBuffer cos() {
        return cos;
    }

    DeviceBuffer sin() {
        return sin;
    }

    @Override
    public void close() {
        if (memory != null) {
            memory.close();
            memory = null;
            rows = 0;
        }
        rows = 0;
    }
}
