package dev.panacea.kernels;

import java.util.Arrays;
import java.util.Map;
import java.util.stream.Collectors;

/** Types of ggml's tensors (GGUF files) that can be read: their number in the file, elements per block, bytes per block. */
public enum GgmlType {
    F32(0, 1, 4),
    F16(1, 1, 2),
    Q4_0(2, 32, 18),
    Q4_1(3, 32, 20),
    Q5_0(6, 32, 22),
    Q5_1(7, 32, 24),
    Q8_0(8, 32, 34),
    Q2_K(10, 256, 84),
    Q3_K(11, 256, 110),
    Q4_K(12, 256, 144),
    Q5_K(13, 256, 176),
    Q6_K(14, 256, 210),
    IQ4_NL(20, 32, 18),
    BF16(30, 1, 2);

    private static final Map<Integer, String> OTHERS = Map.ofEntries(Map.entry(4, "Q4_2"), Map.entry(5, "Q4_3"), Map.entry(9, "Q8_1"), Map.entry(15, "Q8_K"),
            Map.entry(16, "IQ2_XXS"), Map.entry(17, "IQ2_XS"), Map.entry(18, "IQ3_XXS"), Map.entry(19, "IQ1_S"), Map.entry(21, "IQ3_S"), Map.entry(22, "IQ2_S"),
            Map.entry(23, "IQ4_XS"), Map.entry(24, "I8"), Map.entry(25, "I16"), Map.entry(26, "I32"), Map.entry(27, "I64"), Map.entry(28, "F64"),
            Map.entry(29, "IQ1_M"), Map.entry(34, "TQ1_0"), Map.entry(35, "TQ2_0"), Map.entry(39, "MXFP4"), Map.entry(40, "NVFP4"));

    private final int id;
    private final int blockElements;
    private final int blockBytes;

    GgmlType(int id, int blockElements, int blockBytes) {
        this.id = id;
        this.blockElements = blockElements;
        this.blockBytes = blockBytes;
    }

    /** Elements that share a scale. */
    public int blockElements() {
        return blockElements;
    }

    /** Bytes of a block. */
    public int blockBytes() {
        return blockBytes;
    }

    /** Bytes of so many elements, a whole number of blocks. */
    public long byteSize(long elements) {
        if (elements % blockElements != 0) {
            throw new IllegalArgumentException(elements + " elements are not a whole number of blocks of " + blockElements + " (" + this + ")");
        }
        return Math.multiplyExact(elements / blockElements, blockBytes);
    }

    /**
     * The type of a number in a file.
     *
     * @throws PanaceaException beginning with {@code where}, if the number is none of a readable type
     */
    public static GgmlType of(int id, String where) {
        return Arrays.stream(values()).filter(t -> t.id == id).findFirst().orElseThrow(() -> new PanaceaException(where + " is of type "
                + OTHERS.getOrDefault(id, "number " + Integer.toUnsignedString(id)) + ", which cannot be read; choose a file of one of the types "
                + Arrays.stream(values()).map(GgmlType::name).collect(Collectors.joining(", "))));
    }
}
