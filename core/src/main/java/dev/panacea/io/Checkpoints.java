package dev.panacea.io;

import dev.panacea.kernels.PanaceaException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/** Opens a model of whatever format. */
public final class Checkpoints {
    private static final Pattern PART = Pattern.compile("(?i).*-[0-9]{5}-of-[0-9]{5}\\.gguf");

    private Checkpoints() {}

    /**
     * Opens a .gguf file, a folder in Hugging Face's format, or a folder that holds one .gguf file.
     *
     * @throws PanaceaException naming the file and what is wrong with it
     */
    public static Checkpoint open(Path path) {
        if (!Files.isDirectory(path)) {
            if (path.toString().toLowerCase(Locale.ROOT).endsWith(".safetensors")) {
                throw new PanaceaException(path + " is a single safetensors file; give the folder that holds it and its " + SafetensorsCheckpoint.CONFIG);
            }
            return GgufCheckpoint.open(path);
        }
        if (Files.exists(path.resolve(SafetensorsCheckpoint.SINGLE)) || Files.exists(path.resolve(SafetensorsCheckpoint.INDEX))) {
            return SafetensorsCheckpoint.open(path);
        }
        List<Path> gguf = ggufFiles(path);
        if (gguf.size() > 1 && gguf.stream().allMatch(f -> PART.matcher(f.getFileName().toString()).matches())) {
            throw new PanaceaException(path + " holds a .gguf model in " + gguf.size() + " parts; join them with llama.cpp's llama-gguf-split and its"
                    + " merge option, and give the file that comes of it");
        }
        if (gguf.size() > 1) {
            throw new PanaceaException(path + " holds " + gguf.size() + " .gguf files; give the path of the one you mean: " + gguf);
        }
        return gguf.isEmpty() ? SafetensorsCheckpoint.open(path) : GgufCheckpoint.open(gguf.getFirst());
    }

    /** The .gguf files right in a folder. */
    static List<Path> ggufFiles(Path folder) {
        try (Stream<Path> files = Files.list(folder)) {
            return files.filter(f -> f.getFileName().toString().toLowerCase(Locale.ROOT).endsWith(".gguf")).sorted().toList();
        } catch (IOException e) {
            throw FileErrors.reading(folder, e);
        }
    }
}
