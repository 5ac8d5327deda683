package dev.panacea.io;

import com.fasterxml.jackson.databind.JsonNode;
import dev.panacea.kernels.PanaceaException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import java.util.TreeSet;
import java.util.regex.Pattern;

/**
 * Hugging Face's cache of downloaded models, shared with its Python library: {@code models--owner--name/} with {@code blobs/} by content,
 * {@code snapshots/<commit>/} with links to them, and {@code refs/main}, which names a commit.
 */
record HubCache(Path root) {
    private static final Pattern COMMIT = Pattern.compile("[A-Za-z0-9]{1,64}");
    private static final String TOKENIZER = "tokenizer.json";

    Path folder(String model) {
        return root.resolve("models--" + model.replace("/", "--"));
    }

    Path blobs(String model) {
        return folder(model).resolve("blobs");
    }

    Path snapshot(String model, String commit) {
        return folder(model).resolve("snapshots").resolve(commit);
    }

    static boolean isCommit(String text) {
        return COMMIT.matcher(text).matches();
    }

    /** The model's folder, if all that is needed of it is there. */
    Optional<Path> find(String model) {
        Path ref = folder(model).resolve("refs").resolve("main");
        try {
            if (!Files.isRegularFile(ref) || Files.size(ref) > 100) {
                return Optional.empty();
            }
            String commit = Files.readString(ref).strip();
            return Optional.of(commit).filter(HubCache::isCommit).map(c -> snapshot(model, c)).filter(HubCache::isComplete);
        } catch (IOException e) {
            throw FileErrors.reading(ref, e);
        }
    }

    private static boolean isComplete(Path folder) {
        if (!Files.isDirectory(folder)) {
            return false;
        }
        if (Files.exists(folder.resolve(SafetensorsCheckpoint.SINGLE))) {
            return Files.exists(folder.resolve(SafetensorsCheckpoint.CONFIG)) && Files.exists(folder.resolve(TOKENIZER));
        }
        Path index = folder.resolve(SafetensorsCheckpoint.INDEX);
        if (Files.exists(index)) {
            return Files.exists(folder.resolve(SafetensorsCheckpoint.CONFIG)) && Files.exists(folder.resolve(TOKENIZER))
                    && shards(index).stream().allMatch(name -> Files.exists(folder.resolve(name)));
        }
        return Checkpoints.ggufFiles(folder).size() == 1;
    }

    /** The files that an index names. */
    static TreeSet<String> shards(Path index) {
        TreeSet<String> shards = new TreeSet<>();
        for (JsonNode file : JsonFiles.read(index).path("weight_map")) {
            if (!SafetensorsCheckpoint.isPlainFileName(file.asText())) {
                throw new PanaceaException(index + " names the file " + file + ", which is not a plain name; do not use this model");
            }
            shards.add(file.asText());
        }
        return shards;
    }

    /** Puts a blob into a snapshot: as a link, which is how the cache saves space; where links are not possible the blob itself. */
    void link(String model, String commit, String file, Path blob) {
        Path place = snapshot(model, commit).resolve(file);
        try {
            AtomicFiles.createDirectories(place.getParent());
            Path temporary = AtomicFiles.beside(place);
            try {
                Files.createSymbolicLink(temporary, place.getParent().relativize(blob));
            } catch (UnsupportedOperationException | IOException e) {
                temporary = blob;
            }
            AtomicFiles.move(temporary, place);
        } catch (IOException e) {
            throw FileErrors.writing(place, e);
        }
    }

    /** Makes a commit the one that {@link #find} finds. */
    void publish(String model, String commit) {
        AtomicFiles.writeString(folder(model).resolve("refs").resolve("main"), commit);
    }
}
