package dev.panacea.train;

import dev.panacea.io.ByteCount;
import java.util.List;
import java.util.OptionalLong;

/**
 * What a training run will need at its peak, in bytes, known before its first step: of RAM, or of the device's own memory where it has one.
 *
 * @param onDevice whether this is about the device's own memory
 * @param weights of the model, with its tables
 * @param adapter trained values and their gradients
 * @param optimizer its states
 * @param step activations, gradients and temporaries of the largest micro-batch: one block, allocated before the first step
 * @param logits the part of {@code step} that holds logits and their gradient
 * @param scratch memory that the kernels take for themselves
 * @param rest Java and everything else, as measured before the first step; 0 where the system does not tell
 * @param missing the part of {@link #total()} that is not taken yet
 * @param available bytes that this process could still get when the plan was made; empty where the system does not tell
 * @param checkpointing whether activations are computed again instead of kept
 * @param reason why, in words
 */
public record MemoryPlan(
        boolean onDevice,
        long weights,
        long adapter,
        long optimizer,
        long step,
        long logits,
        long scratch,
        long rest,
        long missing,
        OptionalLong available,
        boolean checkpointing,
        String reason) {

    MemoryPlan because(String why) {
        return new MemoryPlan(onDevice, weights, adapter, optimizer, step, logits, scratch, rest, missing, available, checkpointing, why);
    }

    /** The peak. */
    public long total() {
        return weights + adapter + optimizer + step + scratch + rest;
    }

    /** The plan in three lines for people. */
    public List<String> lines() {
        return List.of(
                (onDevice ? "GPU memory" : "Memory") + " at the peak of training: " + ByteCount.text(total()) + ", of which one step " + ByteCount.text(step) + " (logits " + ByteCount.text(logits) + ")",
                "  weights " + ByteCount.text(weights) + ", adapter and optimizer " + ByteCount.text(adapter + optimizer) + ", kernels " + ByteCount.text(scratch)
                        + (rest > 0 ? (onDevice ? ", other buffers " : ", Java and the rest ") + ByteCount.text(rest) : ""),
                "Gradient checkpointing is " + (checkpointing ? "on" : "off") + ": " + reason);
    }
}
