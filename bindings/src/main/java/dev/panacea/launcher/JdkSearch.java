package dev.panacea.launcher;

import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/** Looks for installed JDKs where people, package managers and tools put them. */
final class JdkSearch {
    private final Map<String, String> environment;
    private final File userHome;
    private final File root;

    /** @param root the root of the file system: a parameter so that tests can look at a made-up one */
    JdkSearch(Map<String, String> environment, File userHome, File root) {
        this.environment = environment;
        this.userHome = userHome;
        this.root = root;
    }

    static JdkSearch ofThisMachine() {
        return new JdkSearch(System.getenv(), new File(System.getProperty("user.home")), new File("/"));
    }

    /** What a search gave: the {@code java} program of a JDK, and what was found but does not serve. */
    static final class Found {
        final Optional<File> java;
        final List<String> rejected;

        Found(Optional<File> java, List<String> rejected) {
            this.java = java;
            this.rejected = rejected;
        }
    }

    /** The newest JDK of at least this feature version. {@code PANACEA_JAVA_HOME}, where set, is the only one considered. */
    Found newest(int needed) {
        String chosen = environment.get("PANACEA_JAVA_HOME");
        boolean explicit = chosen != null && !chosen.trim().isEmpty();
        Set<File> homes = new LinkedHashSet<>();
        if (explicit) {
            addHome(homes, new File(chosen.trim()));
        } else {
            addCandidates(homes);
        }
        Optional<File> best = Optional.empty();
        int bestVersion = needed - 1;
        List<String> rejected = new ArrayList<>();
        for (File home : homes) {
            int version = versionOf(home);
            if (version > bestVersion) {
                best = javaOf(home);
                bestVersion = version;
            } else if (version > 0 && version < needed) {
                rejected.add(home + " (Java " + version + ")");
            }
        }
        if (explicit && homes.isEmpty()) {
            rejected.add(chosen.trim() + ", named by PANACEA_JAVA_HOME (no bin/java in it)");
        } else if (explicit && !best.isPresent() && rejected.isEmpty()) {
            rejected.add(chosen.trim() + ", named by PANACEA_JAVA_HOME (no release file that tells its version)");
        }
        return new Found(best, rejected);
    }

    private void addCandidates(Set<File> homes) {
        for (String name : Arrays.asList("JAVA_HOME", "JDK_HOME")) {
            if (environment.get(name) != null) {
                addHome(homes, new File(environment.get(name)));
            }
        }
        String path = environment.get("PATH");
        for (String folder : path == null ? new String[0] : path.split(File.pathSeparator)) {
            addOwnerOf(homes, new File(folder));
        }
        for (String folder : Arrays.asList("usr/lib/jvm", "usr/lib64/jvm", "usr/java", "usr/local/java", "usr/local", "opt", "opt/java", "opt/jdk", "opt/jvm", "opt/homebrew/opt",
                "usr/local/opt", "home/linuxbrew/.linuxbrew/opt", "Library/Java/JavaVirtualMachines")) {
            addChildren(homes, new File(root, folder));
        }
        for (String folder : Arrays.asList(".sdkman/candidates/java", ".jdks", ".gradle/jdks", ".m2/jdks", ".jbang/cache/jdks", ".asdf/installs/java",
                ".local/share/mise/installs/java", "Library/Java/JavaVirtualMachines")) {
            addChildren(homes, new File(userHome, folder));
        }
        for (String name : Arrays.asList("ProgramFiles", "ProgramW6432", "LOCALAPPDATA")) {
            if (environment.get(name) != null) {
                for (String vendor : Arrays.asList("Java", "Eclipse Adoptium", "Microsoft", "Zulu", "Amazon Corretto", "BellSoft", "Programs/Eclipse Adoptium")) {
                    addChildren(homes, new File(environment.get(name), vendor));
                }
            }
        }
    }

    private static void addChildren(Set<File> homes, File folder) {
        File[] children = folder.listFiles();
        if (children != null) {
            Arrays.sort(children);
            for (File child : children) {
                addHome(homes, child);
            }
        }
    }

    /** The JDK that a {@code java} in a folder of the PATH belongs to, through links such as /usr/bin/java. */
    private static void addOwnerOf(Set<File> homes, File bin) {
        for (String name : Arrays.asList("java", "java.exe")) {
            File java = new File(bin, name);
            if (java.isFile()) {
                try {
                    addHome(homes, java.getCanonicalFile().getParentFile().getParentFile());
                } catch (IOException e) {
                    // A link that leads nowhere is not a JDK.
                    continue;
                }
            }
        }
    }

    private static void addHome(Set<File> homes, File folder) {
        for (File home : Arrays.asList(folder, new File(folder, "Contents/Home"), new File(folder, "libexec/openjdk.jdk/Contents/Home"))) {
            if (javaOf(home).isPresent()) {
                try {
                    homes.add(home.getCanonicalFile());
                } catch (IOException e) {
                    homes.add(home.getAbsoluteFile());
                }
            }
        }
    }

    /** The {@code java} program of a JDK. */
    static Optional<File> javaOf(File home) {
        for (String name : Arrays.asList("bin/java", "bin/java.exe")) {
            File java = new File(home, name);
            if (java.isFile() && java.canExecute()) {
                return Optional.of(java);
            }
        }
        return Optional.empty();
    }

    /** The feature version by the {@code release} file of a JDK; 0 if it has none. */
    static int versionOf(File home) {
        File release = new File(home, "release");
        if (!release.isFile()) {
            return 0;
        }
        try (BufferedReader reader = Files.newBufferedReader(release.toPath(), StandardCharsets.ISO_8859_1)) {
            String line;
            while ((line = reader.readLine()) != null) {
                if (line.startsWith("JAVA_VERSION=")) {
                    return feature(line.substring("JAVA_VERSION=".length()).replace("\"", ""));
                }
            }
            return 0;
        } catch (IOException e) {
            return 0;
        }
    }

    /** 8 of "1.8.0_412", 25 of "25.0.1" or "25-ea"; 0 of anything else. */
    static int feature(String version) {
        String v = version.trim();
        String digits = (v.startsWith("1.") ? v.substring(2) : v).split("[^0-9]", 2)[0];
        return digits.isEmpty() || digits.length() > 4 ? 0 : Integer.parseInt(digits);
    }
}
