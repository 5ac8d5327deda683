package dev.panacea.io;

import dev.panacea.io.SafetensorsFile.Type;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.TreeMap;
import java.util.stream.Collectors;

/**
 * Writes a safetensors file as the format's own library does: larger element types first, then by name; header padded with spaces to 8
 * bytes; metadata {@code {"format":"pt"}} unless told otherwise. Values are taken when {@link #write} runs, chunk by chunk.
 */
public final class SafetensorsWriter {
    private static final int CHUNK = 1 << 20;

    private interface Source {
        void write(FileChannel channel) throws IOException;
    }

    private record Entry(String name, Type type, long[] shape, long bytes, Source source) {}

    private final TreeMap<String, String> metadata = new TreeMap<>();
    private final List<Entry> entries = new ArrayList<>();

    public SafetensorsWriter() {
        metadata.put("format", "pt");
    }

    /** A text under {@code __metadata__}. */
    public SafetensorsWriter metadata(String key, String value) {
        metadata.put(key, value);
        return this;
    }

    /** An F32 tensor; the array is read when the file is written. */
    public SafetensorsWriter add(String name, long[] shape, float[] values) {
        return add(name, Type.F32, shape, values.length * 4L, channel -> writeFloats(values, channel));
    }

    /** A tensor whose bytes, little-endian, lie in memory. */
    public SafetensorsWriter add(String name, Type type, long[] shape, MemorySegment bytes) {
        return add(name, type, shape, bytes.byteSize(), channel -> writeBytes(bytes, channel));
    }

    private SafetensorsWriter add(String name, Type type, long[] shape, long bytes, Source source) {
        long needed = type.bytes();
        for (long d : shape) {
            needed = Math.multiplyExact(needed, d);
        }
        if (needed != bytes) {
            throw new IllegalArgumentException(name + " of shape " + Arrays.toString(shape) + " and type " + type + " needs " + needed + " bytes, " + bytes + " are given");
        }
        if (name.equals("__metadata__") || entries.stream().anyMatch(e -> e.name().equals(name))) {
            throw new IllegalArgumentException("the name " + name + " is taken");
        }
        entries.add(new Entry(name, type, shape.clone(), bytes, source));
        return this;
    }

    /**
     * Writes the file, whole or not at all.
     *
     * @throws dev.panacea.kernels.PanaceaException naming the file and the remedy, if it cannot be written
     */
    public void write(Path target) {
        List<Entry> sorted = entries.stream().sorted(Comparator.comparing(Entry::type).thenComparing(Entry::name)).toList();
        byte[] header = header(sorted);
        AtomicFiles.write(target, channel -> {
            ByteBuffer start = ByteBuffer.allocate(8 + header.length).order(ByteOrder.LITTLE_ENDIAN);
            AtomicFiles.writeFully(channel, start.putLong(header.length).put(header).flip());
            for (Entry e : sorted) {
                e.source().write(channel);
            }
        });
    }

    private byte[] header(List<Entry> sorted) {
        StringBuilder json = new StringBuilder("{\"__metadata__\":{");
        json.append(metadata.entrySet().stream().map(m -> JsonFiles.quote(m.getKey()) + ":" + JsonFiles.quote(m.getValue())).collect(Collectors.joining(",")));
        json.append('}');
        long position = 0;
        for (Entry e : sorted) {
            String shape = Arrays.stream(e.shape()).mapToObj(Long::toString).collect(Collectors.joining(","));
            json.append(',').append(JsonFiles.quote(e.name())).append(":{\"dtype\":\"").append(e.type()).append("\",\"shape\":[").append(shape)
                    .append("],\"data_offsets\":[").append(position).append(',').append(position + e.bytes()).append("]}");
            position += e.bytes();
        }
        byte[] text = json.append('}').toString().getBytes(StandardCharsets.UTF_8);
        byte[] padded = Arrays.copyOf(text, (text.length + 7) / 8 * 8);
        Arrays.fill(padded, text.length, padded.length, (byte) ' ');
        return padded;
    }

    private static void writeFloats(float[] values, FileChannel channel) throws IOException {
        byte[] chunk = new byte[(int) Math.min(CHUNK, values.length * 4L)];
        MemorySegment bytes = MemorySegment.ofArray(chunk);
        for (int at = 0; at < values.length; at += chunk.length / 4) {
            int n = Math.min(chunk.length / 4, values.length - at);
            MemorySegment.copy(values, at, bytes, MappedFile.F32, 0, n);
            AtomicFiles.writeFully(channel, ByteBuffer.wrap(chunk, 0, n * 4));
        }
    }

    private static void writeBytes(MemorySegment bytes, FileChannel channel) throws IOException {
        for (long at = 0; at < bytes.byteSize(); at += CHUNK) {
            AtomicFiles.writeFully(channel, bytes.asSlice(at, Math.min(CHUNK, bytes.byteSize() - at)).asByteBuffer());
        }
    }
}
