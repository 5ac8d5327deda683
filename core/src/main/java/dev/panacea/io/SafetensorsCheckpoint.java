package dev.panacea.io;

import com.fasterxml.jackson.databind.JsonNode;
import dev.panacea.kernels.GgmlType;
import dev.panacea.kernels.PanaceaException;
import dev.panacea.llama.LlamaConfig;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.function.Supplier;
import java.util.function.UnaryOperator;
import java.util.regex.Pattern;

/**
 * A Llama model as transformers saves it: a folder with config.json and model.safetensors, or several such files and an index; linear layers
 * may be in bitsandbytes' 4 bits.
 */
public final class SafetensorsCheckpoint implements Checkpoint {
    static final String CONFIG = "config.json";
    static final String SINGLE = "model.safetensors";
    static final String INDEX = "model.safetensors.index.json";
    private static final Pattern PLAIN_FILE_NAME = Pattern.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,200}\\.safetensors");
    private static final int MOST_FILES = 10_000;
    /** A buffer that old versions of transformers saved; it follows from the configuration. */
    private static final String OLD_BUFFER = "rotary_emb.inv_freq";
    /** What a model without its head is saved without. */
    private static final String PREFIX = "model.";

    /** @param stored the name in the file, which may lack a prefix */
    private record Place(SafetensorsFile file, String stored) {
        SafetensorsFile.Tensor tensor() {
            return file.tensor(stored);
        }
    }

    private final Path folder;
    private final LlamaConfig config;
    private final List<SafetensorsFile> files = new ArrayList<>();
    private final Map<String, Place> plain = new LinkedHashMap<>();
    private final Map<String, BnbWeight> packed = new LinkedHashMap<>();

    /**
     * Opens a folder and compares the tensors with its configuration.
     *
     * @throws PanaceaException naming the file and what is wrong with it, or what in it is not supported
     */
    public static SafetensorsCheckpoint open(Path folder) {
        return new SafetensorsCheckpoint(folder);
    }

    private SafetensorsCheckpoint(Path folder) {
        this.folder = folder;
        LlamaConfigJson.Parsed parsed = LlamaConfigJson.read(folder.resolve(CONFIG));
        config = parsed.config();
        try {
            Map<String, String> places = Files.exists(folder.resolve(SINGLE)) ? Map.of() : index();
            for (String name : places.isEmpty() ? Set.of(SINGLE) : new TreeSet<>(places.values())) {
                files.add(SafetensorsFile.open(folder.resolve(name)));
            }
            reading(() -> {
                collect(allTensors(), parsed.loadIn4Bit());
                checkIndex(places);
                dropTiedHead();
                return null;
            });
            Map<String, long[]> shapes = new LinkedHashMap<>();
            plain.forEach((name, place) -> shapes.put(name, place.tensor().dimensions()));
            packed.forEach((name, weight) -> shapes.put(name, weight.shape().clone()));
            LlamaTensors.check(files.size() == 1 ? files.getFirst().path() : folder, LlamaTensors.all(config), shapes, UnaryOperator.identity());
        } catch (RuntimeException e) {
            close();
            throw e;
        }
    }

    @Override
    public LlamaConfig config() {
        return config;
    }

    @Override
    public String description() {
        Map<String, Long> elements = new TreeMap<>();
        for (String name : names()) {
            long[] shape = shape(name);
            elements.merge(storedType(name), shape.length == 2 ? shape[0] * shape[1] : shape[0], Long::sum);
        }
        String type = Collections.max(elements.entrySet(), Map.Entry.comparingByValue()).getKey();
        long bytes = files.stream().mapToLong(SafetensorsFile::size).sum();
        return String.format(Locale.ROOT, "%s (safetensors %s, %s)", folder.toAbsolutePath().normalize().getFileName(), type, ByteCount.text(bytes));
    }

    @Override
    public boolean quantizedByBitsandbytes() {
        return !packed.isEmpty();
    }

    @Override
    public Set<String> names() {
        Set<String> names = new TreeSet<>(plain.keySet());
        names.addAll(packed.keySet());
        return Collections.unmodifiableSet(names);
    }

    @Override
    public long[] shape(String name) {
        return packed.containsKey(name) ? packed.get(name).shape().clone() : place(name).tensor().dimensions();
    }

    @Override
    public String storedType(String name) {
        return packed.containsKey(name) ? packed.get(name).storedType() : place(name).tensor().type().name();
    }

    @Override
    public void read(String name, long offset, int count, float[] destination) {
        if (packed.containsKey(name)) {
            BnbWeight weight = packed.get(name);
            Floats.checkRange(name, weight.shape()[0] * weight.shape()[1], offset, count, destination);
            reading(() -> {
                weight.read(offset, count, destination);
                return null;
            });
        } else {
            Place place = place(name);
            place.file().read(place.stored(), offset, count, destination);
        }
    }

    /** Matrices of plain numbers, but for F64. */
    @Override
    public Optional<StoredBlocks> storedBlocks(String name) {
        if (packed.containsKey(name)) {
            return Optional.empty();
        }
        Place place = place(name);
        SafetensorsFile.Tensor t = place.tensor();
        Optional<GgmlType> type = switch (t.type()) {
            case F32 -> Optional.of(GgmlType.F32);
            case F16 -> Optional.of(GgmlType.F16);
            case BF16 -> Optional.of(GgmlType.BF16);
            default -> Optional.empty();
        };
        return t.shape().size() == 2
                ? type.flatMap(g -> place.file().reading(() -> BlockScales.checked(place.file().path(), name, new StoredBlocks(g, t.data(), 0)))) : Optional.empty();
    }

    @Override
    public Optional<Stored4Bit> stored4Bit(String name) {
        if (packed.containsKey(name)) {
            return Optional.of(reading(() -> packed.get(name).checked()));
        }
        place(name);
        return Optional.empty();
    }

    @Override
    public <T> T reading(Supplier<T> computation) {
        return SafetensorsFile.reading(files, computation);
    }

    @Override
    public void close() {
        // One that is in use is refused first, before any other is closed: computations read all of them.
        files.forEach(SafetensorsFile::close);
    }

    private Place place(String name) {
        Place place = plain.get(name);
        if (place == null) {
            throw new PanaceaException(folder + " has no tensor " + name);
        }
        return place;
    }

    /** The file of each tensor, by the index. */
    private Map<String, String> index() {
        Path path = folder.resolve(INDEX);
        if (!Files.exists(path)) {
            throw new PanaceaException(folder + " has neither " + SINGLE + " nor " + INDEX
                    + "; give a folder as transformers saves it (with safetensors, not pytorch_model.bin), or a .gguf file");
        }
        JsonNode map = JsonFiles.read(path).path("weight_map");
        if (!map.isObject() || map.isEmpty()) {
            throw new PanaceaException(path + " has no weight_map; download it again");
        }
        Map<String, String> places = new LinkedHashMap<>();
        map.properties().forEach(e -> {
            String file = e.getValue().asText();
            if (!e.getValue().isTextual() || !isPlainFileName(file)) {
                throw new PanaceaException(path + " places " + e.getKey() + " in the file " + e.getValue()
                        + ", which is not the plain name of a .safetensors file in the same folder");
            }
            places.put(e.getKey(), file);
        });
        if (new TreeSet<>(places.values()).size() > MOST_FILES) {
            throw new PanaceaException(path + " names more than " + MOST_FILES + " files");
        }
        return places;
    }

    /** Whether a name from outside stays within its folder. */
    static boolean isPlainFileName(String name) {
        return PLAIN_FILE_NAME.matcher(name).matches();
    }

    private void collect(Map<String, SafetensorsFile> all, boolean loadIn4Bit) {
        Set<String> expected = LlamaTensors.all(config).keySet();
        all.forEach((name, file) -> {
            String owner = BnbWeight.SUFFIXES.stream().filter(name::endsWith).findFirst().map(s -> name.substring(0, name.length() - s.length())).orElse(name);
            boolean isPart = !owner.equals(name) && all.containsKey(owner) && BnbWeight.isStored(all, owner);
            if (isPart || name.endsWith(OLD_BUFFER)) {
                return;
            }
            String whole = !expected.contains(name) && expected.contains(PREFIX + name) ? PREFIX + name : name;
            if (!whole.equals(name) && all.containsKey(whole)) {
                throw new PanaceaException(file.path() + ": the tensor " + whole + " is there twice, once as " + name);
            }
            if (!BnbWeight.isStored(all, name)) {
                requireFloats(file, name);
                plain.put(whole, new Place(file, name));
            } else if (loadIn4Bit) {
                packed.put(whole, BnbWeight.of(all, name));
            } else {
                throw new PanaceaException(file.path() + ": " + name + " is in bitsandbytes' 4 bits, but " + CONFIG + " has no quantization_config that says so");
            }
        });
    }

    private Map<String, SafetensorsFile> allTensors() {
        Map<String, SafetensorsFile> all = new LinkedHashMap<>();
        for (SafetensorsFile file : files) {
            for (String name : file.names()) {
                SafetensorsFile other = all.put(name, file);
                if (other != null) {
                    throw new PanaceaException(file.path() + ": the tensor " + name + " is in " + other.path().getFileName() + ", too");
                }
            }
        }
        return all;
    }

    private static void requireFloats(SafetensorsFile file, String name) {
        switch (file.tensor(name).type()) {
            case F64, F32, F16, BF16 -> { }
            default -> throw new PanaceaException(file.path() + ": tensor " + name + " is of type " + file.tensor(name).type()
                    + "; weights are F32, F16, BF16 or F64, or complete 4-bit weights of bitsandbytes");
        }
    }

    private void checkIndex(Map<String, String> places) {
        places.forEach((name, file) -> {
            if (files.stream().noneMatch(f -> f.path().getFileName().toString().equals(file) && f.names().contains(name))) {
                throw new PanaceaException(folder.resolve(file) + " lacks the tensor " + name + ", which " + INDEX + " places there; download it again");
            }
        });
    }

    /** Some programs save the embedding a second time as the head, although the two are one, or only as the head. */
    private void dropTiedHead() {
        if (!config.tieWordEmbeddings() || !plain.containsKey(LlamaTensors.HEAD)) {
            return;
        }
        Place head = plain.remove(LlamaTensors.HEAD);
        Place embedding = plain.computeIfAbsent(LlamaTensors.EMBEDDING, name -> head);
        SafetensorsFile.Tensor a = head.tensor();
        SafetensorsFile.Tensor b = embedding.tensor();
        if (a.type() != b.type() || !a.shape().equals(b.shape()) || a.data().mismatch(b.data()) >= 0) {
            throw new PanaceaException(head.file().path() + ": tie_word_embeddings is true in " + CONFIG + ", but " + LlamaTensors.HEAD + " differs from "
                    + LlamaTensors.EMBEDDING + "; set it to false");
        }
    }
}
