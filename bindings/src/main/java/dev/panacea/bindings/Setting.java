package dev.panacea.bindings;

import java.util.Optional;

/**
 * A setting that comes from a Java system property or, where that is absent, from an environment variable. Blank counts as absent.
 *
 * @param property name of the system property
 * @param environment name of the environment variable
 */
public record Setting(String property, String environment) {

    /** A value, and the name of the property or variable it came from, for error messages. */
    public record Value(String text, String origin) {}

    /** The value now. */
    public Optional<Value> read() {
        return value(System.getProperty(property), property).or(() -> value(System.getenv(environment), environment));
    }

    private static Optional<Value> value(String text, String origin) {
        return text == null || text.isBlank() ? Optional.empty() : Optional.of(new Value(text.strip(), origin));
    }

    @Override
    public String toString() {
        return "-D" + property + " or " + environment;
    }
}
