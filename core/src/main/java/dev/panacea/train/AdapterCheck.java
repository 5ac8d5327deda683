package dev.panacea.train;

import dev.panacea.io.PeftAdapter;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.llama.LlamaModel;
import dev.panacea.lora.LoraAdapter;
import java.nio.file.Path;

/** Whether the adapter on disk is the one that was trained: it is read back, and the logits of a text are compared. */
public final class AdapterCheck {
    private AdapterCheck() {}

    /**
     * Reads the adapter back and compares. The trained adapter is attached again afterwards.
     *
     * @param sequence token ids of any text
     * @return the largest difference of the logits: 0, since adapters are saved in the precision in which they are trained
     * @throws PanaceaException if the logits differ
     */
    public static double reload(LlamaModel model, LoraAdapter trained, Path folder, int[] sequence) {
        double difference = model.exclusively(() -> difference(model, trained, folder, sequence));
        if (!(difference == 0)) {
            throw new PanaceaException("the adapter read back from " + folder + " gives other logits than the one that was trained (largest difference " + difference
                    + "); do not use it, and please report this");
        }
        return difference;
    }

    private static double difference(LlamaModel model, LoraAdapter trained, Path folder, int[] sequence) {
        trained.attachTo(model);
        float[] expected = model.logits(sequence);
        double difference = 0;
        try (LoraAdapter fromDisk = LoraAdapter.fromPeft(model, PeftAdapter.read(folder))) {
            try {
                fromDisk.attachTo(model);
                float[] actual = model.logits(sequence);
                for (int i = 0; i < expected.length; i++) {
                    difference = Math.max(difference, Math.abs((double) expected[i] - actual[i]));
                }
            } finally {
                trained.attachTo(model);
            }
        }
        return difference;
    }
}
