package dev.panacea.io;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.sun.net.httpserver.HttpExchange;
import dev.panacea.kernels.PanaceaException;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import java.util.zip.GZIPOutputStream;
import org.assertj.core.api.AbstractThrowableAssert;
import org.assertj.core.api.InstanceOfAssertFactories;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Hubs that answer wrongly for ever: each download ends, with an error of ours, and keeps what honestly came. Secrets of its address go nowhere else. */
@Timeout(value = 60, unit = TimeUnit.SECONDS)
class HostileHubTest {
    private static final String ID = "some-owner/Tiny-1.5";
    private static final String WEIGHTS = "model.safetensors";

    @TempDir
    Path temp;
    private final LocalHub hub = new LocalHub(ID);
    private final Map<String, String> environment = new HashMap<>();
    private final List<String> messages = new ArrayList<>();
    private byte[] weights;

    @BeforeEach
    void setUp() throws IOException {
        Path model = new TinyLlama(8).writeFolder(temp.resolve("model"));
        weights = new byte[1 << 20];
        new Random(1).nextBytes(weights);
        hub.files.put("config.json", Files.readAllBytes(model.resolve("config.json")));
        hub.files.put("tokenizer.json", "{}".getBytes(StandardCharsets.UTF_8));
        hub.files.put(WEIGHTS, weights);
        environment.putAll(Map.of("HF_HOME", temp.resolve("hf").toString(), "PANACEA_CACHE", temp.resolve("panacea").toString(), "HF_ENDPOINT", hub.address(), "PATH", "/nowhere"));
    }

    @AfterEach
    void tearDown() {
        hub.close();
    }

    // ---- answers without an end --------------------------------------------------------------------------------------

    @ParameterizedTest
    @CsvSource({"0", "1", "1000"})
    void cutsForEver(int bytes) {
        hub.instead = exchange -> {
            int from = from(exchange);
            exchange.getResponseHeaders().add("Content-Range", "bytes " + from + "-" + (weights.length - 1) + "/" + weights.length);
            exchange.sendResponseHeaders(from > 0 ? 206 : 200, weights.length - from);
            exchange.getResponseBody().write(weights, from, bytes);
            exchange.getResponseBody().flush();
            throw new IOException("cut");
        };
        stops("the connection was cut", 4);
        goesOnFrom(0, 4 * bytes);
    }

    /** Every try brings as much as makes it worth another one: all of it comes in the end. */
    @Test
    void manyHonestCuts() throws IOException {
        hub.instead = exchange -> {
            int from = from(exchange);
            exchange.getResponseHeaders().add("Content-Range", "bytes " + from + "-" + (weights.length - 1) + "/" + weights.length);
            exchange.sendResponseHeaders(from > 0 ? 206 : 200, weights.length - from);
            exchange.getResponseBody().write(weights, from, Math.min(weights.length - from, 100_000));
            exchange.close();
        };
        assertThat(locate().resolve(WEIGHTS)).hasBinaryContent(weights);
        assertThat(hub.storeRequests).hasSizeBetween(11, 15);
    }

    /** A server that starts anew each time gets further each time: what is there already is passed over, not thrown away. */
    @Test
    void wholeAnswersToPartialRequestsLoseNothing() throws IOException {
        int[] lengths = {300_000, 200_000, 500_000, 100_000, 900_000};
        hub.instead = exchange -> {
            int round = hub.storeRequests.size() - 1;
            exchange.sendResponseHeaders(200, weights.length);
            exchange.getResponseBody().write(weights, 0, round < lengths.length ? lengths[round] : weights.length);
            exchange.close();
        };
        assertThat(locate().resolve(WEIGHTS)).hasBinaryContent(weights);
        List<Integer> from = hub.storeRequests.stream().skip(1).map(r -> Integer.parseInt(r.replaceAll(".*bytes=([0-9]+)-.*", "$1"))).toList();
        assertThat(from).hasSize(5).isSorted().element(2).asInstanceOf(InstanceOfAssertFactories.INTEGER).isGreaterThan(400_000);
    }

    @Test
    void wholeAnswersThatAreCutForEver() {
        hub.instead = exchange -> {
            exchange.sendResponseHeaders(200, weights.length);
            exchange.getResponseBody().write(weights, 0, 100_000 + hub.storeRequests.size() % 3 * 100_000);
            exchange.close();
        };
        stops("the connection was cut", 12);
        goesOnFrom(200_000, 300_000);
    }

    @ParameterizedTest
    @CsvSource({"bytes 0-9/1048576", "bytes 400001-1048575/1048576", "bytes 400000-1048575/99", "nonsense", "''"})
    void partsThatWereNotAskedFor(String range) throws IOException {
        Path incomplete = incomplete(400_000);
        hub.instead = exchange -> {
            exchange.getResponseHeaders().add("Content-Range", range);
            exchange.sendResponseHeaders(206, 10);
            exchange.getResponseBody().write(weights, 0, 10);
            exchange.close();
        };
        stops("does not give the part", 4);
        assertThat(incomplete).hasSize(400_000);
        goesOnFrom(400_000, 400_000);
    }

    @Test
    void partsThatCannotBeHad() throws IOException {
        incomplete(400_000);
        hub.instead = exchange -> {
            boolean whole = exchange.getRequestHeaders().getFirst("Range") == null;
            exchange.sendResponseHeaders(whole ? 200 : 416, whole ? weights.length : -1);
            if (whole) {
                exchange.getResponseBody().write(weights);
            }
            exchange.close();
        };
        assertThat(locate().resolve(WEIGHTS)).hasBinaryContent(weights);
        assertThat(hub.storeRequests).hasSize(2);
    }

    @ParameterizedTest
    @CsvSource({"416, does not give the part", "429, status 429", "500, status 500", "503, status 503"})
    void refusalsForEver(int status, String reason) {
        hub.instead = exchange -> {
            exchange.getResponseHeaders().add("Retry-After", "31536000");
            exchange.sendResponseHeaders(status, -1);
            exchange.close();
        };
        stops(reason, 4);
    }

    @Test
    void endlessBody() {
        hub.instead = exchange -> {
            exchange.sendResponseHeaders(200, 0);
            while (true) {
                exchange.getResponseBody().write(weights);
            }
        };
        failed().hasMessageContaining(WEIGHTS).hasMessageContaining("longer than the 1048576 bytes that it should have");
        assertThat(hub.storeRequests).hasSize(1);
    }

    @Test
    void bodyShorterThanAnnounced() {
        hub.instead = exchange -> {
            exchange.sendResponseHeaders(200, 500_000);
            exchange.getResponseBody().write(weights, 0, 500_000);
            exchange.close();
        };
        stops("ends it before its end", 5);
        goesOnFrom(400_000, 500_000);
    }

    @Test
    void redirectionsInACircle() {
        hub.instead = exchange -> {
            exchange.getResponseHeaders().add("Location", exchange.getRequestURI().getPath() + "?Signature=secret");
            exchange.sendResponseHeaders(302, -1);
            exchange.close();
        };
        for (String at : List.of("/revision/main", "/config.json", "")) {
            hub.insteadAt = at;
            failed().hasMessageContaining("redirects more than 10 times").hasMessageNotContaining("secret");
        }
    }

    @ParameterizedTest
    @CsvSource({"ftp://user:secret@store/x", "'http://user:secret@store:99999999/ x'", "file:///etc/secret", "'//'", "''"})
    void redirectionsToNowhere(String location) {
        hub.instead = exchange -> {
            exchange.getResponseHeaders().add("Location", location);
            exchange.sendResponseHeaders(302, -1);
            exchange.close();
        };
        failed().hasMessageContaining("redirects to").satisfies(e -> assertThat(trace(e)).doesNotContain("secret"));
    }

    @Test
    void compressedAnswers() throws IOException {
        ByteArrayOutputStream zipped = new ByteArrayOutputStream();
        try (OutputStream gzip = new GZIPOutputStream(zipped)) {
            gzip.write(weights);
        }
        hub.instead = exchange -> {
            exchange.getResponseHeaders().add("Content-Encoding", "gzip");
            exchange.getResponseHeaders().add("ETag", "abc");
            exchange.sendResponseHeaders(200, exchange.getRequestMethod().equals("HEAD") ? -1 : zipped.size());
            if (!exchange.getRequestMethod().equals("HEAD")) {
                exchange.getResponseBody().write(zipped.toByteArray());
            }
            exchange.close();
        };
        for (String at : List.of("/revision/main", "/config.json", "")) {
            hub.insteadAt = at;
            failed().hasMessageContaining("in the encoding gzip, which was not asked for");
        }
        try (Stream<Path> files = Files.walk(temp.resolve("hf"))) {
            assertThat(files.filter(Files::isRegularFile).filter(f -> !f.toString().endsWith(".incomplete")).filter(f -> f.toFile().length() == zipped.size())).isEmpty();
        }
    }

    @Test
    void otherContent() {
        hub.instead = exchange -> {
            exchange.sendResponseHeaders(200, weights.length);
            exchange.getResponseBody().write(new byte[weights.length]);
            exchange.close();
        };
        failed().hasMessageContaining("SHA-256").hasMessageContaining("Start again");
        hub.instead = null;
        goesOnFrom(0, 0);
    }

    @Test
    void listingWithoutAnEnd() {
        hub.insteadAt = "/revision/main";
        hub.instead = exchange -> {
            exchange.sendResponseHeaders(200, 0);
            exchange.getResponseBody().write("{\"siblings\": [".getBytes(StandardCharsets.UTF_8));
            byte[] files = "{\"rfilename\": \"a\"},".repeat(10_000).getBytes(StandardCharsets.UTF_8);
            while (true) {
                exchange.getResponseBody().write(files);
            }
        };
        failed().hasMessageContaining("The listing of " + ID).hasMessageContaining("more than such a file can hold");
    }

    @Test
    void aStreamThatDripsIsClosed() throws IOException {
        try (InputStream drips = new Dripping(); StallGuard guard = new StallGuard(drips, Duration.ofMillis(300))) {
            assertThatThrownBy(() -> {
                while (drips.read() >= 0) {
                    Thread.sleep(1);
                }
            }).isInstanceOf(IOException.class);
        }
    }

    private static final class Dripping extends InputStream {
        private volatile boolean closed;

        @Override
        public int read() throws IOException {
            if (closed) {
                throw new IOException("closed");
            }
            return 0;
        }

        @Override
        public void close() {
            closed = true;
        }
    }

    // ---- secrets -----------------------------------------------------------------------------------------------------

    @Test
    void thePasswordOfTheAddressGoesToTheHubAlone() throws IOException {
        environment.put("HF_ENDPOINT", hub.address().replace("http://", "http://me:s%3Acret@") + "/");
        LocatedModel found = locator().locate(ID);
        assertThat(found.origin()).isEqualTo("Hugging Face Hub (" + hub.address() + ")");
        String basic = " Basic " + Base64.getEncoder().encodeToString("me:s:cret".getBytes(StandardCharsets.UTF_8));
        assertThat(hub.hubRequests).isNotEmpty().allMatch(r -> r.endsWith(basic));
        assertThat(hub.storeRequests).isNotEmpty().allMatch(r -> r.endsWith(" null"));
        assertThat(messages).isNotEmpty().noneMatch(m -> m.contains("cret"));
        try (Stream<Path> files = Files.walk(temp)) {
            for (Path file : files.toList()) {
                assertThat(file.toString()).doesNotContain("cret");
                assertThat(Files.isRegularFile(file) && new String(Files.readAllBytes(file), StandardCharsets.ISO_8859_1).contains("s%3Acret")).isFalse();
            }
        }
    }

    @ParameterizedTest
    @CsvSource({"http://me:secret@127.0.0.1:1", "http://secret@127.0.0.1:1", "http://me:secret", "me:secret@host", "http://me:sec/secret@host", "ht!tp://me:secret@host",
        "http://me:secret@ho st", "https://host/?token=secret", "https://host/#secret", "ftp://me:secret@host", "http://me:secret@", "http://[me:secret@"})
    void noMessageShowsThePassword(String endpoint) {
        environment.put("HF_ENDPOINT", endpoint);
        environment.put("HF_TOKEN", "hf_alsosecret");
        failed().satisfies(e -> assertThat(trace(e)).doesNotContain("secret"));
        assertThat(messages).noneMatch(m -> m.contains("secret"));
    }

    @Test
    void refusalsShowNoPassword() {
        environment.put("HF_ENDPOINT", hub.address().replace("http://", "http://me:secret@"));
        for (int status : new int[] {401, 403, 404, 429, 500}) {
            hub.listingStatus = status;
            failed().hasMessageContaining(hub.address()).satisfies(e -> assertThat(trace(e)).doesNotContain("secret"));
        }
    }

    /** The store has its own host here; a redirection back to the hub's own name at another port is another host, too. */
    @Test
    void theTokenDoesNotFollowARedirection() throws IOException {
        environment.put("HF_TOKEN", "hf_secret");
        locate();
        assertThat(hub.hubRequests).allMatch(r -> r.endsWith("Bearer hf_secret"));
        assertThat(hub.storeRequests).isNotEmpty().allMatch(r -> r.endsWith(" null"));
    }

    // ---- helpers -----------------------------------------------------------------------------------------------------

    private static int from(HttpExchange exchange) {
        String range = exchange.getRequestHeaders().getFirst("Range");
        return range == null ? 0 : Integer.parseInt(range.replaceAll("bytes=([0-9]+)-", "$1"));
    }

    private ModelLocator locator() {
        return new ModelLocator(environment, messages::add, (file, done, total) -> {}, Duration.ofSeconds(2), Duration.ofMillis(5));
    }

    private Path locate() {
        return locator().locate(ID).path();
    }

    private AbstractThrowableAssert<?, ? extends Throwable> failed() {
        return assertThatThrownBy(this::locate).isInstanceOf(PanaceaException.class);
    }

    private void stops(String reason, int mostRequests) {
        failed().hasMessageContaining("The download of " + WEIGHTS + " stopped at").hasMessageContaining(reason).hasMessageContaining("start again to go on");
        assertThat(hub.storeRequests).hasSizeLessThanOrEqualTo(mostRequests);
    }

    /** With a hub that is well again, the next try asks for no more than is missing; what was on its way when a connection was cut may be lost. */
    private void goesOnFrom(int least, int most) {
        hub.instead = null;
        hub.storeRequests.clear();
        assertThat(locate().resolve(WEIGHTS)).hasBinaryContent(weights);
        assertThat(hub.storeRequests).hasSize(1);
        String request = hub.storeRequests.getFirst();
        assertThat(request.contains(" null null") ? 0 : Integer.parseInt(request.replaceAll(".*bytes=([0-9]+)-.*", "$1"))).isBetween(least, most);
    }

    private Path incomplete(int bytes) throws IOException {
        Path incomplete = temp.resolve("hf/hub/models--some-owner--Tiny-1.5/blobs").resolve(LocalHub.sha256(weights) + ".incomplete");
        Files.createDirectories(incomplete.getParent());
        return Files.write(incomplete, java.util.Arrays.copyOf(weights, bytes));
    }

    private static String trace(Throwable e) {
        StringWriter text = new StringWriter();
        e.printStackTrace(new PrintWriter(text));
        return text.toString();
    }
}
