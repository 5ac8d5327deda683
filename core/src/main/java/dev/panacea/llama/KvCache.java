package dev.panacea.llama;

import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.DeviceMemory;
import dev.panacea.kernels.Kernels;
import dev.panacea.tensor.StepArena;
import dev.panacea.tensor.UseGuard;
import java.util.BitSet;
import java.util.List;
import java.util.Optional;
import java.util.function.Supplier;

/**
 * Keys and values of the tokens so far, for {@code slots} sequences of up to {@code capacity} tokens, so that a new token costs one row.
 * Sequence i owns the rows from {@code i * capacity} on of every layer.
 *
 * <p>Threads: as {@link LlamaModel}: one at a time, and closing it while a model computes with it is an {@link IllegalStateException}.
 */
public final class KvCache implements AutoCloseable {
    private final UseGuard guard = new UseGuard("the cache", "give each thread a model and a cache of its own, or have them take turns");
    private final Kernels kernels;
    private final int layers;
    private final int slots;
    private final int capacity;
    private final int width;
    private final DType type;
    private final DeviceMemory memory;
    private final int[] lengths;
    /** Of each slot, what its keys and values were computed by. */
    private final Source[] sources;

    /** @param adapter the memory of the one that was attached */
    record Source(LlamaModel model, Optional<UseGuard> adapter) {}

    /**
     * @throws IllegalArgumentException if {@code slots} or {@code capacity} is not positive, or there are more rows than can be counted
     * @throws dev.panacea.kernels.PanaceaException if there is not enough memory
     */
    public KvCache(Kernels kernels, LlamaConfig config, DType type, int slots, int capacity) {
        if (slots < 1 || capacity < 1 || (long) slots * capacity > Integer.MAX_VALUE) {
            throw new IllegalArgumentException("a cache of " + slots + " slots for " + capacity + " tokens each: both must be positive, and all of them fewer than 2^31 tokens");
        }
        this.kernels = kernels;
        this.layers = config.numHiddenLayers();
        this.slots = slots;
        this.capacity = capacity;
        this.width = config.numKeyValueHeads() * config.headDim();
        this.type = type;
        this.memory = kernels.allocate(2L * config.numHiddenLayers() * slots * capacity * width * type.bytes());
        this.lengths = new int[slots];
        this.sources = new Source[slots];
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

    /**
     * Tokens that slot {@code i} holds.
     *
     * @throws IllegalArgumentException if there is no such slot
     */
    public int length(int i) {
        return lengths[checked(i)];
    }

    private int checked(int slot) {
        if (slot < 0 || slot >= slots) {
            throw new IllegalArgumentException("slot " + slot + " of a cache that has " + slots + ", numbered from 0");
        }
        return slot;
    }

    /** Something that uses the cache; nobody else can meanwhile. */
    <T> T during(Supplier<T> use) {
        return guard.during(use);
    }

    /** @throws IllegalArgumentException if it was not made for a model of this shape on these kernels */
    void requireFor(Kernels modelKernels, LlamaConfig config, DType activations) {
        if (kernels != modelKernels) {
            throw new IllegalArgumentException("the cache is in the memory of other kernels than the model's; make it by LlamaModel.newCache");
        }
        if (layers != config.numHiddenLayers() || width != config.numKeyValueHeads() * config.headDim() || type != activations) {
            throw new IllegalArgumentException("the cache has " + layers + " layers of " + width + " " + type + ", the model " + config.numHiddenLayers() + " of "
                    + config.numKeyValueHeads() * config.headDim() + " " + activations + "; make it by LlamaModel.newCache");
        }
    }

    /**
     * Where {@code tokens.get(i)} go that are appended to slot {@code active[i]}; they count as held once {@link #appended} says so.
     *
     * @throws IllegalArgumentException if a slot would overflow, there is no such slot, or one is named twice
     * @throws IllegalStateException if a slot holds tokens that another model or adapter has read: what it would predict from them is neither's
     */
    Append append(int[] active, List<int[]> tokens, Source source) {
        if (active.length == 0 || active.length != tokens.size()) {
            throw new IllegalArgumentException(tokens.size() + " texts for " + active.length + " slots: each slot that is named gets one, and there must be one at least");
        }
        BitSet seen = new BitSet();
        for (int slot : active) {
            if (seen.get(checked(slot))) {
                throw new IllegalArgumentException("slot " + slot + " is named twice in one call");
            }
            seen.set(slot);
            if (lengths[slot] > 0 && !sources[slot].equals(source)) {
                throw new IllegalStateException("slot " + slot + " of the cache holds what " + (sources[slot].model() == source.model() ? "this model has computed with another adapter, or without one"
                        : "another model has computed") + "; begin with a new cache");
            }
        }
        int total = tokens.stream().mapToInt(t -> t.length).sum();
        Append append = new Append(new int[total], new int[total], new int[total], new int[4 * active.length], longestWith(active, tokens));
        int at = 0;
        for (int i = 0; i < active.length; i++) {
            int[] t = tokens.get(i);
            int slot = active[i];
            int held = lengths[slot];
            if (held + t.length > capacity) {
                throw new IllegalArgumentException("a sequence of " + (held + t.length) + " tokens does not fit a cache of " + capacity);
            }
            for (int j = 0; j < t.length; j++) {
                append.ids[at + j] = t[j];
                append.positions[at + j] = held + j;
                append.rows[at + j] = slot * capacity + held + j;
            }
            append.table[4 * i] = at;
            append.table[4 * i + 1] = t.length;
            append.table[4 * i + 2] = slot * capacity;
            append.table[4 * i + 3] = held + t.length;
            at += t.length;
        }
        return append;
    }

    /** The keys and values of this batch have been computed. */
    void appended(int[] active, List<int[]> tokens, Source source) {
        for (int i = 0; i < active.length; i++) {
            sources[active[i]] = source;
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

    /**
     * New tokens of some slots.
     *
     * @param ids of the tokens, one slot's after the other's
     * @param positions of each in its text
     * @param rows of the cache that take its key and value
     * @param table [active slots, 4], see {@link Kernels#attention}
     * @param longest of the texts, with these tokens
     */
    record Append(int[] ids, int[] positions, int[] rows, int[] table, int longest) {
        int tokens() {
            return ids.length;
        }

        /** On the device, for one step. */
        Placed place(StepArena arena) {
            List<DeviceBuffer> placed = arena.ints(ids, positions, table, rows);
            return new Placed(new TokenBatch(ids.length, placed.get(0), placed.get(1), placed.get(2), table.length / 4), placed.get(3));
        }
    }

    /** @param rows I32 [tokens], where the new keys and values go */
    record Placed(TokenBatch batch, DeviceBuffer rows) {}

    /**
     * Frees its memory; closing twice does nothing.
     *
     * @throws IllegalStateException if a model is computing with it
     */
    @Override
    public void close() {
        if (guard.close()) {
            memory.close();
        }
    }
}
