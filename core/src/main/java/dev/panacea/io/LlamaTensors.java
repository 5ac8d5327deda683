package dev.panacea.io;

import dev.panacea.kernels.PanaceaException;
import dev.panacea.llama.LlamaConfig;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;

/** The tensors of a Llama model: which there are, by Hugging Face's names, and their shapes. */
final class LlamaTensors {
    static final String EMBEDDING = "model.embed_tokens.weight";
    static final String HEAD = "lm_head.weight";
    private static final int NAMES_IN_MESSAGE = 5;

    private LlamaTensors() {}

    /** The linear layers that 4-bit quantization and LoRA apply to, such as {@code model.layers.0.self_attn.q_proj}, with {@code [out, in]}. */
    static Map<String, long[]> linearLayers(LlamaConfig c) {
        long heads = (long) c.numAttentionHeads() * c.headDim();
        long kvHeads = (long) c.numKeyValueHeads() * c.headDim();
        long hidden = c.hiddenSize();
        long inner = c.intermediateSize();
        Map<String, long[]> layers = new LinkedHashMap<>();
        for (int i = 0; i < c.numHiddenLayers(); i++) {
            String p = "model.layers." + i + ".";
            layers.put(p + "self_attn.q_proj", new long[] {heads, hidden});
            layers.put(p + "self_attn.k_proj", new long[] {kvHeads, hidden});
            layers.put(p + "self_attn.v_proj", new long[] {kvHeads, hidden});
            layers.put(p + "self_attn.o_proj", new long[] {hidden, heads});
            layers.put(p + "mlp.gate_proj", new long[] {inner, hidden});
            layers.put(p + "mlp.up_proj", new long[] {inner, hidden});
            layers.put(p + "mlp.down_proj", new long[] {hidden, inner});
        }
        return layers;
    }

    /** All tensors with their shapes. */
    static Map<String, long[]> all(LlamaConfig c) {
        Map<String, long[]> tensors = new LinkedHashMap<>();
        tensors.put(EMBEDDING, new long[] {c.vocabSize(), c.hiddenSize()});
        linearLayers(c).forEach((name, shape) -> tensors.put(name + ".weight", shape));
        for (int i = 0; i < c.numHiddenLayers(); i++) {
            tensors.put("model.layers." + i + ".input_layernorm.weight", new long[] {c.hiddenSize()});
            tensors.put("model.layers." + i + ".post_attention_layernorm.weight", new long[] {c.hiddenSize()});
        }
        tensors.put("model.norm.weight", new long[] {c.hiddenSize()});
        if (!c.tieWordEmbeddings()) {
            tensors.put(HEAD, new long[] {c.vocabSize(), c.hiddenSize()});
        }
        return tensors;
    }

    /**
     * Compares what a file has with what its configuration says; the first difference is an error that names the file, the tensor and both shapes.
     *
     * @param inFile what the file calls a tensor
     */
    static void check(Path file, Map<String, long[]> expected, Map<String, long[]> found, UnaryOperator<String> inFile) {
        found.forEach((name, shape) -> {
            long[] wanted = expected.get(name);
            if (wanted != null && !Arrays.equals(wanted, shape)) {
                throw new PanaceaException(file + ": tensor " + inFile.apply(name) + " has the shape " + Arrays.toString(shape) + ", but by the model's configuration it is "
                        + Arrays.toString(wanted) + "; weights and configuration are not of the same model");
            }
        });
        List<String> missing = expected.keySet().stream().filter(name -> !found.containsKey(name)).map(inFile).toList();
        if (!missing.isEmpty()) {
            throw new PanaceaException(file + " lacks " + some(missing) + "; the download is incomplete, or weights and configuration are not of the same model");
        }
        List<String> extra = found.keySet().stream().filter(name -> !expected.containsKey(name)).map(inFile).toList();
        if (!extra.isEmpty()) {
            throw new PanaceaException(file + " has " + some(extra) + ", which no Llama model of its configuration has; only plain Llama models (no biases,"
                    + " no experts) are supported");
        }
    }

    private static String some(List<String> names) {
        String shown = String.join(", ", names.subList(0, Math.min(NAMES_IN_MESSAGE, names.size())));
        return (names.size() == 1 ? "the tensor " : "the tensors ") + shown + (names.size() > NAMES_IN_MESSAGE ? " and " + (names.size() - NAMES_IN_MESSAGE) + " more" : "");
    }
}
