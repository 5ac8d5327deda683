package dev.panacea.io;

import dev.panacea.kernels.PanaceaException;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.net.URISyntaxException;
import java.net.UnknownHostException;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpTimeoutException;
import java.nio.channels.UnresolvedAddressException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Base64;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * HTTP requests to the hub. Redirections are followed here and not by the client, since the token may go to the hub itself only; each
 * request has a limit of time that includes finding the address.
 */
final class HubRequests implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(HubRequests.class);
    private static final String DEFAULT_ENDPOINT = "https://huggingface.co";
    private static final Duration CONNECT_LIMIT = Duration.ofSeconds(3);
    private static final int MOST_REDIRECTIONS = 10;

    /** @param tag ETag without quotation marks; of large files the SHA-256 of the content */
    record FileHeaders(int status, Optional<String> tag, OptionalLong size) {}

    private final URI endpoint;
    private final Optional<String> token;
    /** For the hub alone: by the name and password in its address, as Hugging Face's own library has it, else by the token. */
    private final Optional<String> authorization;
    private final HttpClient client;

    HubRequests(Map<String, String> environment) {
        URI given = endpoint(environment.getOrDefault("HF_ENDPOINT", "").strip());
        endpoint = withoutUser(given);
        token = Optional.of(environment.getOrDefault("HF_TOKEN", "").strip()).filter(t -> !t.isEmpty());
        if (token.isPresent() && !token.get().matches("[!-~]+")) {
            throw new PanaceaException("HF_TOKEN holds characters that no token has; set it again");
        }
        authorization = Optional.ofNullable(given.getUserInfo()).map(u -> "Basic " + Base64.getEncoder().encodeToString(u.getBytes(StandardCharsets.UTF_8)))
                .or(() -> token.map(t -> "Bearer " + t));
        client = HttpClient.newBuilder().connectTimeout(CONNECT_LIMIT).followRedirects(HttpClient.Redirect.NEVER).version(HttpClient.Version.HTTP_1_1)
                .proxy(EnvironmentProxy.of(environment)).build();
    }

    private static URI endpoint(String text) {
        String base = text.isEmpty() ? DEFAULT_ENDPOINT : text.replaceAll("/+$", "");
        Optional<URI> uri = Optional.empty();
        try {
            uri = Optional.of(new URI(base));
        } catch (URISyntaxException e) {
            // Its message repeats the address, which may hold a password.
            LOG.debug("HF_ENDPOINT is not an address, at character {}", e.getIndex());
        }
        return uri.filter(u -> u.getHost() != null && ("https".equals(u.getScheme()) || "http".equals(u.getScheme())) && u.getQuery() == null && u.getFragment() == null)
                .orElseThrow(() -> new PanaceaException("HF_ENDPOINT is " + (mayHoldPassword(text) ? "not an address (and not shown, since it may hold a password)" : text)
                        + "; an address such as " + DEFAULT_ENDPOINT + " is expected"));
    }

    /** Where anything stands that a plain address does without. */
    private static boolean mayHoldPassword(String text) {
        String rest = text.replaceFirst("://", "").replaceFirst(":[0-9]+(?=/|$)", "");
        return rest.indexOf(':') >= 0 || rest.indexOf('@') >= 0 || rest.indexOf('?') >= 0 || rest.indexOf('#') >= 0;
    }

    /** Scheme, host, port and path: not the user's name and password, which are for no message and no file. */
    private static URI withoutUser(URI uri) {
        return URI.create(uri.getScheme() + "://" + uri.getHost() + (uri.getPort() < 0 ? "" : ":" + uri.getPort()) + uri.getRawPath());
    }

    String endpoint() {
        return endpoint.toString();
    }

    boolean hasToken() {
        return token.isPresent();
    }

    /** An address on the hub; the path has nothing in it that would need escaping. */
    URI at(String path) {
        return URI.create(endpoint + path);
    }

    /** Gets a file from byte {@code from} on, wherever it is. */
    HttpResponse<InputStream> get(URI place, OptionalLong from, Duration limit) {
        URI at = place;
        for (int i = 0; i <= MOST_REDIRECTIONS; i++) {
            HttpRequest.Builder request = request(at).GET();
            from.ifPresent(n -> request.header("Range", "bytes=" + n + "-"));
            HttpResponse<InputStream> response = send(request.build(), HttpResponse.BodyHandlers.ofInputStream(), limit);
            Optional<URI> next = redirection(at, response);
            if (next.isEmpty()) {
                return response;
            }
            discard(response.body());
            at = next.get();
        }
        throw tooManyRedirections(place);
    }

    /** What the hub tells about a file; other hosts, to which it redirects, are asked only if it tells nothing itself. */
    FileHeaders head(URI place, Duration limit) {
        URI at = place;
        for (int i = 0; i <= MOST_REDIRECTIONS; i++) {
            HttpResponse<Void> response = send(request(at).method("HEAD", HttpRequest.BodyPublishers.noBody()).build(), HttpResponse.BodyHandlers.discarding(), limit);
            Optional<String> linkedTag = response.headers().firstValue("X-Linked-Etag");
            Optional<URI> next = redirection(at, response);
            if (next.isEmpty() || linkedTag.isPresent()) {
                OptionalLong size = number(response, "X-Linked-Size");
                return new FileHeaders(next.isPresent() ? 200 : response.statusCode(), linkedTag.or(() -> response.headers().firstValue("ETag")).map(HubRequests::plainTag),
                        size.isPresent() || next.isPresent() ? size : number(response, "Content-Length"));
            }
            at = next.get();
        }
        throw tooManyRedirections(place);
    }

    HubUnavailable unreachable(Throwable cause) {
        return new HubUnavailable(endpoint + " cannot be reached (" + reason(cause) + "); check the network, HF_ENDPOINT and the proxy variables", cause);
    }

    private static String reason(Throwable cause) {
        if (cause instanceof TimeoutException || cause instanceof HttpTimeoutException) {
            return "no answer in time";
        }
        for (Throwable t = cause; t != null; t = t.getCause()) {
            if (t instanceof UnresolvedAddressException || t instanceof UnknownHostException) {
                return "the name of the host is not known";
            }
        }
        return cause.getMessage() == null ? cause.getClass().getSimpleName() : cause.getMessage();
    }

    @Override
    public void close() {
        client.shutdownNow();
    }

    private HttpRequest.Builder request(URI at) {
        HttpRequest.Builder request = HttpRequest.newBuilder(at).header("User-Agent", "panacea").header("Accept-Encoding", "identity");
        if (isHub(at)) {
            authorization.ifPresent(a -> request.header("Authorization", a));
        }
        return request;
    }

    private boolean isHub(URI at) {
        return endpoint.getScheme().equalsIgnoreCase(at.getScheme()) && endpoint.getHost().equalsIgnoreCase(at.getHost()) && endpoint.getPort() == at.getPort();
    }

    private <T> HttpResponse<T> send(HttpRequest request, HttpResponse.BodyHandler<T> handler, Duration limit) {
        CompletableFuture<HttpResponse<T>> answer = client.sendAsync(request, handler);
        try {
            return answer.get(limit.toMillis(), TimeUnit.MILLISECONDS);
        } catch (ExecutionException e) {
            throw unreachable(e.getCause());
        } catch (TimeoutException e) {
            answer.cancel(true);
            throw unreachable(e);
        } catch (InterruptedException e) {
            answer.cancel(true);
            Thread.currentThread().interrupt();
            throw new PanaceaException("interrupted while asking " + endpoint, e);
        }
    }

    private static Optional<URI> redirection(URI from, HttpResponse<?> response) {
        int status = response.statusCode();
        if (status != 301 && status != 302 && status != 303 && status != 307 && status != 308) {
            return Optional.empty();
        }
        String location = response.headers().firstValue("Location").orElse("");
        try {
            URI to = from.resolve(location);
            boolean isSafe = "https".equalsIgnoreCase(to.getScheme()) || "http".equalsIgnoreCase(to.getScheme()) && !"https".equalsIgnoreCase(from.getScheme());
            if (!location.isEmpty() && isSafe && to.getHost() != null) {
                return Optional.of(to);
            }
        } catch (IllegalArgumentException e) {
            // Nor the cause: its message repeats what may hold a password.
            throw new HubUnavailable(shown(from) + " redirects to what is no address");
        }
        throw new HubUnavailable(shown(from) + " redirects to an address that is not followed: it is not one of the web, or would leave https");
    }

    /** An address without user, password and query: addresses of stores are signed there. */
    private static String shown(URI uri) {
        return withoutUser(uri).toString();
    }

    private static HubUnavailable tooManyRedirections(URI place) {
        return new HubUnavailable(shown(place) + " redirects more than " + MOST_REDIRECTIONS + " times");
    }

    /**
     * Refuses a body that is compressed, which was not asked for and would be stored as it is.
     *
     * @param name of what comes, for people
     */
    void requirePlain(HttpResponse<?> response, String name) {
        String encoding = response.headers().firstValue("Content-Encoding").orElse("identity");
        if (!encoding.equalsIgnoreCase("identity")) {
            throw new HubUnavailable(endpoint + " sends " + name + " in the encoding " + encoding + ", which was not asked for; correct HF_ENDPOINT or the proxy variables");
        }
    }

    private static OptionalLong number(HttpResponse<?> response, String header) {
        return response.headers().firstValue(header).filter(v -> v.matches("[0-9]{1,18}")).map(v -> OptionalLong.of(Long.parseLong(v))).orElse(OptionalLong.empty());
    }

    private static String plainTag(String tag) {
        return tag.replaceFirst("^W/", "").replace("\"", "");
    }

    private static void discard(InputStream body) {
        try {
            body.close();
        } catch (IOException e) {
            // The next request is what counts.
            return;
        }
    }
}
