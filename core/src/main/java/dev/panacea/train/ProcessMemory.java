package dev.panacea.train;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.lang.management.MemoryPoolMXBean;
import java.lang.management.MemoryUsage;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalLong;

/** What the operating system tells of this process's memory and of what is left; Linux, and nothing elsewhere. */
final class ProcessMemory {
    private final Path root;

    /** @param root of the file system with /proc and /sys: {@code /} but in tests */
    ProcessMemory(Path root) {
        this.root = root;
    }

    /**
     * Bytes of this process in RAM.
     *
     * @param anonymous heap, native memory and stacks
     * @param mapped pages of mapped files: libraries and checkpoints
     */
    record Resident(long anonymous, long mapped) {
        long total() {
            return anonymous + mapped;
        }
    }

    /** What is in RAM now. */
    Optional<Resident> resident() {
        Map<String, Long> status = table(root.resolve("proc/self/status"), ":");
        Long anonymous = status.get("RssAnon");
        if (anonymous == null) {
            return Optional.empty();
        }
        return Optional.of(new Resident(1024 * anonymous, 1024 * (status.getOrDefault("RssFile", 0L) + status.getOrDefault("RssShmem", 0L))));
    }

    /** Bytes that this process can still get: what the system calls available, or what its control groups leave, whichever is less. */
    OptionalLong available() {
        Long free = table(root.resolve("proc/meminfo"), ":").get("MemAvailable");
        if (free == null) {
            return OptionalLong.empty();
        }
        long least = 1024 * free;
        for (String line : lines(root.resolve("proc/self/cgroup"))) {
            String[] parts = line.split(":", 3);
            if (parts.length == 3 && parts[1].isEmpty()) {
                least = Math.min(least, leftInGroups(root.resolve("sys/fs/cgroup"), parts[2], "memory.max", "memory.current", "inactive_file"));
            } else if (parts.length == 3 && List.of(parts[1].split(",")).contains("memory")) {
                least = Math.min(least, leftInGroups(root.resolve("sys/fs/cgroup/memory"), parts[2], "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"));
            }
        }
        return OptionalLong.of(Math.max(0, least));
    }

    /** The limit of a group holds for all below it. Inside a container the path may be that of the host; the mount point is then the group itself. */
    private static long leftInGroups(Path mount, String path, String limitFile, String usageFile, String reclaimable) {
        long least = Long.MAX_VALUE;
        Path top = mount.normalize();
        for (Path group = top.resolve(path.replaceFirst("^/+", "")).normalize(); group != null && group.startsWith(top); group = group.getParent()) {
            OptionalLong limit = number(group.resolve(limitFile));
            OptionalLong usage = number(group.resolve(usageFile));
            if (limit.isPresent() && usage.isPresent()) {
                long cache = table(group.resolve("memory.stat"), " ").getOrDefault(reclaimable, 0L);
                least = Math.min(least, limit.getAsLong() - Math.max(0, usage.getAsLong() - cache));
            }
        }
        return least;
    }

    private static OptionalLong number(Path file) {
        List<String> lines = lines(file);
        return lines.size() == 1 ? parsed(lines.getFirst()) : OptionalLong.empty();
    }

    private static Map<String, Long> table(Path file, String separator) {
        Map<String, Long> table = new HashMap<>();
        for (String line : lines(file)) {
            int at = line.indexOf(separator);
            if (at > 0) {
                parsed(line.substring(at + 1)).ifPresent(n -> table.put(line.substring(0, at), n));
            }
        }
        return table;
    }

    /** The number at the start of a text; none in "max". Limits near 2^63 mean that there is no limit. */
    private static OptionalLong parsed(String text) {
        String first = text.strip().split("\\s", 2)[0];
        return first.matches("\\d{1,18}") ? OptionalLong.of(Long.parseLong(first)) : OptionalLong.empty();
    }

    private static List<String> lines(Path file) {
        try {
            return Files.isReadable(file) ? Files.readAllLines(file, StandardCharsets.ISO_8859_1) : List.of();
        } catch (IOException | UncheckedIOException e) {
            // Files of /proc come and go with processes and groups; what cannot be read is not known.
            return List.of();
        }
    }

    /** Bytes by which Java's heap grows when so many are allocated: at most the part of the young generation that no object has been in, since then it collects. */
    static long javaGrowth(long garbage) {
        long untouched = 0;
        for (MemoryPoolMXBean pool : ManagementFactory.getMemoryPoolMXBeans()) {
            MemoryUsage usage = pool.getUsage();
            if (pool.getName().contains("Eden") && usage != null) {
                untouched += Math.max(0, usage.getCommitted() - usage.getUsed());
            }
        }
        return Math.min(untouched, garbage);
    }

    /** Bytes that this thread has allocated on Java's heap so far; 0 where the JVM does not count them. */
    static long javaAllocated() {
        return ManagementFactory.getThreadMXBean() instanceof com.sun.management.ThreadMXBean threads && threads.isThreadAllocatedMemorySupported()
                && threads.isThreadAllocatedMemoryEnabled() ? threads.getCurrentThreadAllocatedBytes() : 0;
    }
}
