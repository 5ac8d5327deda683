package dev.panacea.io;

import dev.panacea.kernels.PanaceaException;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.OptionalLong;
import java.util.Set;
import java.util.function.Predicate;

/**
 * The key-value part of a GGUF file. Values stay in the mapped file until they are asked for; one of another type than asked for is an
 * error that names file and key.
 */
public final class GgufMetadata {
    private static final long LONGEST_STRING = 16L << 20;
    /** Of an array: eight times as many as the largest vocabularies have. */
    static final long MOST_ELEMENTS = 1L << 21;
    /** Of an array, in bytes. */
    private static final long LONGEST_ARRAY = 64L << 20;

    /** Types of values; the number in the file is the ordinal. */
    enum ValueType {
        U8(1), I8(1), U16(2), I16(2), U32(4), I32(4), F32(4), BOOL(1), STRING(0), ARRAY(0), U64(8), I64(8), F64(8);

        private final int bytes;

        ValueType(int bytes) {
            this.bytes = bytes;
        }

        /** Bytes of a value; 0 where it depends. */
        int bytes() {
            return bytes;
        }

        boolean isInteger() {
            return this != F32 && this != F64 && this != BOOL && this != STRING && this != ARRAY;
        }
    }

    /** @param count elements; 1 for a single value @param data for strings each with 8 bytes of length before it */
    record Value(ValueType type, boolean array, long count, MemorySegment data) {}

    private final MappedFile file;
    private final Path path;
    private final Map<String, Value> values;

    GgufMetadata(MappedFile file, Map<String, Value> values) {
        this.file = file;
        this.path = file.path();
        this.values = Collections.unmodifiableMap(values);
    }

    /** All keys, in the order of the file. */
    public Set<String> keys() {
        return values.keySet();
    }

    public Optional<String> string(String key) {
        return single(key, "a string", ValueType.STRING).map(v -> file.reading(() -> texts(key, v)).getFirst());
    }

    public Optional<Boolean> bool(String key) {
        return single(key, "a truth value", ValueType.BOOL).map(v -> file.reading(() -> v.data().get(MappedFile.U8, 0)) != 0);
    }

    /** A whole number of any width. */
    public OptionalLong integer(String key) {
        Value v = values.get(key);
        if (v == null) {
            return OptionalLong.empty();
        }
        if (v.array() || !v.type().isInteger()) {
            throw wrongType(key, v, "a whole number");
        }
        return OptionalLong.of(file.reading(() -> integerAt(key, v, 0)));
    }

    /** A floating-point number of either width. */
    public OptionalDouble number(String key) {
        Value v = values.get(key);
        if (v == null) {
            return OptionalDouble.empty();
        }
        if (v.array() || v.type() != ValueType.F32 && v.type() != ValueType.F64) {
            throw wrongType(key, v, "a floating-point number");
        }
        return OptionalDouble.of(file.reading(() -> floatAt(v, 0)));
    }

    /** A single number of any type, or a truth value as 1 or 0; empty for texts and arrays, and if there is no such key. */
    OptionalDouble scalar(String key) {
        Value v = values.get(key);
        if (v == null || v.array() || v.type() == ValueType.STRING) {
            return OptionalDouble.empty();
        }
        return OptionalDouble.of(v.type() == ValueType.BOOL ? v.data().get(MappedFile.U8, 0) == 0 ? 0 : 1
                : v.type().isInteger() ? integerAt(key, v, 0) : floatAt(v, 0));
    }

    /** A number for people: whole ones without a fraction, and no digits that single precision does not have. */
    static String plain(double value) {
        return value == (long) value ? Long.toString((long) value) : value == (float) value ? Float.toString((float) value) : Double.toString(value);
    }

    /** Elements of an array, 1 for a single value, 0 if there is no such key. */
    public long length(String key) {
        return values.containsKey(key) ? values.get(key).count() : 0;
    }

    /** The texts of an array; empty if there is no such key. */
    public List<String> strings(String key) {
        return array(key, "an array of strings", v -> v.type() == ValueType.STRING).map(v -> file.reading(() -> texts(key, v))).orElse(List.of());
    }

    /** The numbers of an array of whole numbers of any width; empty if there is no such key. */
    public int[] ints(String key) {
        return array(key, "an array of whole numbers", v -> v.type().isInteger()).map(v -> file.reading(() -> {
            int[] result = new int[(int) v.count()];
            for (int i = 0; i < result.length; i++) {
                long n = integerAt(key, v, i);
                if (n != (int) n) {
                    throw new PanaceaException(path + ": " + key + " holds the number " + n + ", which is too large");
                }
                result[i] = (int) n;
            }
            return result;
        })).orElse(new int[0]);
    }

    /** The numbers of an array of floating-point numbers; empty if there is no such key. */
    public float[] floats(String key) {
        return array(key, "an array of floating-point numbers", v -> v.type() == ValueType.F32 || v.type() == ValueType.F64).map(v -> file.reading(() -> {
            float[] result = new float[(int) v.count()];
            for (int i = 0; i < result.length; i++) {
                result[i] = (float) floatAt(v, i);
            }
            return result;
        })).orElse(new float[0]);
    }

    private Optional<Value> single(String key, String wanted, ValueType type) {
        Value v = values.get(key);
        if (v != null && (v.array() || v.type() != type)) {
            throw wrongType(key, v, wanted);
        }
        return Optional.ofNullable(v);
    }

    private Optional<Value> array(String key, String wanted, Predicate<Value> fits) {
        Value v = values.get(key);
        if (v != null && (!v.array() || !fits.test(v))) {
            throw wrongType(key, v, wanted);
        }
        if (v != null && v.count() > MOST_ELEMENTS) {
            throw new PanaceaException(path + ": " + key + " has " + v.count() + " elements; at most " + MOST_ELEMENTS + " are read");
        }
        if (v != null && v.data().byteSize() > LONGEST_ARRAY) {
            throw new PanaceaException(path + ": " + key + " has " + v.data().byteSize() + " bytes; at most " + LONGEST_ARRAY + " are read");
        }
        return Optional.ofNullable(v);
    }

    private List<String> texts(String key, Value v) {
        List<String> texts = new ArrayList<>((int) v.count());
        long position = 0;
        for (long i = 0; i < v.count(); i++) {
            long length = v.data().get(MappedFile.I64, position);
            if (length > LONGEST_STRING) {
                throw new PanaceaException(path + ": " + key + " has a text of " + length + " bytes; at most " + LONGEST_STRING + " are read");
            }
            byte[] bytes = new byte[(int) length];
            MemorySegment.copy(v.data(), MappedFile.U8, position + 8, bytes, 0, bytes.length);
            texts.add(MappedFile.utf8(bytes)
                    .orElseThrow(() -> new PanaceaException(path + ": " + key + " is not UTF-8 text; the file is damaged, download it again")));
            position += 8 + length;
        }
        return Collections.unmodifiableList(texts);
    }

    private long integerAt(String key, Value v, long i) {
        MemorySegment d = v.data();
        long n = switch (v.type()) {
            case U8 -> d.get(MappedFile.U8, i) & 0xff;
            case I8 -> d.get(MappedFile.U8, i);
            case U16 -> d.get(MappedFile.I16, i * 2) & 0xffff;
            case I16 -> d.get(MappedFile.I16, i * 2);
            case U32 -> d.get(MappedFile.I32, i * 4) & 0xffffffffL;
            case I32 -> d.get(MappedFile.I32, i * 4);
            default -> d.get(MappedFile.I64, i * 8);
        };
        if (v.type() == ValueType.U64 && n < 0) {
            throw new PanaceaException(path + ": " + key + " is " + Long.toUnsignedString(n) + ", which is too large");
        }
        return n;
    }

    private static double floatAt(Value v, long i) {
        return v.type() == ValueType.F32 ? v.data().get(MappedFile.F32, i * 4) : v.data().get(MappedFile.F64, i * 8);
    }

    private PanaceaException wrongType(String key, Value v, String wanted) {
        return new PanaceaException(path + ": " + key + " is " + (v.array() ? "an array of " : "a single ") + v.type() + "; " + wanted + " is expected. Convert the model again with a current llama.cpp");
    }
}
