package dev.panacea.launcher;

import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import java.lang.reflect.InvocationTargetException;
import java.net.URISyntaxException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/**
 * Starts the program whatever Java the user typed: on Java 22 or newer in this very process, on an older one in a newer JDK that is
 * installed on this machine. A second process is also started where names and questions are more than ASCII and the user's language is not set
 * to UTF-8, since Java settles that at its start. This package is compiled for Java 8, so that an old Java can at least say what is missing.
 */
public final class Launcher {
    /** The first Java whose foreign function interface is final. */
    static final int NEEDED = 22;
    /** The resource of each program's own jar, beside this class, that names its main class. */
    private static final String PROGRAM = "program";
    /**
     * Set in the process that this one starts, to the id of this one: a JDK that lies about its version must not make us start processes for
     * ever, and the second process ends when this one does.
     */
    private static final String CHILD = "panacea.launcher.child";
    /** Set in a process whose arguments are encoded, to the number of those that come before the program's own and are properties for Java. */
    private static final String ENCODED = "panacea.launcher.encoded";

    private Launcher() {}

    /** Runs the program; its exit code is that of this process. */
    public static void main(String[] args) throws Throwable {
        int present = JdkSearch.feature(System.getProperty("java.specification.version"));
        String parent = System.getProperty(CHILD);
        if (parent != null && present < NEEDED) {
            fail(System.getProperty("java.home") + " is Java " + present + ", against what its release file says. Repair or remove it, or set PANACEA_JAVA_HOME to a JDK "
                    + NEEDED + " or newer.");
        } else if (parent != null) {
            ParentWatch.start(parent);
            runHere(received(args, System.getProperty(ENCODED)));
        } else if (present < NEEDED) {
            runInAnotherProcess(newerJava(present), RawArguments.ofThisProcess(), args);
        } else {
            RawArguments raw = RawArguments.ofThisProcess();
            Optional<File> java = JdkSearch.javaOf(new File(System.getProperty("java.home")));
            if (java.isPresent() && !raw.areRead() && raw.areUtf8() && raw.needUtf8()) {
                runInAnotherProcess(java.get(), raw, args);
            } else {
                runHere(args);
            }
        }
    }

    private static void runHere(String[] args) throws Throwable {
        try {
            Class.forName(program()).getMethod("main", String[].class).invoke(null, (Object) args);
        } catch (InvocationTargetException e) {
            throw e.getCause();
        }
    }

    private static String program() throws IOException {
        try (BufferedReader lines = new BufferedReader(new InputStreamReader(Launcher.class.getResourceAsStream(PROGRAM), StandardCharsets.UTF_8))) {
            return lines.readLine();
        }
    }

    private static File newerJava(int present) {
        JdkSearch.Found found = JdkSearch.ofThisMachine().newest(NEEDED);
        if (!found.java.isPresent()) {
            fail(whatToInstall(present, found, System.getProperty("os.name")));
        }
        return found.java.get();
    }

    private static void runInAnotherProcess(File java, RawArguments raw, String[] args) throws InterruptedException, URISyntaxException {
        List<String> options = new ArrayList<>();
        for (String o : passedOn(ManagementFactory.getRuntimeMXBean().getInputArguments())) {
            options.add(raw.option(o));
        }
        List<String> command = new ArrayList<>();
        command.add(java.getPath());
        command.add("-D" + CHILD + "=" + ParentWatch.pid());
        File code = new File(Launcher.class.getProtectionDomain().getCodeSource().getLocation().toURI());
        List<String> program = code.isFile() ? Arrays.asList("-jar", code.getPath())
                : Arrays.asList("--enable-native-access=ALL-UNNAMED", "-cp", System.getProperty("java.class.path"), Launcher.class.getName());
        command.addAll(sent(options, program, raw.arguments(args)));
        ProcessBuilder builder = new ProcessBuilder(command).inheritIO();
        if (!raw.areRead() && raw.areUtf8()) {
            builder.environment().put("LC_ALL", "C.UTF-8");
        }
        Process child;
        try {
            child = builder.start();
        } catch (IOException e) {
            fail("Cannot start " + java + ": " + e.getMessage() + ". Repair it, or set PANACEA_JAVA_HOME to another JDK " + NEEDED + " or newer.");
            return;
        }
        // Ctrl-C reaches both processes, a kill this one only; either way the child gets to clean up before this one goes.
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            child.destroy();
            try {
                child.waitFor();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }));
        System.exit(child.waitFor());
    }

    /** What follows the name of the second {@code java}: as it stands if it is ASCII, else encoded, since Java may not be able to write it out. */
    static List<String> sent(List<String> options, List<String> program, List<String> arguments) {
        List<String> plain = new ArrayList<>();
        List<String> encoded = new ArrayList<>();
        for (String o : options) {
            if (RawArguments.isAscii(o)) {
                plain.add(o);
            } else if (o.startsWith("-D")) {
                encoded.add(RawArguments.encode(o.substring(2)));
            }
        }
        int properties = encoded.size();
        if (properties > 0 || !arguments.stream().allMatch(RawArguments::isAscii)) {
            plain.add("-D" + ENCODED + "=" + properties);
            arguments.forEach(a -> encoded.add(RawArguments.encode(a)));
        } else {
            encoded.addAll(arguments);
        }
        plain.addAll(program);
        plain.addAll(encoded);
        return plain;
    }

    /**
     * The reverse of {@link #sent}, in the second process: properties are set, and what remains are the program's arguments.
     *
     * @param encoded how many properties come first; null if nothing is encoded
     */
    static String[] received(String[] args, String encoded) {
        if (encoded == null) {
            return args;
        }
        int properties = Integer.parseInt(encoded);
        List<String> decoded = new ArrayList<>();
        for (String a : args) {
            decoded.add(RawArguments.decode(a));
        }
        for (String property : decoded.subList(0, properties)) {
            String[] parts = property.split("=", 2);
            System.setProperty(parts[0], parts.length > 1 ? parts[1] : "");
        }
        return decoded.subList(properties, decoded.size()).toArray(new String[0]);
    }

    /** The options of this JVM that mean the same in a newer one; agents and debuggers belong to this process. */
    static List<String> passedOn(List<String> options) {
        List<String> kept = new ArrayList<>();
        for (String o : options) {
            boolean property = o.startsWith("-D") && !o.startsWith("-Djava.");
            boolean memory = o.startsWith("-Xm") || o.startsWith("-Xss");
            boolean tuning = o.startsWith("-XX:");
            if (property || memory || tuning || o.equals("-ea")) {
                if (tuning && !kept.contains("-XX:+IgnoreUnrecognizedVMOptions")) {
                    kept.add("-XX:+IgnoreUnrecognizedVMOptions");
                }
                kept.add(o);
            }
        }
        return kept;
    }

    static String whatToInstall(int present, JdkSearch.Found found, String system) {
        StringBuilder s = new StringBuilder();
        s.append("Panacea needs Java ").append(NEEDED).append(" or newer; this is Java ").append(present).append(" (").append(System.getProperty("java.home")).append(")");
        if (found.rejected.isEmpty()) {
            s.append(", and no other JDK was found on this machine.");
        } else {
            s.append(", and these do not serve:");
            for (String r : found.rejected) {
                s.append("\n  ").append(r);
            }
        }
        s.append("\nInstall JDK 25, ");
        if (system.startsWith("Windows")) {
            s.append("with:  winget install EclipseAdoptium.Temurin.25.JDK\n");
        } else if (system.startsWith("Mac")) {
            s.append("with:  brew install --cask temurin@25\n");
        } else {
            s.append("with:  sudo apt install openjdk-25-jre-headless   (Debian, Ubuntu; newer releases have it)\n")
                    .append("  or:  sudo dnf install java-25-openjdk-headless     (Fedora, RHEL)\n");
        }
        s.append("or from https://adoptium.net, and start this again. A JDK in an unusual folder is found through the environment variable PANACEA_JAVA_HOME.");
        return s.toString();
    }

    private static void fail(String message) {
        System.err.println(message);
        System.exit(1);
    }
}
