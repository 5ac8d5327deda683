package dev.panacea.kernels;

import dev.panacea.bindings.NativeLibrary;
import java.io.File;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/**
 * A program that opens the kernels of the device that its settings name and tells what it got, and the way to run it in a process of its own: a process loads the library
 * once, and its environment cannot be changed from within.
 */
public final class LoadProbe {
    private LoadProbe() {}

    /** What a run printed, and how it ended. */
    record Result(int exit, String out, String err) {
        /** The value of a line {@code key=value}. */
        String get(String key) {
            return out.lines().filter(l -> l.startsWith(key + "=")).map(l -> l.substring(key.length() + 1)).findFirst()
                    .orElseThrow(() -> new AssertionError("no " + key + " in: " + out + err));
        }
    }

    /** {@code twice}: once more in another class loader. */
    public static void main(String[] args) throws Exception {
        try (Kernels kernels = Backends.open()) {
            System.out.println("kernels=" + kernels.getClass().getSimpleName());
            System.out.println("description=" + kernels.description());
            if (kernels instanceof CpuKernels cpu) {
                System.out.println("tier=" + cpu.tier().id());
                System.out.println("threads=" + cpu.threads());
                System.out.println("file=" + NativeLibrary.load().file());
                System.out.println("origin=" + NativeLibrary.load().origin());
                System.out.println("sum=" + sumOfSquares(kernels));
            }
        } catch (PanaceaException e) {
            System.out.println("error=" + e.getMessage());
            System.exit(3);
        }
        if (args.length > 0 && args[0].equals("twice")) {
            try (URLClassLoader second = new URLClassLoader(urls(System.getProperty("java.class.path")), ClassLoader.getPlatformClassLoader())) {
                second.loadClass(LoadProbe.class.getName()).getMethod("main", String[].class).invoke(null, (Object) new String[0]);
            }
        }
    }

    private static double sumOfSquares(Kernels kernels) {
        try (DeviceMemory memory = kernels.allocate(12); Arena arena = Arena.ofConfined()) {
            DeviceBuffer x = memory.view(DType.F32);
            kernels.upload(arena.allocateFrom(ValueLayout.JAVA_FLOAT, 1, 2, 3), x);
            return kernels.sumOfSquares(x, 3);
        }
    }

    static URL[] urls(String classPath) {
        return Arrays.stream(classPath.split(File.pathSeparator)).map(p -> {
            try {
                return Path.of(p).toUri().toURL();
            } catch (MalformedURLException e) {
                throw new IllegalArgumentException(e);
            }
        }).toArray(URL[]::new);
    }

    /** A started process, its output going to files so that it cannot block. */
    record Running(Process process, Path out, Path err) {
        Result await() throws IOException, InterruptedException {
            if (!process.waitFor(60, TimeUnit.SECONDS)) {
                process.destroyForcibly();
                throw new AssertionError("the probe did not end in 60 s");
            }
            return new Result(process.exitValue(), Files.readString(out), Files.readString(err));
        }
    }

    /**
     * Starts the probe.
     *
     * @param folder for its output
     * @param environment added to that of this process, from which all of Panacea's own is removed
     */
    static Running start(Path folder, String classPath, Map<String, String> environment, List<String> options, String... args) throws IOException {
        return start(LoadProbe.class, folder, classPath, environment, options, args);
    }

    /** As {@link #start(Path, String, Map, List, String...)}, of another program. */
    static Running start(Class<?> program, Path folder, String classPath, Map<String, String> environment, List<String> options, String... args) throws IOException {
        List<String> command = new ArrayList<>(List.of(Path.of(System.getProperty("java.home"), "bin", "java").toString(), "-XX:TieredStopAtLevel=1", "-cp", classPath));
        if (options.stream().noneMatch(o -> o.startsWith("--illegal-native-access"))) {
            command.add("--enable-native-access=ALL-UNNAMED");
        }
        command.addAll(options);
        command.add(program.getName());
        command.addAll(List.of(args));
        ProcessBuilder builder = new ProcessBuilder(command);
        builder.environment().keySet().removeIf(k -> k.startsWith("PANACEA_"));
        builder.environment().putAll(environment);
        Path out = Files.createTempFile(folder, "probe", ".out");
        Path err = Files.createTempFile(folder, "probe", ".err");
        return new Running(builder.redirectOutput(out.toFile()).redirectError(err.toFile()).start(), out, err);
    }

    /** The class path of the tests, as surefire gives it to this process. */
    static String classPath() {
        return System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"));
    }
}
