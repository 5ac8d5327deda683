package dev.panacea.examples;

import dev.panacea.eval.HeldOutLoss;
import dev.panacea.kernels.Kernels;
import dev.panacea.llama.Quantization;
import dev.panacea.train.TrainingResult;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.OptionalLong;

/**
 * All that a finished run has to tell; metrics.json and report.html are two views of it.
 *
 * @param asLoaded of the weights in the precision of the file, before they were quantized; the same as {@code before} where nothing was; empty where nothing was measured
 *     before the training
 * @param before of the weights that are trained on, with no adapter; empty likewise
 * @param after with the trained adapter
 * @param peakResidentBytes empty where the system does not tell
 * @param phases wall-clock time by the name of what was done, in order
 */
record RunRecord(
        Instant started,
        FinetuneSettings settings,
        Model model,
        Data data,
        long adapterParameters,
        Optional<Score> asLoaded,
        Optional<Score> before,
        Score after,
        TrainingResult training,
        List<Sample> samples,
        OptionalLong peakResidentBytes,
        Map<String, Duration> phases,
        Machine machine) {

    RunRecord {
        samples = List.copyOf(samples);
    }

    /**
     * The model that was tuned.
     *
     * @param name for people, such as {@code SmolLM2-135M-Instruct}
     * @param origin where it came from
     * @param description file and format
     * @param quantization as trained on
     * @param weightBytes of all weights as trained on
     * @param mappedBytes of these, what is used where it is mapped in the file
     */
    record Model(String name, String origin, String description, Quantization quantization, long weightBytes, long mappedBytes) {
        /** Whether the weights that were trained on differ from those of the file. */
        boolean requantized() {
            return quantization == Quantization.NF4;
        }
    }

    /**
     * What it was tuned on.
     *
     * @param trainedShare share of the training tokens that the loss counts
     * @param chatTemplate whether any of it went through the model's chat template; else all was plain text, as it stands
     * @param question a short held-out question, for a person to try
     */
    record Data(String source, String heldOutSource, int trainingExamples, int heldOutExamples, double trainedShare, boolean chatTemplate, String question) {}

    /**
     * How well the held-out data were met.
     *
     * @param bleu corpus BLEU of generated answers; empty if none were generated
     */
    record Score(HeldOutLoss loss, OptionalDouble bleu) {}

    /** One held-out question and how it was answered, before the training too if that was asked for; {@code reference} is the answer in the data. */
    record Sample(String question, String reference, Optional<String> before, String after) {}

    /** What computed. */
    record Machine(String version, String kernels, String java, String system) {
        static Machine of(Kernels kernels) {
            return new Machine(Versions.panacea(), kernels.description(), Versions.java(), Versions.system());
        }
    }

    Duration total() {
        return phases.values().stream().reduce(Duration.ZERO, Duration::plus);
    }
}
