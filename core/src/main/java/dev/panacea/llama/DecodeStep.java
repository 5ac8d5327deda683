package dev.panacea.llama;

import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.DeviceMemory;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.RepeatedCalls;
import dev.panacea.tensor.PlanningKernels;
import java.lang.foreign.MemorySegment;
import java.util.function.Function;

/**
 * The step that appends one token to each of some slots of a cache. While its {@link Place} stays the same, it consists of the same calls on the same
 * buffers every time, so that a device may run them as one ({@link Kernels#repeated}); what differs (ids, positions, rows, lengths) is
 * uploaded before.
 */
final class DecodeStep implements AutoCloseable {
    private final Kernels kernels;
    private final Place place;
    private final DeviceMemory memory;
    private final KvCache.Placed inputs;
    private final RepeatedCalls calls;
    private DeviceBuffer logits;

    /**
     * What the addresses and shapes of the calls depend on, next to the model and its adapter.
     *
     * @param cache by identity
     * @param sequences slots that get a token
     * @param arenaBlocks how many blocks of memory the arena has had
     * @param angles the table of rotary angles, by identity: it is another one when texts get longer than it
     */
    record Place(KvCache cache, int sequences, int arenaBlocks, DeviceBuffer angles) {}

    /** @param forward computes the logits F32 [sequences, vocab] of the inputs, and gives the same buffer every time */
    DecodeStep(Kernels kernels, Place place, Function<KvCache.Placed, DeviceBuffer> forward) {
        this.kernels = kernels;
        this.place = place;
        int n = place.sequences();
        memory = kernels.allocate(4L * 7 * n);
        inputs = inputs(n, memory);
        calls = kernels.repeated(() -> logits = forward.apply(inputs));
    }

    /** Inputs that are nowhere, to find out what the step needs. */
    static KvCache.Placed planned(int sequences) {
        return inputs(sequences, PlanningKernels.INSTANCE.allocate(4L * 7 * sequences));
    }

    private static KvCache.Placed inputs(int n, DeviceMemory memory) {
        DeviceBuffer all = memory.view(DType.I32);
        return new KvCache.Placed(new TokenBatch(n, all.slice(0, n), all.slice(n, n), all.slice(3L * n, 4L * n), n), all.slice(2L * n, n));
    }

    Place place() {
        return place;
    }

    /** The logits after these tokens; gone with the next step of any kind. */
    DeviceBuffer run(KvCache.Append append) {
        int n = place.sequences();
        int[] all = new int[7 * n];
        System.arraycopy(append.ids(), 0, all, 0, n);
        System.arraycopy(append.positions(), 0, all, n, n);
        System.arraycopy(append.rows(), 0, all, 2 * n, n);
        System.arraycopy(append.table(), 0, all, 3 * n, 4 * n);
        kernels.upload(MemorySegment.ofArray(all), memory.view(DType.I32));
        calls.run();
        return logits;
    }

    @Override
    public void close() {
        calls.close();
        memory.close();
    }
}
