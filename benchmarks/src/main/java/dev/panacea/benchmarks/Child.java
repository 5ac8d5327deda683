package dev.panacea.benchmarks;

import dev.panacea.kernels.PanaceaException;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;

/**
 * A {@link ChildMain} in a JVM of its own, whose memory is therefore that of the program alone. It says how much a unit comes to, then runs one unit for
 * each line it is sent and answers with the seconds, so that the parent can measure the ceiling in between, and tells its peak memory at the end.
 */
final class Child implements AutoCloseable {
    private final String program;
    private final Process process;
    private final BufferedReader answers;
    private final BufferedWriter orders;

    /** @param arguments of {@link ChildMain}; settings of ours that are system properties here are so there */
    Child(List<String> arguments) {
        program = String.join(" ", arguments);
        List<String> command = new ArrayList<>(List.of(Path.of(System.getProperty("java.home"), "bin", "java").toString(), "--enable-native-access=ALL-UNNAMED",
                // One thread of collection and a small heap: the arrays are outside it.
                "-XX:+UseSerialGC", "-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", System.getProperty("java.class.path")));
        System.getProperties().stringPropertyNames().stream().filter(p -> p.startsWith("panacea.")).forEach(p -> command.add("-D" + p + "=" + System.getProperty(p)));
        command.add(ChildMain.class.getName());
        command.addAll(arguments);
        try {
            process = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
        } catch (IOException e) {
            throw new PanaceaException("cannot start " + command.getFirst() + ": " + e.getMessage(), e);
        }
        answers = process.inputReader(StandardCharsets.UTF_8);
        orders = process.outputWriter(StandardCharsets.UTF_8);
    }

    /** The next number that the child says. */
    double number() {
        try {
            String line = answers.readLine();
            if (line == null) {
                throw failed();
            }
            return Double.parseDouble(line);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private PanaceaException failed() {
        try {
            return new PanaceaException("the program '" + program + "' stopped with exit code " + (process.waitFor(10, TimeUnit.SECONDS) ? process.exitValue() : "unknown")
                    + "; its messages are above");
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            return new PanaceaException("interrupted while waiting for '" + program + "'", e);
        }
    }

    /** Runs one unit. */
    double seconds() {
        try {
            orders.write("run\n");
            orders.flush();
        } catch (IOException e) {
            throw failed();
        }
        return number();
    }

    /** Ends the program and returns the most memory it had, in bytes; 0 where the system does not tell. */
    double peak() {
        try {
            orders.close();
        } catch (IOException e) {
            throw failed();
        }
        return number();
    }

    @Override
    public void close() {
        process.destroy();
    }
}
