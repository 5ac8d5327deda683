package dev.panacea.benchmarks;

import dev.panacea.bindings.Setting;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.PanaceaException;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.OptionalLong;
import java.util.stream.Stream;

/** What has to be known of the machine: how large its caches are, how much memory is free, and how much a process has used. */
final class Machine {
    private static final Path CACHES = Path.of("/sys/devices/system/cpu/cpu0/cache");
    private static final long USUAL_CACHE = 32L << 20;
    /** Set in MiB by whom a run's place in memory does not matter: shapes of a few kilobytes would need thousands of sets of operands. */
    static final Setting ROTATION = new Setting("panacea.benchmarks.rotation", "PANACEA_BENCHMARKS_ROTATION");
    /** More than twice the L2 cache of any GPU so far. */
    static final long GPU_ROTATION = 256L << 20;

    private Machine() {}

    /** Bytes of the last-level cache; 32 MiB where the system does not tell. */
    static long lastLevelCache() {
        if (!Files.isDirectory(CACHES)) {
            return USUAL_CACHE;
        }
        try (Stream<Path> all = Files.list(CACHES)) {
            return all.map(c -> c.resolve("size")).filter(Files::isReadable).mapToLong(Machine::size).max().orElse(USUAL_CACHE);
        } catch (IOException | UncheckedIOException e) {
            return USUAL_CACHE;
        }
    }

    private static long size(Path file) {
        try {
            return bytes(Files.readString(file, StandardCharsets.ISO_8859_1).strip());
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** Of the kernel's notation, such as {@code 266240K}; 0 for anything else. */
    static long bytes(String text) {
        if (!text.matches("\\d{1,9}[KMG]?")) {
            return 0;
        }
        int shift = switch (text.charAt(text.length() - 1)) {
            case 'K' -> 10;
            case 'M' -> 20;
            case 'G' -> 30;
            default -> 0;
        };
        return Long.parseLong(text.replaceAll("\\D", "")) << shift;
    }

    /** How much memory operands should go round in for each run to find them in DRAM, of the kernels' device. */
    static long rotation(Kernels kernels) {
        return ROTATION.read().map(Machine::mebibytes).orElseGet(() -> kernels.memoryUse().isPresent() ? GPU_ROTATION : rotation());
    }

    private static long mebibytes(Setting.Value value) {
        if (!value.text().matches("\\d{1,6}")) {
            throw new PanaceaException(value.origin() + "=" + value.text() + ": a number of MiB is needed");
        }
        return Long.parseLong(value.text()) << 20;
    }

    /** The same without kernels, of a CPU: twice the cache, but never more than a tenth of what is free. */
    static long rotation() {
        long free = field("/proc/meminfo", "MemAvailable:").orElse(Runtime.getRuntime().maxMemory());
        return Math.min(2 * lastLevelCache(), free / 10);
    }

    /** The most memory that this process has had in RAM so far, in bytes: heap, native memory, mapped files and code. Known on Linux only. */
    static OptionalLong peakResident() {
        return field("/proc/self/status", "VmHWM:");
    }

    private static OptionalLong field(String file, String name) {
        try (Stream<String> lines = Files.lines(Path.of(file), StandardCharsets.ISO_8859_1)) {
            return lines.filter(l -> l.startsWith(name)).map(l -> l.replaceAll("\\D", "")).filter(d -> !d.isEmpty() && d.length() < 16).mapToLong(d -> Long.parseLong(d) * 1024)
                    .findFirst();
        } catch (IOException | UncheckedIOException e) {
            // Not Linux.
            return OptionalLong.empty();
        }
    }
}
