package dev.panacea.io;

import dev.panacea.kernels.GgmlBlocks;
import dev.panacea.kernels.GgmlType;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.llama.LlamaConfig;
import dev.panacea.llama.RopeConfig;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.Supplier;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * A Llama model in a GGUF file. llama.cpp turns neighbouring elements (2j, 2j+1) of a head where Hugging Face turns (j, j + d/2), and so
 * keeps the rows of q and k in another order; here they are given out in Hugging Face's.
 */
public final class GgufCheckpoint implements Checkpoint {
    private static final String ROPE_DIVISORS = "rope_freqs.weight";
    private static final Pattern LAYER = Pattern.compile("blk\\.(0|[1-9][0-9]{0,5})\\.([a-z_]+)\\.weight");
    private static final Pattern HUGGING_FACE_LAYER = Pattern.compile("model\\.layers\\.([0-9]+)\\.(.+)\\.weight");
    private static final Map<String, String> IN_LAYER = Map.of(
            "attn_q", "self_attn.q_proj", "attn_k", "self_attn.k_proj", "attn_v", "self_attn.v_proj", "attn_output", "self_attn.o_proj",
            "ffn_gate", "mlp.gate_proj", "ffn_up", "mlp.up_proj", "ffn_down", "mlp.down_proj",
            "attn_norm", "input_layernorm", "ffn_norm", "post_attention_layernorm");
    private static final Map<String, String> OUTSIDE = Map.of(
            "token_embd.weight", LlamaTensors.EMBEDDING, "output_norm.weight", "model.norm.weight", "output.weight", LlamaTensors.HEAD);

    private static final String KEYS = "llama.";
    private static final Set<String> READ = Set.of("block_count", "context_length", "embedding_length", "feed_forward_length", "vocab_size", "expert_count",
            "attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.value_length", "attention.layer_norm_rms_epsilon", "rope.dimension_count", "rope.freq_base",
            "rope.scaling.type", "rope.scaling.factor", "rope.scale_linear");
    /** What llama.cpp does not look at in a Llama, or only together with something that is refused. */
    private static final Set<String> WITHOUT_EFFECT = Set.of("tensor_data_layout", "expert_used_count", "attention.layer_norm_epsilon", "rope.scaling.finetuned",
            "rope.scaling.original_context_length", "rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow");

    private final GgufFile file;
    private final LlamaConfig config;
    private final Map<String, GgufFile.Tensor> tensors = new LinkedHashMap<>();

    /**
     * Opens a file and compares its tensors with its metadata.
     *
     * @throws PanaceaException naming the file and what is wrong with it, or what in it is not supported
     */
    public static GgufCheckpoint open(Path path) {
        GgufFile file = GgufFile.open(path);
        try {
            return file.reading(() -> new GgufCheckpoint(file));
        } catch (RuntimeException e) {
            file.close();
            throw e;
        }
    }

    private GgufCheckpoint(GgufFile file) {
        this.file = file;
        for (String name : file.names()) {
            if (!name.equals(ROPE_DIVISORS)) {
                tensors.put(huggingFaceName(name), file.tensor(name));
            }
        }
        config = readConfig();
        Map<String, long[]> shapes = new LinkedHashMap<>();
        tensors.forEach((name, tensor) -> shapes.put(name, tensor.dimensions()));
        LlamaTensors.check(file.path(), LlamaTensors.all(config), shapes, GgufCheckpoint::nameInFile);
    }

    /** The metadata, which also hold the tokenizer and the chat template. */
    public GgufMetadata metadata() {
        return file.metadata();
    }

    @Override
    public LlamaConfig config() {
        return config;
    }

    @Override
    public String description() {
        Map<String, Long> elements = new TreeMap<>();
        tensors.values().forEach(t -> elements.merge(t.type().name(), t.elements(), Long::sum));
        String type = Collections.max(elements.entrySet(), Map.Entry.comparingByValue()).getKey();
        return String.format(Locale.ROOT, "%s (GGUF %s, %s)", file.path().getFileName(), type, ByteCount.text(file.size()));
    }

    @Override
    public Optional<String> ggufFile() {
        return Optional.of(file.path().getFileName().toString());
    }

    @Override
    public Set<String> names() {
        return Collections.unmodifiableSet(tensors.keySet());
    }

    @Override
    public long[] shape(String name) {
        return tensor(name).dimensions();
    }

    @Override
    public String storedType(String name) {
        return tensor(name).type().name();
    }

    @Override
    public void read(String name, long offset, int count, float[] destination) {
        GgufFile.Tensor t = tensor(name);
        Floats.checkRange(name, t.elements(), offset, count, destination);
        reading(() -> {
            if (reordered(name)) {
                readRows(t, offset, count, destination);
            } else {
                GgmlBlocks.decode(t.type(), t.data(), offset, count, destination, 0);
            }
            return null;
        });
        Floats.requireFinite(file.path(), name, destination, count);
    }

    @Override
    public Optional<StoredBlocks> storedBlocks(String name) {
        GgufFile.Tensor t = tensor(name);
        return t.shape().size() == 2
                ? reading(() -> BlockScales.checked(file.path(), name, new StoredBlocks(t.type(), t.data(), reordered(name) ? config.headDim() : 0))) : Optional.empty();
    }

    @Override
    public Optional<Stored4Bit> stored4Bit(String name) {
        tensor(name);
        return Optional.empty();
    }

    @Override
    public <T> T reading(Supplier<T> computation) {
        return file.reading(computation);
    }

    @Override
    public void close() {
        file.close();
    }

    private static boolean reordered(String name) {
        return name.endsWith(".q_proj.weight") || name.endsWith(".k_proj.weight");
    }

    /** Row s * d/2 + j of a head is row 2j + s of it in the file. */
    private void readRows(GgufFile.Tensor t, long offset, int count, float[] destination) {
        long columns = t.shape().get(1);
        int d = config.headDim();
        int done = 0;
        while (done < count) {
            long row = (offset + done) / columns;
            long column = (offset + done) % columns;
            long inHead = row % d;
            long stored = row - inHead + inHead % (d / 2) * 2 + inHead / (d / 2);
            int n = (int) Math.min(count - done, columns - column);
            GgmlBlocks.decode(t.type(), t.data(), stored * columns + column, n, destination, done);
            done += n;
        }
    }

    private GgufFile.Tensor tensor(String name) {
        GgufFile.Tensor tensor = tensors.get(name);
        if (tensor == null) {
            throw new PanaceaException(file.path() + " has no tensor " + name);
        }
        return tensor;
    }

    private static String huggingFaceName(String name) {
        Matcher layer = LAYER.matcher(name);
        if (layer.matches() && IN_LAYER.containsKey(layer.group(2))) {
            return "model.layers." + layer.group(1) + "." + IN_LAYER.get(layer.group(2)) + ".weight";
        }
        return OUTSIDE.getOrDefault(name, name);
    }

    /** The opposite of {@link #huggingFaceName}. */
    private static String nameInFile(String name) {
        Matcher layer = HUGGING_FACE_LAYER.matcher(name);
        String part = layer.matches() ? layer.group(2) : "";
        return Stream.concat(IN_LAYER.entrySet().stream().filter(e -> e.getValue().equals(part)).map(e -> "blk." + layer.group(1) + "." + e.getKey() + ".weight"),
                OUTSIDE.entrySet().stream().filter(e -> e.getValue().equals(name)).map(Map.Entry::getKey)).findFirst().orElse(name);
    }

    private LlamaConfig readConfig() {
        GgufMetadata m = file.metadata();
        long parts = m.integer("split.count").orElse(0);
        if (parts > 1) {
            throw fault("it is one of the " + parts + " parts of a split file (split.count); join them with llama.cpp's llama-gguf-split and its merge option");
        }
        String architecture = m.string("general.architecture").orElseThrow(() -> fault("general.architecture is missing"));
        if (!architecture.equals("llama")) {
            throw fault("general.architecture is " + architecture + "; only llama is supported. Choose a model of the Llama family");
        }
        m.string("general.type").filter(type -> !type.equals("model")).ifPresent(type -> {
            throw fault("it holds an " + type + ", not a model; give the base model here");
        });
        if (m.integer("llama.expert_count").orElse(0) > 0) {
            throw fault("it is a mixture of experts (llama.expert_count " + m.integer("llama.expert_count").getAsLong() + "), which is not supported");
        }
        if (!tensors.containsKey(LlamaTensors.EMBEDDING)) {
            throw fault("the tensor token_embd.weight is missing; download the file again, and if it is one part of a split file, join the parts with llama.cpp's"
                    + " llama-gguf-split");
        }
        int hidden = required("llama.embedding_length");
        int inner = required("llama.feed_forward_length");
        int layers = required("llama.block_count");
        int heads = required("llama.attention.head_count");
        int keyHeads = optional("llama.attention.head_count_kv", heads);
        int context = required("llama.context_length");
        int vocabulary = vocabulary(m);
        int headDim = headDim(m, hidden, heads);
        double epsilon = m.number("llama.attention.layer_norm_rms_epsilon").orElseThrow(() -> fault("llama.attention.layer_norm_rms_epsilon is missing"));
        RopeConfig rope = rope(m, headDim);
        requireNothingElse(m, headDim, context);
        try {
            return new LlamaConfig(vocabulary, hidden, inner, layers, heads, keyHeads, headDim, context, (float) epsilon, !tensors.containsKey(LlamaTensors.HEAD), rope);
        } catch (PanaceaException e) {
            throw new PanaceaException(file.path() + ": " + e.getMessage(), e);
        }
    }

    /** A key of the model that is not read may change the arithmetic, unless it says that nothing is to be done. */
    private void requireNothingElse(GgufMetadata m, int headDim, int context) {
        for (String key : m.keys()) {
            String name = key.startsWith(KEYS) ? key.substring(KEYS.length()) : "";
            if (name.isEmpty() || READ.contains(name) || WITHOUT_EFFECT.contains(name)) {
                continue;
            }
            OptionalDouble value = m.scalar(key);
            if (value.isEmpty() || !doesNothing(name, value.getAsDouble(), headDim, context)) {
                throw fault(key + (value.isPresent() ? " is " + GgufMetadata.plain(value.getAsDouble()) : " is set")
                        + ", which would change the arithmetic and is not supported. Choose a plain Llama model");
            }
        }
    }

    private static boolean doesNothing(String name, double value, int headDim, int context) {
        return switch (name) {
            case "attention.causal", "rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor" -> value == 1;
            case "logit_scale", "embedding_scale", "residual_scale" -> value == 0 || value == 1;
            case "attention.scale" -> value == 0 || Math.abs(value * Math.sqrt(headDim) - 1) < 1e-6;
            case "attention.sliding_window" -> value == 0 || value >= context;
            case "rope.scaling.yarn_ext_factor" -> value <= 0;
            default -> value == 0;
        };
    }

    private int vocabulary(GgufMetadata m) {
        long rows = tensor(LlamaTensors.EMBEDDING).shape().getFirst();
        long tokens = m.length("tokenizer.ggml.tokens");
        if (rows > Integer.MAX_VALUE || tokens > rows || m.integer("llama.vocab_size").orElse(rows) != rows) {
            throw fault("token_embd.weight has " + rows + " rows, but there are " + tokens + " tokens, and llama.vocab_size is "
                    + m.integer("llama.vocab_size").orElse(rows));
        }
        return (int) rows;
    }

    private int headDim(GgufMetadata m, int hidden, int heads) {
        if (heads <= 0) {
            throw fault("llama.attention.head_count is " + heads);
        }
        int headDim = optional("llama.attention.key_length", hidden / heads);
        int values = optional("llama.attention.value_length", headDim);
        int rotated = optional("llama.rope.dimension_count", headDim);
        if (values != headDim || rotated != headDim) {
            throw fault("keys have " + headDim + " elements a head, values " + values + ", and " + rotated + " of them are rotated; only equal numbers are supported");
        }
        return headDim;
    }

    private RopeConfig rope(GgufMetadata m, int headDim) {
        // As in llama.cpp, the type is linear where only the factor is given, and the older key counts where the newer one is missing.
        String type = m.string("llama.rope.scaling.type").orElse("linear");
        if (!type.equals("none") && !type.equals("linear")) {
            throw fault("llama.rope.scaling.type is " + type + ", which is not supported; linear, and Llama 3's own scaling are");
        }
        String key = m.keys().contains("llama.rope.scaling.factor") ? "llama.rope.scaling.factor" : "llama.rope.scale_linear";
        double factor = type.equals("none") ? 1 : m.number(key).orElse(1);
        if (factor != 0 && !(factor >= 1e-3 && factor <= 1e6)) {
            throw fault(key + " is " + factor + ", which is impossible");
        }
        double theta = m.number("llama.rope.freq_base").orElse(10000);
        if (!(theta > 1 && theta < 1e15)) {
            throw fault("llama.rope.freq_base is " + theta);
        }
        return new RopeConfig(theta, factor == 0 ? 1 : factor, Optional.empty(), divisors(headDim));
    }

    private List<Float> divisors(int headDim) {
        if (!file.names().contains(ROPE_DIVISORS)) {
            return List.of();
        }
        GgufFile.Tensor t = file.tensor(ROPE_DIVISORS);
        if (t.type() != GgmlType.F32 || t.elements() != headDim / 2) {
            throw fault("the tensor " + ROPE_DIVISORS + " is " + t.type() + " of shape " + t.shape() + "; F32 of shape [" + headDim / 2 + "] is expected");
        }
        float[] values = new float[headDim / 2];
        GgmlBlocks.decode(t.type(), t.data(), 0, values.length, values, 0);
        List<Float> divisors = new ArrayList<>();
        for (float v : values) {
            if (!(v > 0 && v < 1e6f)) {
                throw fault("the tensor " + ROPE_DIVISORS + " holds " + v + "; positive divisors are expected");
            }
            divisors.add(v);
        }
        return divisors;
    }

    private int required(String key) {
        int value = optional(key, -1);
        if (value < 0) {
            throw fault(key + " is missing");
        }
        return value;
    }

    private int optional(String key, int otherwise) {
        long value = file.metadata().integer(key).orElse(otherwise);
        if (value != (int) value) {
            throw fault(key + " is " + value + ", which is impossible");
        }
        return (int) value;
    }

    private PanaceaException fault(String message) {
        return new PanaceaException(file.path() + ": " + message);
    }
}
