package dev.panacea.io;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.panacea.kernels.PanaceaException;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.OptionalLong;
import java.util.Set;
import java.util.TreeSet;
import java.util.function.Consumer;
import java.util.regex.Pattern;

/** Downloads a model from the Hugging Face Hub, or a mirror of it, into Hugging Face's cache. */
final class HubClient implements AutoCloseable {
    private static final Duration LISTING_LIMIT = Duration.ofSeconds(6);
    private static final Duration HEADER_LIMIT = Duration.ofSeconds(20);
    private static final int LONGEST_LISTING = 16 << 20;
    private static final Pattern SAFE_TAG = Pattern.compile("[A-Za-z0-9][A-Za-z0-9_-]{0,127}");
    private static final Pattern SHA256 = Pattern.compile("[0-9a-f]{64}");
    private static final List<String> BESIDE_WEIGHTS = List.of("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "generation_config.json",
            "chat_template.jinja");

    private final HubCache cache;
    private final Consumer<String> messages;
    private final ModelLocator.Progress progress;
    private final HubRequests requests;
    private final Duration pause;

    HubClient(Map<String, String> environment, HubCache cache, Consumer<String> messages, ModelLocator.Progress progress, Duration pause) {
        this.pause = pause;
        this.cache = cache;
        this.messages = messages;
        this.progress = progress;
        requests = new HubRequests(environment);
    }

    String endpoint() {
        return requests.endpoint();
    }

    /**
     * Downloads what is missing of a model.
     *
     * @return the folder with its files
     * @throws HubUnavailable if the hub cannot be reached or does not give it out
     * @throws PanaceaException if what comes is wrong, or cannot be stored
     */
    Path download(String model) {
        ObjectNode listing = listing(model);
        String commit = listing.path("sha").asText();
        if (!HubCache.isCommit(commit)) {
            throw new HubUnavailable(endpoint() + " does not answer as a Hugging Face Hub does: its listing of " + model + " names no commit; correct HF_ENDPOINT");
        }
        Set<String> offered = new LinkedHashSet<>();
        for (JsonNode file : listing.path("siblings")) {
            offered.add(file.path("rfilename").asText());
        }
        List<String> wanted = new ArrayList<>(BESIDE_WEIGHTS);
        wanted.retainAll(offered);
        boolean inShards = !offered.contains(SafetensorsCheckpoint.SINGLE);
        wanted.add(inShards ? SafetensorsCheckpoint.INDEX : SafetensorsCheckpoint.SINGLE);
        if (!offered.containsAll(wanted) || !offered.contains(SafetensorsCheckpoint.CONFIG)) {
            throw new PanaceaException("The model " + model + " has no " + SafetensorsCheckpoint.CONFIG + " and " + SafetensorsCheckpoint.SINGLE + " on " + endpoint()
                    + "; choose one with safetensors weights, or download its .gguf file and give the path of that");
        }
        messages.accept("Downloading " + model + " (commit " + commit.substring(0, Math.min(8, commit.length())) + ") into " + cache.folder(model));
        wanted.forEach(file -> fetch(model, commit, file));
        if (inShards) {
            TreeSet<String> shards = HubCache.shards(cache.snapshot(model, commit).resolve(SafetensorsCheckpoint.INDEX));
            if (shards.isEmpty() || !offered.containsAll(shards)) {
                throw new PanaceaException("The index of " + model + " names the files " + shards + ", of which some are not on " + endpoint());
            }
            shards.forEach(file -> fetch(model, commit, file));
        }
        cache.publish(model, commit);
        return cache.snapshot(model, commit);
    }

    @Override
    public void close() {
        requests.close();
    }

    private ObjectNode listing(String model) {
        HttpResponse<InputStream> response = requests.get(requests.at("/api/models/" + model + "/revision/main"), OptionalLong.empty(), LISTING_LIMIT);
        try (InputStream body = response.body(); StallGuard guard = new StallGuard(body, LISTING_LIMIT)) {
            requireFound(response.statusCode(), "model", model);
            requests.requirePlain(response, "the listing of " + model);
            return JsonFiles.parse(new String(body.readNBytes(LONGEST_LISTING), StandardCharsets.UTF_8), "The listing of " + model + " on " + endpoint());
        } catch (IOException e) {
            throw requests.unreachable(e);
        }
    }

    /** The hub answers 401 for what does not exist, too, so as not to tell what is private. */
    private void requireFound(int status, String what, String model) {
        String token = requests.hasToken() ? "the token in HF_TOKEN has no access to it" : "set HF_TOKEN to a token that has access";
        switch (status) {
            case 200, 206 -> { }
            case 401 -> throw new HubUnavailable(endpoint() + " does not give out " + model + " (401): it does not exist, or is private or gated; check the name, or " + token);
            case 403 -> throw new HubUnavailable(endpoint() + " refuses " + model + " (403): it is gated; accept its terms at " + endpoint() + "/" + model + " and " + token);
            case 404 -> throw new HubUnavailable("There is no " + what + " " + model + " on " + endpoint() + " (404); check the name");
            default -> throw new HubUnavailable(endpoint() + " answers with status " + status + "; try again later");
        }
    }

    private void fetch(String model, String commit, String file) {
        if (Files.exists(cache.snapshot(model, commit).resolve(file))) {
            return;
        }
        URI place = requests.at("/" + model + "/resolve/" + commit + "/" + file);
        HubRequests.FileHeaders headers = requests.head(place, HEADER_LIMIT);
        requireFound(headers.status(), "file " + file + " of model", model);
        String tag = headers.tag().orElse("");
        if (!SAFE_TAG.matcher(tag).matches()) {
            throw new HubUnavailable(endpoint() + " does not answer as a Hugging Face Hub does: it gives " + file + " no ETag; correct HF_ENDPOINT");
        }
        Path blob = cache.blobs(model).resolve(tag);
        if (!Files.exists(blob)) {
            // The tag of a large file is the SHA-256 of its content.
            String sha256 = SHA256.matcher(tag).matches() ? tag : "";
            new ResumableDownload(requests, place, blob, file, headers.size(), sha256, messages, progress, pause).run(status -> requireFound(status, "file " + file + " of model", model));
        }
        cache.link(model, commit, file, blob);
    }
}
