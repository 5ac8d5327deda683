package dev.panacea.io;

import dev.panacea.kernels.GgmlType;
import dev.panacea.kernels.QuantType;
import dev.panacea.llama.LlamaConfig;
import java.lang.foreign.MemorySegment;
import java.util.Optional;
import java.util.Set;
import java.util.function.Supplier;

/**
 * A model on disk, whatever its format, by the tensor names and row orders of Hugging Face ({@code model.layers.0.self_attn.q_proj.weight};
 * the rows of q and k in half-split order). Files are mapped; nothing is read before it is asked for.
 *
 * <p>Threads: any number of threads may read, each through a model of its own. Closing is refused with an {@link IllegalStateException} while one of them does, and so is
 * reading after closing; closing twice does nothing. A file that is shortened, written to or lost while it is read is a
 * {@link dev.panacea.kernels.PanaceaException} that names it.
 */
public interface Checkpoint extends AutoCloseable {
    LlamaConfig config();

    /** What and where, for a person: {@code "SmolLM2-135M-Instruct.Q4_1.gguf (GGUF Q4_1, 98 MB)"}. */
    String description();

    /** Whether bitsandbytes has quantized it: the matrices that are not in 4 bits were left out on purpose. */
    default boolean quantizedByBitsandbytes() {
        return false;
    }

    /** The name of the .gguf file that it is, if it is one. */
    default Optional<String> ggufFile() {
        return Optional.empty();
    }

    /** Names of all tensors. */
    Set<String> names();

    /**
     * The shape, outermost dimension first: {@code [out, in]} of a linear layer.
     *
     * @throws dev.panacea.kernels.PanaceaException if there is no such tensor
     */
    long[] shape(String name);

    /** The stored type, such as {@code "BF16"}, {@code "Q4_1"} or {@code "NF4"}. */
    String storedType(String name);

    /** Values {@code offset} to {@code offset + count} of the flattened tensor as floats, into the start of {@code destination}. */
    void read(String name, long offset, int count, float[] destination);

    /**
     * A matrix as it is stored, if it is in one of ggml's formats, of which plain F32, F16 and BF16 are three; the segment is part of the mapped
     * file and lives as long as this checkpoint is open.
     *
     * @throws dev.panacea.kernels.PanaceaException if there is no such tensor, or one of its values is not finite
     */
    default Optional<StoredBlocks> storedBlocks(String name) {
        return Optional.empty();
    }

    /**
     * A matrix in one of ggml's formats.
     *
     * @param pairDim as in {@link dev.panacea.kernels.BlockWeight}
     */
    record StoredBlocks(GgmlType type, MemorySegment data, int pairDim) {}

    /** The stored 4-bit form, where bitsandbytes quantized this tensor. */
    Optional<Stored4Bit> stored4Bit(String name);

    /**
     * A weight as bitsandbytes stores it; the segments are parts of the mapped file.
     *
     * @param packed (n+1)/2 bytes
     * @param absmax F32 per block, or U8 codes when nested
     */
    record Stored4Bit(QuantType type, int blockSize, MemorySegment packed, MemorySegment absmax, Optional<Nested> nested) {
        /** @param levels 256 F32; @param scale F32, one per 256 blocks */
        public record Nested(MemorySegment levels, MemorySegment scale, float offset) {}
    }

    /**
     * What a computation gives that reads the segments of this checkpoint, such as a step of a model whose weights are mapped: meanwhile it cannot be closed, and the
     * result counts only if the files are what they were.
     *
     * @throws IllegalStateException if this checkpoint has been closed
     * @throws dev.panacea.kernels.PanaceaException if a file has been changed since it was opened, or cannot be read any more
     */
    default <T> T reading(Supplier<T> computation) {
        return computation.get();
    }

    /**
     * Unmaps the files.
     *
     * @throws IllegalStateException if a computation is reading them
     */
    @Override
    void close();
}
