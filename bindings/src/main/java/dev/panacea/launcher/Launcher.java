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

/**
 * Starts the program whatever Java the user typed: on Java 22 or newer in this very process, on an older one in a newer JDK that is
 * installed on this machine. This package is compiled for Java 8, so that an old Java can at least say what is missing.
 */
public final class Launcher {
    /** The first Java whose foreign function interface is final. */
    static final int NEEDED = 22;
    /** The resource of each program's own jar, beside this class, that names its main class. */
    private static final String PROGRAM = "program";
    /** Set in the process that this one starts: a JDK that lies about its version must not make us start processes for ever. */
    private static final String CHILD = "panacea.launcher.child";

    private Launcher() {}

    public static void main(String[] args) throws Throwable {
        int present = JdkSearch.feature(System.getProperty("java.specification.version"));
        if (present >= NEEDED) {
            runHere(args);
        } else if (System.getProperty(CHILD) != null) {
            fail(System.getProperty("java.home") + " is Java " + present + ", against what its release file says. Repair or remove it, or set PANACEA_JAVA_HOME to a JDK "
                    + NEEDED + " or newer.");
        } else {
            runInNewerJava(present, args);
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

    private static void runInNewerJava(int present, String[] args) throws IOException, InterruptedException, URISyntaxException {
        JdkSearch.Found found = JdkSearch.ofThisMachine().newest(NEEDED);
        if (!found.java.isPresent()) {
            fail(whatToInstall(present, found, System.getProperty("os.name")));
        }
        List<String> command = new ArrayList<>();
        command.add(found.java.get().getPath());
        command.addAll(passedOn(ManagementFactory.getRuntimeMXBean().getInputArguments()));
        command.add("-D" + CHILD + "=true");
        File code = new File(Launcher.class.getProtectionDomain().getCodeSource().getLocation().toURI());
        if (code.isFile()) {
            command.addAll(Arrays.asList("-jar", code.getPath()));
        } else {
            command.addAll(Arrays.asList("--enable-native-access=ALL-UNNAMED", "-cp", System.getProperty("java.class.path"), Launcher.class.getName()));
        }
        command.addAll(Arrays.asList(args));
        Process child = new ProcessBuilder(command).inheritIO().start();
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
