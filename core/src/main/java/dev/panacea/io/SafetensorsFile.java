package dev.panacea.io;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import dev.panacea.kernels.PanaceaException;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Supplier;

/**
 * A safetensors file, mapped: 8 bytes of header length, a JSON header with type, shape and place of each tensor, then the tensors
 * one after another without a gap. Everything in the header is checked against the file before a tensor is given out. Safe for use by several threads, closing as
 * {@link Checkpoint} has it.
 */
public final class SafetensorsFile implements AutoCloseable {
    /** Longest header that is read: a third of what the format's own library reads, and a hundred times as long as that of the largest Llama. */
    static final long LONGEST_HEADER = 32_000_000;
    private static final int MOST_DIMENSIONS = 8;

    /** Types of elements, in the order in which the format's own library writes them. */
    public enum Type {
        I64(8), F64(8), F32(4), I32(4), BF16(2), F16(2), I16(2), I8(1), U8(1), BOOL(1);

        private final int bytes;

        Type(int bytes) {
            this.bytes = bytes;
        }

        /** Bytes of an element. */
        public int bytes() {
            return bytes;
        }
    }

    /**
     * A tensor in the file.
     *
     * @param shape outermost dimension first; empty for a single number
     * @param data its bytes, a part of the mapped file, at any alignment
     */
    public record Tensor(String name, Type type, List<Long> shape, MemorySegment data) {
        /** Number of elements. */
        public long elements() {
            return data.byteSize() / type.bytes();
        }

        /** The dimensions as an array of the caller's own. */
        public long[] dimensions() {
            return shape.stream().mapToLong(Long::longValue).toArray();
        }
    }

    private record Entry(String name, Type type, List<Long> shape, long begin, long end) {}

    private final MappedFile file;
    private final Map<String, String> metadata = new LinkedHashMap<>();
    private final Map<String, Tensor> tensors = new LinkedHashMap<>();

    private SafetensorsFile(MappedFile file) {
        this.file = file;
    }

    /**
     * Maps a file and checks its header.
     *
     * @throws PanaceaException naming the file and what is wrong with it
     */
    public static SafetensorsFile open(Path path) {
        MappedFile mapped = MappedFile.open(path);
        try {
            return mapped.reading(() -> {
                SafetensorsFile result = new SafetensorsFile(mapped);
                result.readHeader();
                return result;
            });
        } catch (RuntimeException e) {
            mapped.close();
            throw e;
        }
    }

    public Path path() {
        return file.path();
    }

    /** Bytes of the file. */
    public long size() {
        return file.size();
    }

    /** The texts under {@code __metadata__}. */
    public Map<String, String> metadata() {
        return Collections.unmodifiableMap(metadata);
    }

    /** Names of the tensors, in the order of the file. */
    public Set<String> names() {
        return Collections.unmodifiableSet(tensors.keySet());
    }

    /** @throws PanaceaException if there is no such tensor */
    public Tensor tensor(String name) {
        Tensor tensor = tensors.get(name);
        if (tensor == null) {
            throw new PanaceaException(path() + " has no tensor " + name);
        }
        return tensor;
    }

    /** Values {@code offset} to {@code offset + count} of an F64, F32, F16 or BF16 tensor as floats, all of them finite. */
    public void read(String name, long offset, int count, float[] destination) {
        Tensor t = tensor(name);
        Floats.checkRange(name, t.elements(), offset, count, destination);
        reading(() -> {
            switch (t.type()) {
                case F32 -> Floats.f32(t.data(), offset, count, destination, 0);
                case F16 -> Floats.f16(t.data(), offset, count, destination, 0);
                case BF16 -> Floats.bf16(t.data(), offset, count, destination, 0);
                case F64 -> Floats.f64(t.data(), offset, count, destination, 0);
                default -> throw fault("tensor " + name + " is of type " + t.type() + "; weights are F32, F16, BF16 or F64");
            }
            return null;
        });
        Floats.requireFinite(path(), name, destination, count);
    }

    /** A whole tensor as floats. */
    public float[] read(String name) {
        long elements = tensor(name).elements();
        if (elements > Integer.MAX_VALUE - 8) {
            throw fault("tensor " + name + " has " + elements + " elements, too many for one array");
        }
        float[] values = new float[(int) elements];
        read(name, 0, values.length, values);
        return values;
    }

    /** As {@link Checkpoint#reading}. */
    <T> T reading(Supplier<T> computation) {
        return file.reading(computation);
    }

    /** As {@link #reading(Supplier)}, of several files. */
    static <T> T reading(List<SafetensorsFile> files, Supplier<T> computation) {
        return MappedFile.reading(files.stream().map(f -> f.file).toList(), computation);
    }

    /** @throws IllegalStateException if a computation is reading the file */
    @Override
    public void close() {
        file.close();
    }

    private void readHeader() {
        if (file.size() < 8) {
            throw fault("it has " + file.size() + " bytes; a safetensors file has at least 8. It is not one, or was cut short: download it again");
        }
        long length = file.bytes().get(MappedFile.I64, 0);
        if (length < 2 || length > LONGEST_HEADER || length > file.size() - 8) {
            throw fault("its header is said to have " + Long.toUnsignedString(length) + " bytes, but " + (file.size() - 8) + " follow and at most " + LONGEST_HEADER
                    + " are allowed. It is not a safetensors file, or was cut short: download it again");
        }
        String header = MappedFile.utf8(file.bytes().asSlice(8, length))
                .orElseThrow(() -> fault("its header is not UTF-8 text. It is not a safetensors file, or is damaged: download it again"));
        List<Entry> entries = new ArrayList<>();
        try (JsonParser json = JsonFiles.parser(header)) {
            expect(json.nextToken(), JsonToken.START_OBJECT, "its header");
            while (json.nextToken() != JsonToken.END_OBJECT) {
                String name = json.currentName();
                if (name.equals("__metadata__")) {
                    readMetadata(json);
                } else {
                    entries.add(readEntry(json, name));
                }
            }
            if (json.nextToken() != null) {
                throw fault("something follows the JSON object in its header");
            }
        } catch (JsonProcessingException e) {
            throw JsonFiles.invalid(path() + " (header)", e);
        } catch (IOException e) {
            throw FileErrors.reading(path(), e);
        }
        place(entries, file.bytes().asSlice(8 + length));
    }

    private void readMetadata(JsonParser json) throws IOException {
        expect(json.nextToken(), JsonToken.START_OBJECT, "__metadata__");
        while (json.nextToken() != JsonToken.END_OBJECT) {
            String key = json.currentName();
            expect(json.nextToken(), JsonToken.VALUE_STRING, "__metadata__." + key);
            metadata.put(key, json.getText());
        }
    }

    private Entry readEntry(JsonParser json, String name) throws IOException {
        expect(json.nextToken(), JsonToken.START_OBJECT, "tensor " + name);
        Type type = null;
        List<Long> shape = null;
        List<Long> offsets = null;
        while (json.nextToken() != JsonToken.END_OBJECT) {
            String key = json.currentName();
            JsonToken value = json.nextToken();
            switch (key) {
                case "dtype" -> {
                    expect(value, JsonToken.VALUE_STRING, "dtype of tensor " + name);
                    type = type(name, json.getText());
                }
                case "shape" -> shape = numbers(json, "shape of tensor " + name, MOST_DIMENSIONS);
                case "data_offsets" -> offsets = numbers(json, "data_offsets of tensor " + name, 2);
                default -> throw fault("tensor " + name + " has an unknown entry " + key);
            }
        }
        if (type == null || shape == null || offsets == null || offsets.size() != 2) {
            throw fault("tensor " + name + " lacks its dtype, its shape or its two data_offsets");
        }
        return new Entry(name, type, shape, offsets.get(0), offsets.get(1));
    }

    private Type type(String name, String text) {
        return Arrays.stream(Type.values()).filter(t -> t.name().equals(text)).findFirst().orElseThrow(() -> fault("tensor " + name + " is of type " + text
                + "; readable are " + Arrays.toString(Type.values())));
    }

    private List<Long> numbers(JsonParser json, String what, int most) throws IOException {
        expect(json.currentToken(), JsonToken.START_ARRAY, what);
        List<Long> numbers = new ArrayList<>();
        while (json.nextToken() != JsonToken.END_ARRAY) {
            expect(json.currentToken(), JsonToken.VALUE_NUMBER_INT, what);
            long number = json.getLongValue();
            if (number < 0) {
                throw fault(what + " has a negative number, " + number);
            }
            if (numbers.size() == most) {
                throw fault(what + " has more than " + most + " numbers");
            }
            numbers.add(number);
        }
        return List.copyOf(numbers);
    }

    private void place(List<Entry> entries, MemorySegment data) {
        entries.sort(Comparator.comparingLong(Entry::begin).thenComparingLong(Entry::end));
        long position = 0;
        for (Entry e : entries) {
            if (e.begin() != position || e.end() < e.begin() || e.end() > data.byteSize()) {
                throw fault("tensor " + e.name() + " lies at bytes " + e.begin() + " to " + e.end() + ", but the tensor before it ends at " + position
                        + " and the data at " + data.byteSize() + ": tensors may not overlap or leave gaps, or the file was cut short. Download it again");
            }
            long size = byteSize(e);
            if (size != e.end() - e.begin()) {
                throw fault("tensor " + e.name() + " is " + e.type() + " of shape " + e.shape() + ", which needs " + size + " bytes, but has "
                        + (e.end() - e.begin()));
            }
            tensors.put(e.name(), new Tensor(e.name(), e.type(), e.shape(), data.asSlice(e.begin(), size)));
            position = e.end();
        }
        if (position != data.byteSize()) {
            throw fault("its tensors end at byte " + position + " of the data, but " + data.byteSize() + " bytes are there. Download it again");
        }
    }

    private long byteSize(Entry e) {
        try {
            long size = e.type().bytes();
            for (long d : e.shape()) {
                size = Math.multiplyExact(size, d);
            }
            return size;
        } catch (ArithmeticException overflow) {
            throw fault("tensor " + e.name() + " has the impossible shape " + e.shape());
        }
    }

    private void expect(JsonToken found, JsonToken expected, String what) {
        if (found != expected) {
            throw fault(what + " is not as the format has it: " + expected + " is expected, " + found + " is there");
        }
    }

    private PanaceaException fault(String message) {
        return new PanaceaException(path() + ": " + message);
    }
}
