package dev.panacea.optim;

import dev.panacea.kernels.AdamWStep;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.DeviceMemory;
import dev.panacea.kernels.DynamicMap;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.Moments8bit;
import dev.panacea.tensor.UseGuard;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/**
 * AdamW with moments in 8 bits, as bitsandbytes' {@code AdamW8bit} (Dettmers et al. 2022): blocks of 256 values, none of which reaches from one
 * tensor into the next; tensors of fewer than 4096 values keep moments in single precision. Of those the weight decay comes first, as
 * in {@link AdamW}; of the others last. The difference is of the order of learningRate² · weightDecay.
 */
public final class AdamW8bit implements Optimizer {
    /** Tensors with fewer values keep their moments in single precision. */
    private static final int SMALLEST = 4096;
    private static final int BLOCK = Moments8bit.BLOCK;

    /** Tensors side by side that one call updates, the moments of which stand from {@code state} on among those of their kind. */
    private record Run(long from, long length, boolean inBytes, long state) {}

    private final Kernels kernels;
    private final TrainableParameters parameters;
    private final AdamWStep constants;
    private final List<Run> runs = new ArrayList<>();
    private final long bytesEnd;
    private final long singlesEnd;
    private final DeviceMemory memory;
    private final UseGuard guard = new UseGuard("the optimizer", "have the threads take turns");
    private long step;

    /**
     * Takes the memory of the moments.
     *
     * @param eps added to the root of the second moment
     * @param weightDecay share of a value that a step at rate 1 takes away
     * @throws IllegalArgumentException naming the setting that is out of its range
     * @throws dev.panacea.kernels.PanaceaException if memory does not suffice
     */
    public AdamW8bit(Kernels kernels, TrainableParameters parameters, double beta1, double beta2, double eps, double weightDecay) {
        AdamW.check(beta1, beta2, eps, weightDecay);
        this.kernels = kernels;
        this.parameters = parameters;
        this.constants = new AdamWStep(1, 0, (float) beta1, (float) beta2, (float) eps, (float) weightDecay, 1);
        long at = 0;
        long bytes = 0;
        long singles = 0;
        for (long length : parameters.lengths()) {
            boolean inBytes = length >= SMALLEST;
            Run last = runs.isEmpty() ? new Run(0, 0, !inBytes, 0) : runs.getLast();
            // A tensor that ends with a whole block lets the next one begin with its own.
            if (last.inBytes() == inBytes && (!inBytes || last.length() % BLOCK == 0)) {
                runs.set(runs.size() - 1, new Run(last.from(), last.length() + length, inBytes, last.state()));
            } else {
                runs.add(new Run(at, length, inBytes, inBytes ? bytes : singles));
            }
            at += length;
            if (inBytes) {
                bytes += blocks(length) * BLOCK;
            } else {
                singles += length;
            }
        }
        this.bytesEnd = bytes;
        this.singlesEnd = singles;
        this.memory = kernels.allocate(levelsAt() + 2 * 4 * 256);
        kernels.upload(MemorySegment.ofArray(DynamicMap.SIGNED.levels()), memory.view(DType.F32, levelsAt(), 256));
        kernels.upload(MemorySegment.ofArray(DynamicMap.UNSIGNED.levels()), memory.view(DType.F32, levelsAt() + 4 * 256, 256));
    }

    @Override
    public void step(double learningRate, double gradScale) {
        guard.during(() -> parameters.guard().during(() -> {
            update(learningRate, gradScale);
            return null;
        }));
    }

    private void update(double learningRate, double gradScale) {
        step++;
        AdamWStep now = new AdamWStep((float) gradScale, (float) learningRate, constants.beta1(), constants.beta2(), constants.eps(), constants.weightDecay(), step);
        for (Run run : runs) {
            DeviceBuffer values = parameters.values().slice(run.from(), run.length());
            DeviceBuffer gradients = parameters.gradients().slice(run.from(), run.length());
            if (run.inBytes()) {
                kernels.adamW8bit(values, gradients, moments(run), run.length(), now);
            } else {
                long first = singlesAt() + 4 * run.state();
                kernels.adamW(values, gradients, memory.view(DType.F32, first, run.length()), memory.view(DType.F32, first + 4 * singlesEnd, run.length()), run.length(), now);
            }
        }
    }

    // The memory: codes of m, codes of v, absmax of m, absmax of v; moments in single precision, m and v; both maps.

    private Moments8bit moments(Run run) {
        long blocks = blocks(run.length());
        long absmax = 2 * bytesEnd + 4 * run.state() / BLOCK;
        return new Moments8bit(memory.view(DType.U8, run.state(), run.length()), memory.view(DType.U8, bytesEnd + run.state(), run.length()),
                memory.view(DType.F32, absmax, blocks), memory.view(DType.F32, absmax + 4 * (bytesEnd / BLOCK), blocks),
                memory.view(DType.F32, levelsAt(), 256), memory.view(DType.F32, levelsAt() + 4 * 256, 256));
    }

    private long singlesAt() {
        return 2 * bytesEnd + 2 * 4 * (bytesEnd / BLOCK);
    }

    private long levelsAt() {
        return singlesAt() + 2 * 4 * singlesEnd;
    }

    private static long blocks(long length) {
        return (length + BLOCK - 1) / BLOCK;
    }

    @Override
    public long byteSize() {
        return memory.byteSize();
    }

    @Override
    public void close() {
        if (guard.close()) {
            memory.close();
        }
    }
}
