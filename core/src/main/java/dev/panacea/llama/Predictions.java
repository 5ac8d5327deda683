package dev.panacea.llama;

import dev.panacea.kernels.DType;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.DeviceMemory;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.PanaceaException;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;

/**
 * What follows each of some texts: a logit for every token of the vocabulary. They stay on the device, and are gone with the model's next computation of
 * any kind, after which asking for them is an {@link IllegalStateException}; what is asked for is downloaded. Threads: as {@link LlamaModel}.
 */
public final class Predictions {
    private final LlamaModel model;
    private final DeviceBuffer logits;
    private final int rows;
    private final int vocab;
    private final long computation;

    /**
     * @param logits F32 [rows, vocab]
     * @param computation the number of the model's computation that they are of
     */
    Predictions(LlamaModel model, DeviceBuffer logits, long computation) {
        this.model = model;
        this.logits = logits;
        this.vocab = model.config().vocabSize();
        this.rows = Math.toIntExact(logits.length() / vocab);
        this.computation = computation;
    }

    /**
     * The largest logits of a text, largest first, of equal ones the lower id first.
     *
     * @param sum over the whole vocabulary of exp((logit - largest) / temperature), to within {@link Kernels#SUM_ERROR}
     * @param all whether that is the whole vocabulary
     */
    public record Largest(int[] ids, float[] logits, float sum, boolean all) {}

    /** Whether {@link #logits} costs no more than reading memory, so that nothing is won by asking for less. */
    public boolean inReach() {
        return model.kernels().readsHostMemory();
    }

    /** All logits of a text, in the order of the ids. */
    public float[] logits(int text) {
        Objects.checkIndex(text, rows);
        return model.afterwards(computation, () -> {
            float[] row = new float[vocab];
            model.kernels().download(logits.slice((long) text * vocab, vocab), MemorySegment.ofArray(row));
            return row;
        });
    }

    /**
     * The most probable token of each text; of equally probable ones the lowest.
     *
     * @throws PanaceaException if the logits are no numbers
     */
    public int[] best() {
        return model.afterwards(computation, () -> {
            DeviceMemory result = model.results(4L * rows);
            model.kernels().argMax(logits, rows, vocab, result.view(DType.I32, 0, rows));
            int[] best = download(result, rows);
            for (int i = 0; i < rows; i++) {
                // Of numbers and none, a number is the largest; so where there are none at all, the first token is.
                if (best[i] == 0 || inReach()) {
                    requireNumber(logit(i, best[i]));
                }
            }
            return best;
        });
    }

    private float logit(int text, int id) {
        float[] one = new float[1];
        model.kernels().download(logits.slice((long) text * vocab + id, 1), MemorySegment.ofArray(one));
        return one[0];
    }

    /**
     * Checks a logit by which a token is chosen.
     *
     * @throws PanaceaException if it is infinite or not a number
     */
    public static void requireNumber(float logit) {
        if (!Float.isFinite(logit)) {
            throw new PanaceaException("the model predicts " + logit + " where a number is needed: its weights, or those of the adapter, lead out of the range of numbers. "
                    + "Download the model again, or train the adapter at a lower learning rate");
        }
    }

    /**
     * The {@code k} most probable tokens of each text, or the whole vocabulary if it has fewer.
     *
     * @param k at most {@link Kernels#MOST_OF_A_ROW}
     * @param temperature of the sum
     */
    public List<Largest> largest(int k, double temperature) {
        return model.afterwards(computation, () -> mostProbable(k, temperature));
    }

    private List<Largest> mostProbable(int k, double temperature) {
        int n = Math.min(k, vocab);
        DeviceMemory result = model.results(4L * rows * (2 * n + 1));
        long each = (long) rows * n;
        model.kernels().topK(logits, rows, vocab, n, temperature, result.view(DType.I32, 0, each), result.view(DType.F32, 4 * each, each), result.view(DType.F32, 8 * each, rows));
        int[] bits = download(result, rows * (2 * n + 1));
        List<Largest> all = new ArrayList<>();
        for (int i = 0; i < rows; i++) {
            float[] values = new float[n];
            for (int j = 0; j < n; j++) {
                values[j] = Float.intBitsToFloat(bits[(rows + i) * n + j]);
            }
            all.add(new Largest(Arrays.copyOfRange(bits, i * n, (i + 1) * n), values, Float.intBitsToFloat(bits[2 * rows * n + i]), n == vocab));
        }
        return all;
    }

    private int[] download(DeviceMemory result, int count) {
        int[] bits = new int[count];
        model.kernels().download(result.view(DType.I32, 0, count), MemorySegment.ofArray(bits));
        return bits;
    }
}
