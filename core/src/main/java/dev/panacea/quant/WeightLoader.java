package dev.panacea.quant;

import dev.panacea.io.ByteCount;
import dev.panacea.io.Checkpoint;
import dev.panacea.kernels.BlockWeight;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.DenseWeight;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.DeviceMemory;
import dev.panacea.kernels.GgmlType;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.Q4Weight;
import dev.panacea.kernels.QuantType;
import dev.panacea.kernels.Weight;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.EnumSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Collectors;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** Brings the tensors of a checkpoint to the device, some rows at a time, and owns their memory. For one thread. */
public final class WeightLoader implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(WeightLoader.class);
    private static final int BLOCK = 64;
    /** Elements converted at a time; a multiple of every block size, so that no block is cut. */
    private static final int CHUNK = 1 << 20;

    private final Kernels kernels;
    private final Checkpoint checkpoint;
    private final List<DeviceMemory> owned = new ArrayList<>();
    private float[] floats = new float[CHUNK];
    private final DeviceMemory staging;
    private final Set<GgmlType> expandedTypes = EnumSet.noneOf(GgmlType.class);
    private long expandedFrom;
    private long expandedTo;
    private long bytes;
    private long mappedBytes;
    private DeviceBuffer nf4Levels;
    private DeviceBuffer nestedLevels;

    public WeightLoader(Kernels kernels, Checkpoint checkpoint) {
        this.kernels = kernels;
        this.checkpoint = checkpoint;
        this.staging = kernels.allocate(4L * CHUNK);
    }

    /** A tensor's values in {@code type}, flattened. */
    public DeviceBuffer values(String name, DType type) {
        long n = elements(name);
        DeviceBuffer target = own(type, n);
        eachChunk(name, n, (source, from, count) -> kernels.copy(source, target.slice(from, count), count, false));
        return target;
    }

    /** A matrix as it is, in {@code type}. */
    public Weight dense(String name, DType type) {
        long[] shape = matrix(name);
        return new DenseWeight(values(name, type), (int) shape[0], (int) shape[1]);
    }

    /**
     * A matrix in 4 bits: NF4 in blocks of 64 with double quantization. Of a checkpoint that bitsandbytes has quantized it is the codes that are there, and
     * as {@link #dense} where there are none: whoever made it left that layer out on purpose.
     *
     * @param type of the layers that were left out
     */
    public Weight nf4(String name, DType type) {
        long[] shape = matrix(name);
        Optional<Checkpoint.Stored4Bit> stored = checkpoint.stored4Bit(name);
        if (stored.isPresent()) {
            return stored(shape, stored.get());
        }
        return checkpoint.quantizedByBitsandbytes() ? dense(name, type) : quantized(name, shape);
    }

    /**
     * A matrix as its file holds it: ggml's blocks or plain numbers, mapped where the device reads host memory, or the 4-bit weights of
     * bitsandbytes; else, and where the kernels do not read the blocks, as {@link #dense}. A device with memory of its own gets plain numbers in
     * {@code type}. What is mapped lives as long as the checkpoint is open.
     */
    public Weight kept(String name, DType type) {
        Optional<Checkpoint.Stored4Bit> quantized = checkpoint.stored4Bit(name);
        if (quantized.isPresent()) {
            return stored(matrix(name), quantized.get());
        }
        Optional<Checkpoint.StoredBlocks> blocks = checkpoint.storedBlocks(name);
        if (blocks.isEmpty() || !BlockWeight.supports(blocks.get().type())) {
            return expanded(name, type, blocks);
        }
        boolean numbers = blocks.get().type().blockElements() == 1;
        return numbers && !kernels.readsHostMemory() ? numbers(matrix(name), blocks.get(), type) : kept(matrix(name), blocks.get());
    }

    /** Plain numbers in the order of the matrix: a device that has a copy of its own need not convert them, and put their rows in order, for every product. */
    private Weight numbers(long[] shape, Checkpoint.StoredBlocks s, DType type) {
        int rows = (int) shape[0];
        int cols = (int) shape[1];
        long rowBytes = s.type().byteSize(cols);
        // Rows change places within their head only.
        int head = Math.max(1, s.pairDim());
        int atATime = (int) Math.min(rows, head * Math.max(1, 4L * CHUNK / (head * rowBytes)));
        DeviceBuffer target = own(type, (long) rows * cols);
        try (DeviceMemory piece = kernels.allocate(atATime * rowBytes)) {
            for (int from = 0; from < rows; from += atATime) {
                int count = Math.min(atATime, rows - from);
                DeviceBuffer stored = piece.view(DType.U8, 0, count * rowBytes);
                kernels.upload(s.data().asSlice(from * rowBytes, count * rowBytes), stored);
                kernels.dequantize(new BlockWeight(s.type(), stored, count, cols, s.pairDim()), target.slice((long) from * cols, (long) count * cols));
            }
        }
        return new DenseWeight(target, rows, cols);
    }

    private Weight kept(long[] shape, Checkpoint.StoredBlocks s) {
        DeviceBuffer data;
        if (kernels.readsHostMemory()) {
            data = DeviceBuffer.ofHost(DType.U8, s.data());
            mappedBytes += data.byteSize();
        } else {
            data = upload(DType.U8, s.data());
        }
        return new BlockWeight(s.type(), data, (int) shape[0], (int) shape[1], s.pairDim());
    }

    private Weight expanded(String name, DType type, Optional<Checkpoint.StoredBlocks> blocks) {
        Weight weight = dense(name, type);
        blocks.ifPresent(b -> {
            expandedTypes.add(b.type());
            expandedFrom += b.data().byteSize();
            expandedTo += weight.byteSize();
        });
        return weight;
    }

    private Weight quantized(String name, long[] shape) {
        long n = shape[0] * shape[1];
        DeviceBuffer packed = own(DType.U8, (n + 1) / 2);
        int blocks = Math.toIntExact((n + BLOCK - 1) / BLOCK);
        float[] absmax = new float[blocks];
        try (DeviceMemory scales = kernels.allocate(4L * blocks)) {
            DeviceBuffer plain = scales.view(DType.F32, 0, blocks);
            eachChunk(name, n, (source, from, count) -> kernels.quantize4(QuantType.NF4, source, count, BLOCK, packed.slice(from / 2, (count + 1) / 2),
                    plain.slice(from / BLOCK, (count + BLOCK - 1) / BLOCK)));
            kernels.download(plain, MemorySegment.ofArray(absmax));
        }
        DoubleQuantization second = DoubleQuantization.of(absmax);
        DeviceBuffer codes = upload(DType.U8, MemorySegment.ofArray(second.codes()));
        DeviceBuffer scale = upload(DType.F32, MemorySegment.ofArray(second.scale()));
        if (nf4Levels == null) {
            nf4Levels = upload(DType.F32, MemorySegment.ofArray(QuantType.NF4.levels()));
            nestedLevels = upload(DType.F32, MemorySegment.ofArray(DoubleQuantization.levels()));
        }
        return new Q4Weight((int) shape[0], (int) shape[1], BLOCK, packed, nf4Levels, codes, Optional.of(new Q4Weight.Nested(nestedLevels, scale, second.offset())));
    }

    private Weight stored(long[] shape, Checkpoint.Stored4Bit s) {
        DeviceBuffer packed = upload(DType.U8, s.packed());
        DeviceBuffer levels = upload(DType.F32, MemorySegment.ofArray(s.type().levels()));
        DeviceBuffer absmax = upload(s.nested().isPresent() ? DType.U8 : DType.F32, s.absmax());
        Optional<Q4Weight.Nested> nested = s.nested().map(d -> new Q4Weight.Nested(upload(DType.F32, d.levels()), upload(DType.F32, d.scale()), d.offset()));
        return new Q4Weight((int) shape[0], (int) shape[1], s.blockSize(), packed, levels, absmax, nested);
    }

    private interface ChunkTarget {
        void take(DeviceBuffer source, long from, int count);
    }

    private void eachChunk(String name, long n, ChunkTarget target) {
        for (long from = 0; from < n; from += CHUNK) {
            int count = (int) Math.min(CHUNK, n - from);
            checkpoint.read(name, from, count, floats);
            DeviceBuffer source = staging.view(DType.F32, 0, count);
            kernels.upload(MemorySegment.ofArray(floats).asSlice(0, count * ValueLayout.JAVA_FLOAT.byteSize()), source);
            target.take(source, from, count);
        }
    }

    private long elements(String name) {
        long n = 1;
        for (long d : checkpoint.shape(name)) {
            n = Math.multiplyExact(n, d);
        }
        return n;
    }

    private long[] matrix(String name) {
        long[] shape = checkpoint.shape(name);
        if (shape.length != 2 || shape[0] > Integer.MAX_VALUE || shape[1] > Integer.MAX_VALUE) {
            throw new IllegalArgumentException(name + " is not a matrix");
        }
        return shape;
    }

    private DeviceBuffer upload(DType type, MemorySegment source) {
        DeviceBuffer target = own(type, source.byteSize() / type.bytes());
        kernels.upload(source, target);
        return target;
    }

    private DeviceBuffer own(DType type, long length) {
        DeviceMemory memory = kernels.allocate(Math.max(64, length * type.bytes()));
        owned.add(memory);
        bytes += length * type.bytes();
        return memory.view(type, 0, length);
    }

    /** Frees the staging memory; the weights stay. Tells of what could not be kept as it is. */
    public void finish() {
        staging.close();
        floats = new float[0];
        if (!expandedTypes.isEmpty()) {
            LOG.warn("{}: tensors of type {} are held expanded, in {} instead of {}, since the kernels do not read that type. A file of another type needs less memory",
                    checkpoint.description(), expandedTypes.stream().map(GgmlType::name).collect(Collectors.joining(", ")), ByteCount.text(expandedTo),
                    ByteCount.text(expandedFrom));
        }
    }

    /** Bytes of the tensors brought so far that lie in memory allocated for them. */
    public long bytes() {
        return bytes;
    }

    /** Bytes of those that are used where they are mapped. */
    public long mappedBytes() {
        return mappedBytes;
    }

    /** Frees the weights. */
    @Override
    public void close() {
        owned.forEach(DeviceMemory::close);
        owned.clear();
    }
}
