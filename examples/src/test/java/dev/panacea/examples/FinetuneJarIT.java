package dev.panacea.examples;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The packed jar as a user starts it, in processes of its own. */
class FinetuneJarIT {
    private static final Path JAR = Path.of(System.getProperty("finetune.jar"));
    private static final String JAVA = Path.of(System.getProperty("java.home"), "bin", "java").toString();

    @TempDir
    static Path shared;

    private static Path model;
    private static Path data;

    @TempDir
    Path folder;

    private record Result(int exitCode, String out, String err) {}

    @BeforeAll
    static void writeModelAndData() throws IOException {
        model = TinyModel.write(shared.resolve("tiny"));
        data = Files.writeString(shared.resolve("rows.csv"), "Context,Response\n" + "what is this?,\"aaaa, bbbb\"\n".repeat(12));
    }

    private List<String> training(String... more) {
        List<String> arguments = new ArrayList<>(List.of("--model", model.toString(), "--data", data.toString(), "--output", folder.resolve("out").toString(), "--answers", "2",
                "--answer-tokens", "8"));
        arguments.addAll(List.of(more));
        return arguments;
    }

    /** JDKs that deny what later ones will deny by default: nothing may need a flag, and nothing may warn. */
    @Test
    void runsWithoutFlagsAndWithoutWarnings() throws Exception {
        List<String> flags = Runtime.version().feature() >= 24 ? List.of("--illegal-native-access=deny", "--sun-misc-unsafe-memory-access=deny") : List.of();
        Result run = start(JAVA, flags, training("--max-steps", "2"));
        assertThat(run.err()).isEmpty();
        assertThat(run.exitCode()).isZero();
        assertThat(run.out()).contains("Result on held-out data");
        assertThat(folder.resolve("out/metrics.json")).exists();
    }

    /** With {@code -Dpanacea.cuda.driver}, or a GPU, and where the build had nvcc. */
    @Test
    void trainsAndAnswersOnAGpu() throws Exception {
        List<String> flags = new ArrayList<>();
        System.getProperties().forEach((name, value) -> {
            if (name.toString().startsWith("panacea.cuda.")) {
                flags.add("-D" + name + "=" + value);
            }
        });
        String kernels = start(JAVA, flags, List.of("--version")).out().lines().filter(l -> l.strip().startsWith("cuda")).findFirst().orElseThrow().strip();
        boolean there = kernels.contains("multiprocessors");
        if (!there) {
            System.out.println("the jar not tested on a GPU: " + kernels);
        }
        assumeTrue(there, kernels);
        Result run = start(JAVA, flags, training("--max-steps", "2", "--device", "cuda"));
        assertThat(run.err()).isEmpty();
        assertThat(run.exitCode()).isZero();
        assertThat(run.out()).contains(kernels, "GPU memory at the peak of training", "read back: the same logits", "peak GPU memory", "--device cuda");
        assertThat(Files.readString(folder.resolve("out/metrics.json"))).contains("\"device\" : \"cuda\"", kernels);
        assertThat(Files.readString(folder.resolve("out/report.html"))).contains(kernels, "GPU memory of training");
        Result answer = start(JAVA, flags, List.of("--chat", "what is this?", "--output", folder.resolve("out").toString(), "--device", "cuda", "--answer-tokens", "4"));
        assertThat(answer.err()).isEmpty();
        assertThat(answer.exitCode()).isZero();
    }

    @Test
    void aGpuThatIsNotThereIsAnErrorThatSaysWhereItWasLookedFor() throws Exception {
        Path missing = folder.resolve("libcuda.so.1");
        Result run = start(JAVA, List.of("-Dpanacea.cuda.driver=" + missing), training("--device", "cuda"));
        assertThat(run.exitCode()).isEqualTo(1);
        assertThat(run.err()).contains("no CUDA driver library: " + missing + ", named by panacea.cuda.driver, is not a file").hasLineCount(1);
        assertThat(folder.resolve("out")).doesNotExist();
    }

    @Test
    void tellsItsVersion() throws Exception {
        Result run = start(JAVA, List.of(), List.of("--version"));
        assertThat(run.err()).isEmpty();
        assertThat(run.exitCode()).isZero();
        assertThat(run.out()).startsWith("Panacea " + System.getProperty("finetune.version"));
    }

    @Test
    void anOlderJavaStartsANewerOne() throws Exception {
        Optional<Path> old = olderJava();
        assumeTrue(old.isPresent(), "no Java older than 22 on this machine");
        Result version = start(old.get().toString(), List.of(), List.of("--version"));
        assertThat(version.err()).isEmpty();
        assertThat(version.exitCode()).isZero();
        assertThat(version.out()).startsWith("Panacea ").doesNotContain(old.get().toRealPath().toString());
        assertThat(start(old.get().toString(), List.of(), List.of("--rank", "x")).exitCode()).as("the child's exit code").isEqualTo(2);
    }

    @Test
    void anOlderJavaAloneSaysWhatToInstall() throws Exception {
        Optional<Path> old = olderJava();
        assumeTrue(old.isPresent(), "no Java older than 22 on this machine");
        ProcessBuilder builder = new ProcessBuilder(old.get().toString(), "-jar", JAR.toString());
        builder.environment().put("PANACEA_JAVA_HOME", folder.toString());
        Result run = finish(builder.start());
        assertThat(run.exitCode()).isEqualTo(1);
        assertThat(run.err()).contains("Panacea needs Java 22 or newer", "Install JDK 25");
    }

    @Test
    void stoppedInTheMiddleItLeavesNothingHalfDone() throws Exception {
        Process process = new ProcessBuilder(command(JAVA, List.of(), training("--max-steps", "1000000"))).redirectErrorStream(true).start();
        StringBuilder out = new StringBuilder();
        // Not Process.destroy, which would close the output as well.
        readUntilStep(process, out, () -> process.toHandle().destroy());
        assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
        assertThat(process.exitValue()).isEqualTo(128 + 15);
        assertThat(out.toString()).containsPattern("Stopped\\. Nothing was written; [\\d,]+ training step(s are| is) lost");
        assertThat(folder.resolve("out")).doesNotExist();
    }

    /** Names, questions and what is printed, in languages that Java reads as ASCII or Latin-1, and in none. */
    @Test
    void whatIsNotAsciiIsRightInEveryLanguage() throws Exception {
        List<String> javas = new ArrayList<>(List.of(JAVA));
        olderJava().map(Path::toString).ifPresent(javas::add);
        for (String java : javas) {
            for (String language : List.of("env LC_ALL=C", "env LC_ALL=de_DE.ISO-8859-1", "env -u LC_ALL -u LC_CTYPE -u LANG")) {
                Path here = Files.createTempDirectory(folder, "language");
                String program = language + " '" + java + "' -jar '" + JAR + "'";
                Result run = shell(here, "cp '" + data + "' 'Fragen 医.csv'\n" + program + " --model '" + model + "' --data 'Fragen 医.csv' --output 'Ergebnisse für Jörg' --max-steps 1 --answers 0"
                        + " --eval-on-start false --quantization none || exit\nls\nls 'Ergebnisse für Jörg'\n"
                        + program + " --output 'Ergebnisse für Jörg' --chat 'Übelkeit? 医' --answer-tokens 2 || exit\n"
                        + program + " --rank 'ä医' >&2\n[ $? = 2 ]\n");
                assertThat(run.err()).as(program).isEqualToIgnoringNewLines("Error: --rank ä医: a whole number from 1 to 65536 is needed. See --help.");
                assertThat(run.exitCode()).as(program).isZero();
                assertThat(run.out()).contains("To train on: Fragen 医.csv", "Ergebnisse für Jörg/adapter, read back", "\nErgebnisse für Jörg\nFragen 医.csv\nadapter\nmetrics.json\nreport.html\n");
            }
        }
    }

    /** On a machine with a newer Java only, a question that is not ASCII makes the second process. */
    @Test
    void aLauncherThatIsKilledTakesTheRunWithIt() throws Exception {
        Path script = Files.writeString(folder.resolve("launch.sh"), "export LC_ALL=C\nexec '" + JAVA + "' -jar '" + JAR + "' --model '" + model + "' --data '" + data
                + "' --output 'für Jörg' --max-steps 1000000 --answers 0 --eval-on-start false\n");
        Process launcher = new ProcessBuilder("sh", script.toString()).directory(folder.toFile()).redirectErrorStream(true).start();
        StringBuilder out = new StringBuilder();
        // To the end: the second process holds the pipe open as long as it runs.
        readUntilStep(launcher, out, () -> {
            assertThat(launcher.children()).as("a second process").isNotEmpty();
            launcher.toHandle().destroyForcibly();
        });
        assertThat(launcher.waitFor(60, TimeUnit.SECONDS)).isTrue();
        assertThat(launcher.exitValue()).isEqualTo(128 + 9);
        assertThat(out.toString()).contains("Stopped. Nothing was written; ");
        assertThat(shell(folder, "ls").out()).doesNotContain("Jörg");
    }

    @Test
    void aRunThatIsKilledKeepsNobodyOutAndItsRemainsGo() throws Exception {
        Process first = new ProcessBuilder(command(JAVA, List.of(), training("--max-steps", "1000000", "--eval-on-start", "false"))).redirectErrorStream(true).start();
        Path output = folder.resolve("out");
        readUntilStep(first, new StringBuilder(), () -> {
            Result second = start(JAVA, List.of(), training("--max-steps", "1"));
            assertThat(second.exitCode()).isEqualTo(2);
            assertThat(second.err()).contains("another run has it (process " + first.pid() + ", since ").hasLineCount(1);
            first.toHandle().destroyForcibly();
        });
        assertThat(first.waitFor(60, TimeUnit.SECONDS)).isTrue();
        assertThat(output.resolve(".finetune.lock")).exists();
        Result third = start(JAVA, List.of(), training("--max-steps", "1", "--eval-on-start", "false"));
        assertThat(third.err()).isEmpty();
        assertThat(third.exitCode()).isZero();
        try (Stream<Path> files = Files.list(output)) {
            assertThat(files.map(f -> f.getFileName().toString())).containsExactlyInAnyOrder("adapter", "metrics.json", "report.html");
        }
    }

    @Test
    void aReaderThatHasGoneEndsTheRunQuietly() throws Exception {
        String program = "'" + JAVA + "' -jar '" + JAR + "'";
        Result run = shell(folder, "(" + program + " --model '" + model + "' --data '" + data + "' --output out --max-steps 1000000 --eval-on-start false; echo $? >code) | head -n 2\ncat code\nls\n"
                + program + " --help | :\n" + program + " --rank x 2>&1 | :\n");
        assertThat(run.err()).isEmpty();
        assertThat(run.out()).contains("\n141\n").doesNotContain("out\n");
    }

    @Test
    void javaThatDeniesNativeCodeIsOneLineWithTheRemedy() throws Exception {
        assumeTrue(Runtime.version().feature() >= 24, "Java can be told so from 24 on");
        List<String> command = new ArrayList<>(List.of(JAVA, "--illegal-native-access=deny", "-cp", JAR.toString(), "dev.panacea.launcher.Launcher"));
        command.addAll(training("--max-steps", "1"));
        Result run = finish(new ProcessBuilder(command).start());
        assertThat(run.exitCode()).isEqualTo(1);
        assertThat(run.err()).startsWith("Error: ").contains("--enable-native-access=ALL-UNNAMED").hasLineCount(1);
        assertThat(folder.resolve("out")).doesNotExist();
    }

    /** Neither a home, nor a cache, nor a temporary folder. */
    @Test
    void aMachineWithNowhereToWriteIsOneLineWithTheRemedy() throws Exception {
        Path file = Files.writeString(folder.resolve("file"), "");
        Result run = start(JAVA, List.of("-Duser.home=" + file, "-Djava.io.tmpdir=" + file), training("--max-steps", "1"));
        assertThat(run.exitCode()).isEqualTo(1);
        assertThat(run.err().lines().filter(l -> l.startsWith("Error: "))).singleElement().asString().contains("the native library tokenizers can be unpacked neither into the cache", "nor into a temporary folder", "PANACEA_CACHE");
        assertThat(run.err()).contains("No native kernels", "PANACEA_CACHE").doesNotContain("\tat ");
        assertThat(folder.resolve("out")).doesNotExist();
    }

    /** On a file system of 1 MB, which only this process sees: too full before the training, and full at its end. */
    @Test
    void aFullDiskIsFoundBeforeTheTrainingOrTheAdapterGoesElsewhere() throws Exception {
        assumeTrue(shell(folder, "unshare -rm true 2>/dev/null").exitCode() == 0, "this system lets no user mount anything");
        String program = "'" + JAVA + "' '-Duser.home=" + Files.createDirectory(folder.resolve("home")) + "' -jar '" + JAR + "' --model '" + model + "' --data '" + data
                + "' --answers 0 --eval-on-start false --output full/out --max-steps ";
        Path script = Files.writeString(folder.resolve("full.sh"), "mkdir full\nmount -t tmpfs -o size=1m none full || exit 9\n"
                + program + "1 >first || exit 8\ncp full/out/report.html earlier.html\n"
                + "head -c 900000 /dev/zero >full/z\n" + program + "1 >log\necho code $?\n"
                + "head -c 2000000 /dev/zero >full/z 2>/dev/null\n" + program + "1 >log\necho code $?\nrm full/z log\n"
                + "(" + program + "1000 >log; echo code $?) &\nwhile ! grep -q 'step ' log 2>/dev/null; do sleep 0.1; done\nhead -c 2000000 /dev/zero >full/z 2>/dev/null\nwait\n"
                + "cmp full/out/report.html earlier.html && echo the earlier results are whole\nls -A full/out\n");
        Result run = shell(folder, "unshare -rm sh '" + script + "'");
        assumeTrue(run.exitCode() != 9, "this system lets no user mount a tmpfs");
        assertThat(run.out()).as(run.err()).isEqualTo("code 2\ncode 2\ncode 1\nthe earlier results are whole\nadapter\nmetrics.json\nreport.html\n");
        assertThat(run.err().lines().toList()).hasSize(3).satisfiesExactly(l -> assertThat(l).contains("are free there, and the results need"),
                l -> assertThat(l).contains("--output full/out: cannot write there: the disk is full"),
                l -> assertThat(l).contains("Cannot write full/out/adapter: the disk is full", "The trained adapter is in " + folder.resolve("home/finetune-output-")));
        try (Stream<Path> files = Files.walk(folder.resolve("home"))) {
            assertThat(files.map(f -> f.getFileName().toString())).contains("adapter_config.json", "adapter_model.safetensors");
        }
    }

    private static Result shell(Path where, String script) throws Exception {
        // A file, since this process may not be able to write such arguments itself.
        Path file = Files.writeString(Files.createTempFile(shared, "script", ".sh"), script);
        return finish(new ProcessBuilder("sh", file.toString()).directory(where.toFile()).start());
    }

    @FunctionalInterface
    private interface Action {
        void run() throws Exception;
    }

    /** Reads all that a run prints, and does something once, when it is training. */
    private static void readUntilStep(Process process, StringBuilder out, Action action) throws Exception {
        boolean done = false;
        try (BufferedReader reader = process.inputReader(StandardCharsets.UTF_8)) {
            String line = reader.readLine();
            while (line != null) {
                out.append(line).append('\n');
                if (!done && line.contains("step ") && line.contains("/1000000")) {
                    done = true;
                    action.run();
                }
                line = reader.readLine();
            }
        } finally {
            process.toHandle().destroyForcibly();
        }
        assertThat(done).as(out.toString()).isTrue();
    }

    private static Optional<Path> olderJava() throws IOException {
        Path folder = Path.of("/usr/lib/jvm");
        if (!Files.isDirectory(folder)) {
            return Optional.empty();
        }
        try (Stream<Path> homes = Files.list(folder)) {
            return homes.filter(h -> isOlder(h.resolve("release"))).map(h -> h.resolve("bin/java")).filter(Files::isExecutable).sorted().findFirst();
        }
    }

    private static boolean isOlder(Path release) {
        try {
            return Files.isRegularFile(release) && Files.readString(release).matches("(?s).*JAVA_VERSION=\"(1\\.8|9|1\\d|20|21)[.\"].*");
        } catch (IOException e) {
            return false;
        }
    }

    private static List<String> command(String java, List<String> flags, List<String> arguments) {
        List<String> command = new ArrayList<>(List.of(java));
        command.addAll(flags);
        command.addAll(List.of("-jar", JAR.toString()));
        command.addAll(arguments);
        return command;
    }

    private static Result start(String java, List<String> flags, List<String> arguments) throws Exception {
        return finish(new ProcessBuilder(command(java, flags, arguments)).start());
    }

    private static Result finish(Process process) throws Exception {
        StringBuilder err = new StringBuilder();
        Thread reader = new Thread(() -> read(process, err));
        reader.start();
        String out = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor(120, TimeUnit.SECONDS)).isTrue();
        reader.join();
        return new Result(process.exitValue(), out, err.toString());
    }

    private static void read(Process process, StringBuilder err) {
        new BufferedReader(new InputStreamReader(process.getErrorStream(), StandardCharsets.UTF_8)).lines().forEach(l -> err.append(l).append('\n'));
    }
}
