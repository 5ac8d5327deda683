package dev.panacea.io;

import dev.panacea.kernels.PanaceaException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;

/** Stored floating-point numbers as Java floats. {@code offset} and {@code count} are in elements, {@code at} is a place in the destination. */
final class Floats {
    private static final int CHUNK = 8192;

    private Floats() {}

    static void f32(MemorySegment data, long offset, int count, float[] destination, int at) {
        MemorySegment.copy(data, MappedFile.F32, offset * 4, destination, at, count);
    }

    static void f16(MemorySegment data, long offset, int count, float[] destination, int at) {
        short[] chunk = new short[Math.min(count, CHUNK)];
        for (int done = 0; done < count; done += chunk.length) {
            int n = Math.min(chunk.length, count - done);
            MemorySegment.copy(data, MappedFile.I16, (offset + done) * 2, chunk, 0, n);
            for (int i = 0; i < n; i++) {
                destination[at + done + i] = Float.float16ToFloat(chunk[i]);
            }
        }
    }

    static void bf16(MemorySegment data, long offset, int count, float[] destination, int at) {
        short[] chunk = new short[Math.min(count, CHUNK)];
        for (int done = 0; done < count; done += chunk.length) {
            int n = Math.min(chunk.length, count - done);
            MemorySegment.copy(data, MappedFile.I16, (offset + done) * 2, chunk, 0, n);
            for (int i = 0; i < n; i++) {
                destination[at + done + i] = Float.intBitsToFloat(chunk[i] << 16);
            }
        }
    }

    static void f64(MemorySegment data, long offset, int count, float[] destination, int at) {
        for (int i = 0; i < count; i++) {
            destination[at + i] = (float) data.get(MappedFile.F64, (offset + i) * 8);
        }
    }

    /** Not-a-number and infinity in weights are damage: one of them makes every result of the model not-a-number. */
    static void requireFinite(Path file, String tensor, float[] values, int count) {
        int largest = 0;
        for (int i = 0; i < count; i++) {
            largest = Math.max(largest, Float.floatToRawIntBits(values[i]) & 0x7fffffff);
        }
        if (largest >= 0x7f800000) {
            throw notFinite(file, tensor);
        }
    }

    static PanaceaException notFinite(Path file, String tensor) {
        return new PanaceaException(file + ": tensor " + tensor + " holds a value that is not finite (NaN or infinity); the file is damaged, or was saved from a"
                + " training run that had diverged. Download or save it again");
    }

    /** The arguments of {@link Checkpoint#read}. */
    static void checkRange(String tensor, long elements, long offset, int count, float[] destination) {
        if (offset < 0 || count < 0 || offset > elements - count || destination.length < count) {
            throw new IllegalArgumentException("reading " + count + " values from " + offset + " of " + tensor + ", which has " + elements
                    + ", into an array of " + destination.length);
        }
    }
}
