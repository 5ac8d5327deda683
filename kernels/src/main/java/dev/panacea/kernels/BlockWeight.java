package dev.panacea.kernels;

/**
 * A weight in one of ggml's formats, byte for byte as a GGUF file holds it, so that a mapped file serves as it is.
 *
 * @param data U8, the rows one after another, each a whole number of blocks
 * @param pairDim 0 where the rows stand in order; else the head dimension d of a q or k projection whose rows llama.cpp has reordered: row
 *     {@code 2j + s} of every d stored rows is row {@code s * d/2 + j} of the matrix. All operations speak of the matrix's own order.
 */
public record BlockWeight(GgmlType type, DeviceBuffer data, int rows, int cols, int pairDim) implements Weight {
    public BlockWeight {
        Checks.positive("rows", rows);
        Checks.positive("cols", cols);
        if (!supports(type)) {
            throw new IllegalArgumentException("the kernels do not read " + type);
        }
        if (pairDim < 0 || pairDim % 2 != 0 || pairDim > 0 && rows % pairDim != 0) {
            throw new IllegalArgumentException("pairDim " + pairDim + " with " + rows + " rows: it must be even and divide the rows, or be 0");
        }
        Checks.typed("weight data", data, DType.U8, type.byteSize(cols) * rows);
    }

    /** Whether the kernels read weights of this type; the others have to be expanded. */
    public static boolean supports(GgmlType type) {
        return switch (type) {
            case F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K -> true;
            case Q2_K, Q3_K, IQ4_NL -> false;
        };
    }

    /** Where row {@code row} of the matrix is stored. */
    public int storedRow(int row) {
        if (pairDim == 0) {
            return row;
        }
        int inHead = row % pairDim;
        int half = pairDim / 2;
        return row - inHead + inHead % half * 2 + inHead / half;
    }

    @Override
    public long byteSize() {
        return data.byteSize();
    }
}
