package dev.panacea.kernels.cuda;

import java.util.HashMap;
import java.util.Map;

/**
 * Working memory of the kernels, by purpose: what stands in one is gone with the next call that asks for the same. It grows to what the
 * largest call needs and is kept.
 */
public final class CudaScratch {
    private final CudaAllocator allocator;
    private final Map<String, Block> blocks = new HashMap<>();

    private long moves;

    private record Block(long address, long bytes) {}

    public CudaScratch(CudaAllocator allocator) {
        this.allocator = allocator;
    }

    /** The address of at least {@code bytes} bytes of any content for this purpose. */
    public long at(String purpose, long bytes) {
        Block block = blocks.get(purpose);
        if (block == null || block.bytes() < bytes) {
            if (block != null) {
                blocks.remove(purpose);
                moves++;
                allocator.free(block.address());
            }
            block = new Block(allocator.allocate(bytes), bytes);
            blocks.put(purpose, block);
        }
        return block.address();
    }

    /** How many times memory has grown and moved: an address given out before the last of them may be gone. */
    public long moves() {
        return moves;
    }

    /** Bytes held. */
    public long bytes() {
        return blocks.values().stream().mapToLong(Block::bytes).sum();
    }
}
