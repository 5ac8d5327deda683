package dev.panacea.io;

import dev.panacea.io.GgufMetadata.Value;
import dev.panacea.io.GgufMetadata.ValueType;
import dev.panacea.kernels.GgmlType;
import dev.panacea.kernels.PanaceaException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Supplier;

/**
 * A GGUF file of version 2 or 3, mapped: metadata, then a table of tensors, then the tensors at aligned places. Every count, length and
 * place is checked against the file before it is used. Safe for use by several threads, closing as {@link Checkpoint} has it.
 */
public final class GgufFile implements AutoCloseable {
    private static final int MAGIC = 0x46554747;
    private static final long MOST_ENTRIES = 1 << 16;
    private static final long LONGEST_NAME = 1 << 16;
    /** Of all names together, in bytes. */
    private static final long LONGEST_NAMES = 16 << 20;
    private static final int MOST_DIMENSIONS = 4;
    private static final long LARGEST_ALIGNMENT = 1 << 20;

    /**
     * A tensor in the file.
     *
     * @param shape outermost dimension first (the file has them the other way round)
     * @param data its bytes, a part of the mapped file
     */
    public record Tensor(String name, GgmlType type, List<Long> shape, MemorySegment data) {
        /** Number of elements. */
        public long elements() {
            return data.byteSize() / type.blockBytes() * type.blockElements();
        }

        /** The dimensions as an array of the caller's own. */
        public long[] dimensions() {
            return shape.stream().mapToLong(Long::longValue).toArray();
        }
    }

    private record Info(String name, GgmlType type, List<Long> shape, long offset, long bytes) {}

    private final MappedFile file;
    private final GgufMetadata metadata;
    private final Map<String, Tensor> tensors = new LinkedHashMap<>();
    private long position;
    private long nameBytes;

    /**
     * Maps a file and checks its header.
     *
     * @throws PanaceaException naming the file and what is wrong with it
     */
    public static GgufFile open(Path path) {
        MappedFile mapped = MappedFile.open(path);
        try {
            return mapped.reading(() -> new GgufFile(mapped));
        } catch (RuntimeException e) {
            mapped.close();
            throw e;
        }
    }

    private GgufFile(MappedFile file) {
        this.file = file;
        if (file.size() < 4 || int32("the magic number") != MAGIC) {
            throw fault("it does not begin with GGUF, so it is not a GGUF file; give the path of one, or of a folder in Hugging Face's format");
        }
        int version = int32("the version");
        if (version != 2 && version != 3) {
            throw fault(version != 0 && (version & 0xffff) == 0 ? "it is in big-endian order; convert it to little-endian"
                    : "it is of version " + Integer.toUnsignedString(version) + "; versions 2 and 3 can be read. Convert the model again with a current llama.cpp");
        }
        long tensorCount = count("tensors", 24);
        long keyCount = count("keys", 13);
        Map<String, Value> values = new LinkedHashMap<>();
        for (long i = 0; i < keyCount; i++) {
            String key = name("key number " + i);
            if (values.put(key, value(key)) != null) {
                throw fault("the key " + key + " is there twice");
            }
        }
        metadata = new GgufMetadata(file, values);
        List<Info> infos = new ArrayList<>();
        for (long i = 0; i < tensorCount; i++) {
            infos.add(info(i));
        }
        place(infos, alignment());
    }

    public Path path() {
        return file.path();
    }

    /** Bytes of the file. */
    public long size() {
        return file.size();
    }

    public GgufMetadata metadata() {
        return metadata;
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

    /** As {@link Checkpoint#reading}. */
    <T> T reading(Supplier<T> computation) {
        return file.reading(computation);
    }

    /** @throws IllegalStateException if a computation is reading the file */
    @Override
    public void close() {
        file.close();
    }

    private Value value(String key) {
        ValueType type = valueType(key);
        if (type != ValueType.ARRAY) {
            return new Value(type, false, 1, elements(key, type, 1));
        }
        ValueType elementType = valueType(key);
        if (elementType == ValueType.ARRAY) {
            throw fault(key + " is an array of arrays, which is not supported");
        }
        long count = int64("the length of " + key);
        long smallest = elementType == ValueType.STRING ? 8 : elementType.bytes();
        if (count < 0 || count > remaining() / smallest) {
            throw fault(key + " is said to have " + Long.toUnsignedString(count) + " elements, but " + remaining() + " bytes are left. The file is damaged or was cut short");
        }
        if (elementType == ValueType.STRING && count > GgufMetadata.MOST_ELEMENTS) {
            throw fault(key + " has " + count + " texts; at most " + GgufMetadata.MOST_ELEMENTS + " are read");
        }
        return new Value(elementType, true, count, elements(key, elementType, count));
    }

    /** Steps over {@code count} values and gives their bytes. */
    private MemorySegment elements(String key, ValueType type, long count) {
        long start = position;
        if (type == ValueType.STRING) {
            // A vocabulary has a hundred thousand of them: words for a fault are not put together for each.
            String length = "a length in " + key;
            String text = "a text of " + key;
            for (long i = 0; i < count; i++) {
                skip(int64(length), text);
            }
        } else {
            skip(count * type.bytes(), "the value of " + key);
        }
        return file.bytes().asSlice(start, position - start);
    }

    private ValueType valueType(String key) {
        int number = int32("the type of " + key);
        if (number < 0 || number >= ValueType.values().length) {
            throw fault(key + " is of the unknown type " + Integer.toUnsignedString(number));
        }
        return ValueType.values()[number];
    }

    private long alignment() {
        long alignment = metadata.integer("general.alignment").orElse(32);
        if (alignment < 1 || alignment > LARGEST_ALIGNMENT || Long.bitCount(alignment) != 1) {
            throw fault("general.alignment is " + alignment + "; a power of two up to " + LARGEST_ALIGNMENT + " is expected");
        }
        return alignment;
    }

    private Info info(long number) {
        String name = name("tensor number " + number);
        int dimensions = int32("the dimensions of " + name);
        if (dimensions < 1 || dimensions > MOST_DIMENSIONS) {
            throw fault("tensor " + name + " is said to have " + Integer.toUnsignedString(dimensions) + " dimensions; 1 to " + MOST_DIMENSIONS + " are possible");
        }
        Long[] shape = new Long[dimensions];
        for (int i = dimensions - 1; i >= 0; i--) {
            shape[i] = int64("the dimensions of " + name);
            if (shape[i] <= 0) {
                throw fault("tensor " + name + " has a dimension of " + Long.toUnsignedString(shape[i]));
            }
        }
        GgmlType type = GgmlType.of(int32("the type of " + name), path() + ": tensor " + name);
        long offset = int64("the place of " + name);
        return new Info(name, type, List.of(shape), offset, byteSize(name, type, shape));
    }

    private long byteSize(String name, GgmlType type, Long[] shape) {
        long row = shape[shape.length - 1];
        if (row % type.blockElements() != 0) {
            throw fault("tensor " + name + " has rows of " + row + " elements, which is no multiple of the " + type.blockElements() + " of a " + type + " block");
        }
        try {
            long bytes = Math.multiplyExact(row / type.blockElements(), type.blockBytes());
            for (int i = 0; i < shape.length - 1; i++) {
                bytes = Math.multiplyExact(bytes, shape[i]);
            }
            return bytes;
        } catch (ArithmeticException overflow) {
            throw fault("tensor " + name + " has the impossible shape " + List.of(shape));
        }
    }

    private void place(List<Info> infos, long alignment) {
        long start = (position + alignment - 1) / alignment * alignment;
        long available = Math.max(0, file.size() - start);
        infos.sort(Comparator.comparingLong(Info::offset));
        long end = 0;
        for (Info i : infos) {
            if (i.offset() < 0 || i.offset() % alignment != 0) {
                throw fault("tensor " + i.name() + " begins at byte " + Long.toUnsignedString(i.offset()) + " of the data, which is no multiple of " + alignment);
            }
            if (i.offset() < end) {
                throw fault("tensor " + i.name() + " begins at byte " + i.offset() + " of the data, inside the tensor before it, which ends at " + end);
            }
            if (i.bytes() > available || i.offset() > available - i.bytes()) {
                throw fault("tensor " + i.name() + " has " + i.bytes() + " bytes at " + i.offset() + ", but there are only " + available
                        + " bytes of data. The file was cut short: download it again");
            }
            end = i.offset() + i.bytes();
            MemorySegment data = file.bytes().asSlice(start + i.offset(), i.bytes());
            if (tensors.put(i.name(), new Tensor(i.name(), i.type(), i.shape(), data)) != null) {
                throw fault("the tensor " + i.name() + " is there twice");
            }
        }
    }

    private long count(String what, int smallest) {
        long count = int64("the number of " + what);
        if (count < 0 || count > MOST_ENTRIES || count > remaining() / smallest) {
            throw fault("it is said to have " + Long.toUnsignedString(count) + " " + what + ", but " + remaining() + " bytes follow and at most " + MOST_ENTRIES
                    + " are allowed. The file is damaged or was cut short: download it again");
        }
        return count;
    }

    private String name(String what) {
        long length = int64("the length of " + what);
        if (length < 0 || length > LONGEST_NAME) {
            throw fault("the name of " + what + " is said to have " + Long.toUnsignedString(length) + " bytes; at most " + LONGEST_NAME + " are possible");
        }
        nameBytes += length;
        if (nameBytes > LONGEST_NAMES) {
            throw fault("its keys and the names of its tensors have more than " + LONGEST_NAMES + " bytes. It is damaged: download it again");
        }
        long start = position;
        skip(length, "the name of " + what);
        return MappedFile.utf8(file.bytes().asSlice(start, length)).orElseThrow(() -> fault("the name of " + what + " is not UTF-8 text; the file is damaged"));
    }

    private int int32(String what) {
        skip(4, what);
        return file.bytes().get(MappedFile.I32, position - 4);
    }

    private long int64(String what) {
        skip(8, what);
        return file.bytes().get(MappedFile.I64, position - 8);
    }

    private void skip(long bytes, String what) {
        if (bytes < 0 || bytes > remaining()) {
            throw fault("the file ends within " + what + " (" + Long.toUnsignedString(bytes) + " bytes at " + position + ", " + remaining()
                    + " are left). It is damaged or was cut short: download it again");
        }
        position += bytes;
    }

    private long remaining() {
        return file.size() - position;
    }

    private PanaceaException fault(String message) {
        return new PanaceaException(path() + ": " + message);
    }
}
