package dev.panacea.examples;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.OptionalLong;
import java.util.stream.Stream;

/** The most memory that this process has had in RAM: heap, native buffers, mapped files and code together. */
final class PeakMemory {
    private static final Path STATUS = Path.of("/proc/self/status");

    private long seen;

    /** Looks at the present size, for systems that keep no record of the highest; call it where memory is high. */
    void sample() {
        now().ifPresent(bytes -> seen = Math.max(seen, bytes));
    }

    /** Bytes; empty where the system does not tell. */
    OptionalLong bytes() {
        sample();
        return seen > 0 ? OptionalLong.of(seen) : OptionalLong.empty();
    }

    private static OptionalLong now() {
        try {
            if (Files.isReadable(STATUS)) {
                try (Stream<String> lines = Files.lines(STATUS, StandardCharsets.ISO_8859_1)) {
                    return highWaterMark(lines);
                }
            }
            Process ps = new ProcessBuilder("ps", "-o", "rss=", "-p", Long.toString(ProcessHandle.current().pid())).redirectErrorStream(true).start();
            return kilobytes(new String(ps.getInputStream().readAllBytes(), StandardCharsets.ISO_8859_1));
        } catch (IOException | UncheckedIOException e) {
            // No such program: a figure for the report is not worth stopping for; the report says "not known".
            return OptionalLong.empty();
        }
    }

    /** Of the lines of /proc/PID/status. */
    static OptionalLong highWaterMark(Stream<String> lines) {
        return lines.filter(l -> l.startsWith("VmHWM:")).findFirst().map(l -> kilobytes(l.substring("VmHWM:".length()))).orElse(OptionalLong.empty());
    }

    private static OptionalLong kilobytes(String text) {
        String digits = text.strip().split("\\s", 2)[0];
        return digits.matches("\\d{1,15}") ? OptionalLong.of(Long.parseLong(digits) * 1024) : OptionalLong.empty();
    }
}
