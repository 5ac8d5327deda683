package dev.panacea.io;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.function.Consumer;

/** Makes GGUF files byte by byte, right or wrong. */
final class GgufBuilder {
    /** Little-endian bytes. */
    static final class Bytes {
        private final ByteArrayOutputStream out = new ByteArrayOutputStream();

        Bytes u8(int v) {
            out.write(v);
            return this;
        }

        Bytes u32(int v) {
            return raw(ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putInt(v).array());
        }

        Bytes u64(long v) {
            return raw(ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(v).array());
        }

        Bytes f32(float... values) {
            for (float v : values) {
                u32(Float.floatToRawIntBits(v));
            }
            return this;
        }

        Bytes string(String s) {
            byte[] b = s.getBytes(StandardCharsets.UTF_8);
            return u64(b.length).raw(b);
        }

        Bytes raw(byte[] b) {
            out.writeBytes(b);
            return this;
        }

        Bytes align(int n) {
            while (out.size() % n != 0) {
                out.write(0);
            }
            return this;
        }

        int size() {
            return out.size();
        }

        byte[] toArray() {
            return out.toByteArray();
        }
    }

    private final Bytes keys = new Bytes();
    private final Bytes infos = new Bytes();
    private final Bytes data = new Bytes();
    private int keyCount;
    private int tensorCount;
    private int alignment = 32;

    GgufBuilder key(String name, int type, Consumer<Bytes> value) {
        keyCount++;
        keys.string(name).u32(type);
        value.accept(keys);
        return this;
    }

    GgufBuilder u32(String name, int v) {
        return key(name, 4, b -> b.u32(v));
    }

    GgufBuilder f32(String name, float v) {
        return key(name, 6, b -> b.f32(v));
    }

    GgufBuilder string(String name, String v) {
        return key(name, 8, b -> b.string(v));
    }

    GgufBuilder strings(String name, List<String> v) {
        return key(name, 9, b -> {
            b.u32(8).u64(v.size());
            v.forEach(b::string);
        });
    }

    GgufBuilder align(int n) {
        alignment = n;
        return u32("general.alignment", n);
    }

    /** @param dimensions outermost first */
    GgufBuilder tensor(String name, int type, long[] dimensions, byte[] bytes) {
        data.align(alignment);
        info(name, type, dimensions, data.size());
        data.raw(bytes);
        return this;
    }

    GgufBuilder tensor(String name, long[] dimensions, float[] values) {
        return tensor(name, 0, dimensions, new Bytes().f32(values).toArray());
    }

    GgufBuilder info(String name, int type, long[] dimensions, long offset) {
        tensorCount++;
        infos.string(name).u32(dimensions.length);
        for (int i = dimensions.length - 1; i >= 0; i--) {
            infos.u64(dimensions[i]);
        }
        infos.u32(type).u64(offset);
        return this;
    }

    byte[] bytes(int version) {
        Bytes file = new Bytes().raw("GGUF".getBytes(StandardCharsets.US_ASCII)).u32(version).u64(tensorCount).u64(keyCount).raw(keys.toArray()).raw(infos.toArray());
        return file.align(alignment).raw(data.toArray()).toArray();
    }

    Path write(Path file) {
        return write(file, bytes(3));
    }

    static Path write(Path file, byte[] bytes) {
        try {
            return Files.write(file, bytes);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
