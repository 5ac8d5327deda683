package dev.panacea.llama;

import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.DeviceMemory;
import dev.panacea.kernels.Kernels;
import dev.panacea.tensor.StepArena;
import java.util.List;

/**
 * Keys and values of the tokens so far, for {@code slots} sequences of up to {@code capacity} tokens, so that a new token costs one row.
 * Sequence i owns the rows from {@code i * capacity} on of every layer.
 */
public final class KvCache implements AutoCloseable {
    private final int slots;
    private final int capacity;
    private final int width;
    private final DType type;
    private final DeviceMemory memory;
    private final int[] lengths;

    /** @throws dev.panacea.kernels.PanaceaException if there is not enough memory */
    public KvCache(Kernels kernels, LlamaConfig config, DType type, int slots, int capacity) {
        this.slots = slots;
        this.capacity = capacity;
        this.width = config.numKeyValueHeads() * config.headDim();
        this.type = type;
        this.lengths = new int[slots];
        this.memory = kernels.allocate(2L * config.numHiddenLayers() * slots * capacity * width * type.bytes());
    }

    DeviceBuffer keys(int layer) {
        return view(2 * layer);
    }

    DeviceBuffer values(int layer) {
        return view(2 * layer + 1);
    }

    private DeviceBuffer view(int index) {
        long elements = (long) slots * capacity * width;
        return memory.view(type, index * elements * type.bytes(), elements);
    }

    /** Tokens that slot {@code i} holds. */
    public int length(int i) {
        return lengths[i];
    }

    /**
     * The batch that appends {@code tokens.get(i)} to slot {@code active[i]}; they count as held once {@link #appended} says so.
     *
     * @throws IllegalArgumentException if a slot would overflow
     */
    Append append(StepArena arena, int[] active, List<int[]> tokens) {
        int total = tokens.stream().mapToInt(t -> t.length).sum();
        int[] ids = new int[total];
        int[] positions = new int[total];
        int[] rows = new int[total];
        int[] table = new int[4 * active.length];
        int at = 0;
        int longest = 0;
        for (int i = 0; i < active.length; i++) {
            int[] t = tokens.get(i);
            int slot = active[i];
            int held = lengths[slot];
            if (held + t.length > capacity) {
                throw new IllegalArgumentException("a sequence of " + (held + t.length) + " tokens does not fit a cache of " + capacity);
            }
            for (int j = 0; j < t.length; j++) {
                ids[at + j] = t[j];
                positions[at + j] = held + j;
                rows[at + j] = slot * capacity + held + j;
            }
            table[4 * i] = at;
            table[4 * i + 1] = t.length;
            table[4 * i + 2] = slot * capacity;
            table[4 * i + 3] = held + t.length;
            at += t.length;
            longest = Math.max(longest, held + t.length);
        }
        TokenBatch batch = new TokenBatch(total, longest, arena.ints(ids), arena.ints(positions), arena.ints(table), active.length);
        return new Append(batch, arena.ints(rows));
    }

    /** The keys and values of this batch have been computed. */
    void appended(int[] active, List<int[]> tokens) {
        for (int i = 0; i < active.length; i++) {
            lengths[active[i]] += tokens.get(i).length;
        }
    }

    /** Length of the longest sequence after these tokens. */
    int longestWith(int[] active, List<int[]> tokens) {
        int longest = 0;
        for (int i = 0; i < active.length; i++) {
            longest = Math.max(longest, lengths[active[i]] + tokens.get(i).length);
        }
        return longest;
    }

    /** @param rows I32 [tokens], where the new keys and values go */
    record Append(TokenBatch batch, DeviceBuffer rows) {}

    @Override
    public void close() {
        memory.close();
    }
}
