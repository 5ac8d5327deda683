package dev.panacea.io;

import dev.panacea.kernels.PanaceaException;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.net.Proxy;
import java.net.ProxySelector;
import java.net.SocketAddress;
import java.net.URI;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;

/** Proxies as the environment names them (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY), which is what other programs go by but Java does not. */
final class EnvironmentProxy extends ProxySelector {
    /** Without the address, which may hold a password. */
    private static final String WRONG = "a proxy variable (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY) is not an address such as http://proxy:3128";

    private final Map<String, String> environment;

    private EnvironmentProxy(Map<String, String> environment) {
        this.environment = environment;
    }

    /** Java's own choice where the environment names no proxy. */
    static ProxySelector of(Map<String, String> environment) {
        EnvironmentProxy named = new EnvironmentProxy(environment);
        boolean isNamed = named.variable("https_proxy").isPresent() || named.variable("http_proxy").isPresent() || named.variable("all_proxy").isPresent();
        return isNamed ? named : Optional.ofNullable(ProxySelector.getDefault()).orElse(named);
    }

    @Override
    public List<Proxy> select(URI uri) {
        Optional<String> proxy = variable(uri.getScheme().toLowerCase(Locale.ROOT) + "_proxy").or(() -> variable("all_proxy"));
        return List.of(proxy.filter(p -> !isExcluded(uri.getHost())).map(EnvironmentProxy::proxy).orElse(Proxy.NO_PROXY));
    }

    @Override
    public void connectFailed(URI uri, SocketAddress address, IOException e) {
        // The request itself fails, and its error is told.
    }

    private boolean isExcluded(String host) {
        String name = host.toLowerCase(Locale.ROOT);
        return Arrays.stream(variable("no_proxy").orElse("").toLowerCase(Locale.ROOT).split(",")).map(s -> s.strip().replaceFirst("^\\.", ""))
                .filter(s -> !s.isEmpty()).anyMatch(s -> s.equals("*") || name.equals(s) || name.endsWith("." + s));
    }

    private static Proxy proxy(String address) {
        try {
            URI uri = URI.create(address.contains("://") ? address : "http://" + address);
            if (uri.getHost() != null && "http".equals(uri.getScheme())) {
                return new Proxy(Proxy.Type.HTTP, InetSocketAddress.createUnresolved(uri.getHost(), uri.getPort() < 0 ? 80 : uri.getPort()));
            }
        } catch (IllegalArgumentException e) {
            throw new PanaceaException(WRONG, e);
        }
        throw new PanaceaException(WRONG);
    }

    private Optional<String> variable(String name) {
        return Optional.ofNullable(environment.getOrDefault(name, environment.get(name.toUpperCase(Locale.ROOT)))).map(String::strip).filter(v -> !v.isEmpty());
    }
}
