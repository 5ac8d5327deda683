package dev.panacea.io;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpHandler;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Executors;

/** A Hugging Face Hub on this machine: one server for the hub, one for the store to which it redirects large files. */
final class LocalHub implements AutoCloseable {
    static final String COMMIT = "0123456789abcdef0123456789abcdef01234567";

    final Map<String, byte[]> files = new LinkedHashMap<>();
    /** Requests as "METHOD path range token" of the hub and of the store. */
    final List<String> hubRequests = Collections.synchronizedList(new ArrayList<>());
    final List<String> storeRequests = Collections.synchronizedList(new ArrayList<>());
    final String model;
    volatile int listingStatus = 200;
    /** How many answers of the store break off after half of what they should bring. */
    volatile int cuts;
    volatile boolean ignoresRange;
    volatile boolean refusesFiles;
    volatile String announcedSha256 = "";
    /** Answers in place of the store, and of the hub where it names a path of it. */
    volatile HttpHandler instead;
    volatile String insteadAt = "";
    private final HttpServer hub;
    private final HttpServer store;

    LocalHub(String model) {
        this.model = model;
        hub = server("/", this::answer);
        store = server("/", this::answerFromStore);
    }

    private static HttpServer server(String path, HttpHandler handler) {
        try {
            HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
            server.createContext(path, handler);
            server.setExecutor(Executors.newVirtualThreadPerTaskExecutor());
            server.start();
            return server;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    String address() {
        return "http://127.0.0.1:" + hub.getAddress().getPort();
    }

    private void answer(HttpExchange exchange) throws IOException {
        String path = exchange.getRequestURI().getPath();
        hubRequests.add(describe(exchange));
        if (instead != null && !insteadAt.isEmpty() && path.endsWith(insteadAt)) {
            instead.handle(exchange);
            return;
        }
        if (path.equals("/api/models/" + model + "/revision/main")) {
            String siblings = String.join(", ", files.keySet().stream().map(f -> "{\"rfilename\": \"" + f + "\"}").toList());
            send(exchange, listingStatus, ("{\"sha\": \"" + COMMIT + "\", \"siblings\": [" + siblings + "]}").getBytes());
            return;
        }
        String name = path.replace("/" + model + "/resolve/" + COMMIT + "/", "");
        byte[] content = files.get(name);
        if (content == null || refusesFiles) {
            send(exchange, 404, new byte[0]);
        } else if (name.endsWith(".safetensors")) {
            String sha256 = announcedSha256.isEmpty() ? sha256(content) : announcedSha256;
            exchange.getResponseHeaders().add("X-Linked-Etag", "\"" + sha256 + "\"");
            exchange.getResponseHeaders().add("X-Linked-Size", Integer.toString(content.length));
            exchange.getResponseHeaders().add("Location", "http://127.0.0.1:" + store.getAddress().getPort() + "/" + name);
            send(exchange, 302, new byte[0]);
        } else {
            exchange.getResponseHeaders().add("ETag", "W/\"" + sha256(content).substring(0, 40) + "\"");
            send(exchange, 200, content);
        }
    }

    private void answerFromStore(HttpExchange exchange) throws IOException {
        storeRequests.add(describe(exchange));
        if (instead != null && insteadAt.isEmpty()) {
            instead.handle(exchange);
            return;
        }
        byte[] content = files.get(exchange.getRequestURI().getPath().substring(1));
        String range = exchange.getRequestHeaders().getFirst("Range");
        int from = range == null || ignoresRange ? 0 : Integer.parseInt(range.replaceAll("bytes=([0-9]+)-", "$1"));
        if (from > 0) {
            exchange.getResponseHeaders().add("Content-Range", "bytes " + from + "-" + (content.length - 1) + "/" + content.length);
        }
        int n = content.length - from;
        exchange.sendResponseHeaders(from > 0 ? 206 : 200, n);
        if (cuts > 0) {
            cuts--;
            exchange.getResponseBody().write(content, from, n / 2);
            exchange.getResponseBody().flush();
            throw new IOException("cut");
        }
        exchange.getResponseBody().write(content, from, n);
        exchange.close();
    }

    private static String describe(HttpExchange exchange) {
        return exchange.getRequestMethod() + " " + exchange.getRequestURI().getPath() + " " + exchange.getRequestHeaders().getFirst("Range") + " "
                + exchange.getRequestHeaders().getFirst("Authorization");
    }

    private static void send(HttpExchange exchange, int status, byte[] body) throws IOException {
        if (exchange.getRequestMethod().equals("HEAD")) {
            exchange.getResponseHeaders().add("Content-Length", Integer.toString(body.length));
            exchange.sendResponseHeaders(status, -1);
        } else {
            exchange.sendResponseHeaders(status, body.length == 0 ? -1 : body.length);
            exchange.getResponseBody().write(body);
        }
        exchange.close();
    }

    static String sha256(byte[] content) {
        Sha256 hash = new Sha256();
        hash.update(content, content.length);
        return hash.hex();
    }

    @Override
    public void close() {
        hub.stop(0);
        store.stop(0);
    }
}
