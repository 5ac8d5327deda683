package dev.panacea.testing;

import dev.panacea.data.TokenizedExample;
import dev.panacea.io.Checkpoint;
import dev.panacea.io.Checkpoints;
import dev.panacea.io.LoraTensors;
import dev.panacea.io.PeftAdapter;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.Kernels;
import dev.panacea.llama.LlamaModel;
import dev.panacea.llama.LoadOptions;
import dev.panacea.llama.Quantization;
import dev.panacea.lora.LoraAdapter;
import dev.panacea.lora.LoraConfig;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;

/** The two-layer Llama of the golden case lora-gqa: small enough for every test, real in all its parts. */
public final class TinyModel {
    public static final Path FOLDER = Path.of("src/test/resources/golden/lora-gqa");
    public static final int VOCAB = 512;

    private TinyModel() {}

    public static LlamaModel load(Kernels kernels, Quantization quantization, DType activations) {
        try (Checkpoint c = Checkpoints.open(FOLDER)) {
            return LlamaModel.load(kernels, c, new LoadOptions(quantization, activations));
        }
    }

    /** An adapter on all linear layers with A and B both set, so that every gradient is alive. */
    public static LoraAdapter adapter(LlamaModel model) {
        try (LoraAdapter fresh = LoraAdapter.create(model, new LoraConfig(4, 8, LoraConfig.ALL_LINEAR, false), 3)) {
            PeftAdapter peft = fresh.toPeft("tiny");
            SplittableRandom random = new SplittableRandom(5);
            for (LoraTensors t : peft.modules().values()) {
                for (int i = 0; i < t.b().length; i++) {
                    t.b()[i] = (float) (random.nextGaussian() * 0.02);
                }
            }
            return LoraAdapter.fromPeft(model, peft);
        }
    }

    /** Examples of different lengths with a prompt that is not trained. */
    public static List<TokenizedExample> examples(int count, long seed) {
        SplittableRandom random = new SplittableRandom(seed);
        List<TokenizedExample> all = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            int[] ids = random.ints(random.nextInt(6, 30), 3, VOCAB).toArray();
            int[] labels = ids.clone();
            java.util.Arrays.fill(labels, 0, random.nextInt(1, 5), TokenizedExample.IGNORED);
            all.add(new TokenizedExample(ids, labels));
        }
        return all;
    }
}
