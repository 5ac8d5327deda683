package dev.panacea.llama;

import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.tensor.StepArena;
import java.util.List;

/**
 * Sequences laid one behind the other, without padding; each attends to itself alone.
 *
 * @param tokens in all
 * @param ids I32 [tokens]
 * @param positions I32 [tokens]
 * @param sequences I32 [count, 4], see {@link dev.panacea.kernels.Kernels#attention}
 */
public record TokenBatch(int tokens, DeviceBuffer ids, DeviceBuffer positions, DeviceBuffer sequences, int count) {

    /** Whole sequences, from position 0. */
    public static TokenBatch of(StepArena arena, List<int[]> sequences) {
        int total = sequences.stream().mapToInt(s -> s.length).sum();
        int[] ids = new int[total];
        int[] positions = new int[total];
        int[] table = new int[4 * sequences.size()];
        int at = 0;
        for (int i = 0; i < sequences.size(); i++) {
            int[] s = sequences.get(i);
            for (int t = 0; t < s.length; t++) {
                ids[at + t] = s[t];
                positions[at + t] = t;
            }
            table[4 * i] = at;
            table[4 * i + 1] = s.length;
            table[4 * i + 2] = at;
            table[4 * i + 3] = s.length;
            at += s.length;
        }
        List<DeviceBuffer> placed = arena.ints(ids, positions, table);
        return new TokenBatch(total, placed.get(0), placed.get(1), placed.get(2), sequences.size());
    }
}
