package dev.panacea.io;

import dev.panacea.kernels.PanaceaException;
import dev.panacea.llama.LlamaConfig;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * A LoRA adapter in PEFT's format: adapter_config.json, adapter_model.safetensors and a model card. PEFT warns about weights that it does
 * not know or misses; here they are errors, since what is left out is silently not applied.
 *
 * @param modules by module path, such as {@code model.layers.0.self_attn.q_proj}
 * @param source the file that the weights were read from, for messages; empty where they come from memory
 * @param trainedOn what the adapter was trained on, for the model card; empty where that is not known
 */
public record PeftAdapter(PeftConfig config, Map<String, LoraTensors> modules, Optional<Path> source, Optional<TrainedOn> trainedOn) {
    static final String CONFIG = "adapter_config.json";
    static final String WEIGHTS = "adapter_model.safetensors";
    static final String CARD = "README.md";
    private static final String PREFIX = "base_model.model.";
    private static final String HEAD = "lm_head";
    private static final Pattern KEY = Pattern.compile("base_model\\.model\\.(.+)\\.lora_([AB])\\.weight");

    public PeftAdapter {
        modules = Collections.unmodifiableMap(new LinkedHashMap<>(modules));
        if (modules.isEmpty()) {
            throw new PanaceaException("an adapter has at least one module");
        }
        modules.forEach((name, t) -> {
            if (!config.isTarget(name)) {
                throw new PanaceaException(name + " is adapted, but is not among the target_modules " + JsonFiles.shown(config.targets().json()) + "; PEFT would not load it");
            }
            if (config.rank(name) != t.rank()) {
                throw new PanaceaException(name + " has rank " + t.rank() + ", but by r and rank_pattern it is " + config.rank(name));
            }
        });
    }

    /** An adapter that comes from no file. */
    public PeftAdapter(PeftConfig config, Map<String, LoraTensors> modules) {
        this(config, modules, Optional.empty(), Optional.empty());
    }

    /**
     * The base weights of a training, for the model card.
     *
     * @param weights which, and in what form, in words
     * @param ggufFile name of the .gguf file that they are in, if they are in one
     */
    public record TrainedOn(String weights, Optional<String> ggufFile) {}

    /** The factor of B·A for a module. */
    public double scaling(String module) {
        return config.scaling(module);
    }

    /** The rank of a module. */
    public int rank(String module) {
        return config.rank(module);
    }

    /**
     * Reads the adapter in a folder.
     *
     * @throws PanaceaException naming the file and what is wrong with it, or what in it is not supported
     */
    public static PeftAdapter read(Path folder) {
        PeftConfig config = PeftConfig.read(folder.resolve(CONFIG));
        Path file = folder.resolve(WEIGHTS);
        if (!Files.exists(file) && Files.exists(folder.resolve("adapter_model.bin"))) {
            throw new PanaceaException(folder + " has its weights in adapter_model.bin, which is Python's own format; save it again with safe_serialization=True");
        }
        try (SafetensorsFile weights = SafetensorsFile.open(file)) {
            Map<String, LoraTensors> modules = new TreeMap<>();
            for (String module : modules(weights)) {
                modules.put(module, tensors(weights, module));
            }
            config.requireUsable(folder.resolve(CONFIG), modules.keySet());
            try {
                return new PeftAdapter(config, modules, Optional.of(file), Optional.empty());
            } catch (PanaceaException e) {
                throw new PanaceaException(file + ": " + e.getMessage() + "; " + CONFIG + " and the weights are not of the same adapter", e);
            }
        }
    }

    /**
     * Compares the adapter with the model that it is to be used with: all layers that it targets are there, in their shapes, and no others. A file
     * that holds a part of an adapter, or one for another model, would otherwise be applied as far as it goes.
     *
     * @param base the model's shape
     * @param name of the model, for messages
     * @throws PanaceaException naming the file, the tensor, both shapes, and both models
     */
    public void requireFits(LlamaConfig base, String name) {
        Map<String, long[]> layers = LlamaTensors.linearLayers(base);
        modules.forEach((module, t) -> {
            if (module.equals(HEAD)) {
                throw new PanaceaException(what() + unsupportedHead(t, base, name));
            }
            long[] shape = layers.get(module);
            if (shape == null) {
                throw new PanaceaException(what() + " adapts " + module + ", which the model lacks; " + otherModel(name));
            }
            requireShape(PREFIX + module + ".lora_A.weight", t.rank(), t.in(), t.rank(), shape[1], name);
            requireShape(PREFIX + module + ".lora_B.weight", t.out(), t.rank(), shape[0], t.rank(), name);
        });
        List<String> missing = Stream.concat(layers.keySet().stream(), Stream.of(HEAD))
                .filter(module -> config.isTarget(module) && !modules.containsKey(module)).toList();
        if (!missing.isEmpty()) {
            int tensors = 2 * modules.size();
            throw new PanaceaException(what() + " lacks " + PREFIX + missing.getFirst() + ".lora_A.weight and lora_B.weight" + (missing.size() > 1 ? ", and those of "
                    + (missing.size() - 1) + " more modules" : "") + ", which its target_modules name (it has " + tensors + " of " + (tensors + 2 * missing.size())
                    + " tensors); the file is incomplete: save or copy the adapter again, or " + otherModel(name));
        }
    }

    private void requireShape(String tensor, long rows, long columns, long modelRows, long modelColumns, String name) {
        if (rows != modelRows || columns != modelColumns) {
            throw new PanaceaException(what() + " has " + tensor + " of shape [" + rows + ", " + columns + "], but for this model it would be [" + modelRows + ", "
                    + modelColumns + "]; " + otherModel(name));
        }
    }

    private String unsupportedHead(LoraTensors t, LlamaConfig base, String name) {
        String pair = " adapts " + HEAD + ", the output head";
        if (t.out() != base.vocabSize() || t.in() != base.hiddenSize()) {
            return pair + ", with a vocabulary of " + t.out() + " and a hidden size of " + t.in() + ", but the model's are " + base.vocabSize() + " and "
                    + base.hiddenSize() + "; " + otherModel(name) + ", or its vocabulary was changed for the training";
        }
        return pair + (base.tieWordEmbeddings() ? ", which in this model is the embedding itself" : "")
                + "; only adapters of the layers' own linear modules are supported. Train one without " + HEAD
                + ", or merge it with PEFT (merge_and_unload) and use the merged model";
    }

    private String what() {
        return source.map(Path::toString).orElse("the adapter");
    }

    private String otherModel(String name) {
        return "the adapter was probably trained on another model (it names " + config.baseModel().orElse("none") + "; this is " + name + ")";
    }

    /**
     * Writes the adapter to a folder. At any moment the folder holds the old adapter, none, or the new one: the configuration, without which
     * no program loads it, goes first and comes last.
     *
     * @throws PanaceaException naming the file and the remedy, if it cannot be written; a value that is not finite is refused before anything is written
     */
    public void write(Path folder) {
        modules.forEach((name, t) -> {
            Floats.requireFinite(folder.resolve(WEIGHTS), PREFIX + name + ".lora_A.weight", t.a(), t.a().length);
            Floats.requireFinite(folder.resolve(WEIGHTS), PREFIX + name + ".lora_B.weight", t.b(), t.b().length);
        });
        Path target = folder.toAbsolutePath().normalize();
        Path temporary = AtomicFiles.beside(target);
        try {
            AtomicFiles.createDirectories(target.getParent());
            Files.createDirectory(temporary);
            writeFiles(temporary);
            if (!Files.exists(target)) {
                AtomicFiles.move(temporary, target);
                return;
            }
            if (Files.deleteIfExists(target.resolve(CONFIG))) {
                AtomicFiles.forceDirectory(target);
            }
            for (String name : List.of(WEIGHTS, CARD, CONFIG)) {
                AtomicFiles.move(temporary.resolve(name), target.resolve(name));
            }
        } catch (IOException e) {
            throw FileErrors.writing(folder, e);
        } finally {
            for (String name : List.of(WEIGHTS, CARD, CONFIG)) {
                AtomicFiles.deleteQuietly(temporary.resolve(name));
            }
            AtomicFiles.deleteQuietly(temporary);
        }
    }

    private void writeFiles(Path folder) {
        SafetensorsWriter weights = new SafetensorsWriter();
        modules.forEach((name, t) -> {
            weights.add(PREFIX + name + ".lora_A.weight", new long[] {t.rank(), t.in()}, t.a());
            weights.add(PREFIX + name + ".lora_B.weight", new long[] {t.out(), t.rank()}, t.b());
        });
        weights.write(folder.resolve(WEIGHTS));
        AtomicFiles.writeString(folder.resolve(CARD), ModelCard.text(config, trainedOn));
        AtomicFiles.writeString(folder.resolve(CONFIG), JsonFiles.pretty(config.json()));
    }

    /** The modules that have weights; every key must be one of theirs. */
    private static TreeSet<String> modules(SafetensorsFile weights) {
        TreeSet<String> modules = new TreeSet<>();
        for (String key : weights.names()) {
            Matcher m = KEY.matcher(key);
            if (!m.matches()) {
                throw new PanaceaException(weights.path() + ": " + unknown(key, weights.tensor(key).shape()));
            }
            modules.add(m.group(1));
        }
        if (modules.isEmpty()) {
            throw new PanaceaException(weights.path() + " holds no weights; save the adapter again");
        }
        return modules;
    }

    private static String unknown(String key, List<Long> shape) {
        if (key.endsWith("embed_tokens.weight") || key.endsWith("lm_head.weight")) {
            return key + " is a whole matrix of shape " + shape + ": the vocabulary was changed for the training, or the matrix trained as well, which is not supported;"
                    + " merge the adapter with PEFT (merge_and_unload) and use the merged model";
        }
        if (key.endsWith(".lora_magnitude_vector") || key.endsWith(".lora_magnitude_vector.weight")) {
            return key + " belongs to DoRA, which is not supported; merge the adapter with PEFT (merge_and_unload), or train a plain LoRA";
        }
        if (key.contains(".lora_embedding_")) {
            return key + " adapts the embedding, which is not supported; train an adapter for linear layers only";
        }
        if (key.matches(".*\\.lora_[AB]\\.[^.]+\\.weight")) {
            return key + " still has the adapter's name in it; save the adapter with PEFT's save_pretrained, which takes it out";
        }
        if (key.matches(".*\\.lora_[ab]")) {
            return key + " is in the format of mlx-lm; convert it to PEFT's";
        }
        if (Stream.of(".lora_A.weight", ".lora_B.weight").anyMatch(key::endsWith)) {
            return key + " must begin with " + PREFIX + "; save the adapter with PEFT's save_pretrained";
        }
        return key + " is not a LoRA weight (" + PREFIX + "<module>.lora_A.weight or lora_B.weight); only plain LoRA adapters are supported";
    }

    private static LoraTensors tensors(SafetensorsFile weights, String module) {
        SafetensorsFile.Tensor a = matrix(weights, PREFIX + module + ".lora_A.weight");
        SafetensorsFile.Tensor b = matrix(weights, PREFIX + module + ".lora_B.weight");
        if (!a.shape().get(0).equals(b.shape().get(1))) {
            throw new PanaceaException(weights.path() + ": " + module + " has lora_A of shape " + a.shape() + " and lora_B of shape " + b.shape()
                    + "; the rank must be the same, A [rank, in], B [out, rank]");
        }
        return new LoraTensors(Math.toIntExact(a.shape().get(0)), Math.toIntExact(a.shape().get(1)), Math.toIntExact(b.shape().get(0)),
                weights.read(a.name()), weights.read(b.name()));
    }

    private static SafetensorsFile.Tensor matrix(SafetensorsFile weights, String name) {
        if (!weights.names().contains(name)) {
            throw new PanaceaException(weights.path() + " lacks " + name + ", the other half of a module; save the adapter again");
        }
        SafetensorsFile.Tensor t = weights.tensor(name);
        if (t.shape().size() != 2 || t.shape().stream().anyMatch(d -> d < 1 || d > Integer.MAX_VALUE)) {
            throw new PanaceaException(weights.path() + ": " + name + " has the shape " + t.shape() + "; two dimensions are expected");
        }
        return t;
    }
}
