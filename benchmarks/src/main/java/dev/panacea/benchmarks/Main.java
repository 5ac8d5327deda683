package dev.panacea.benchmarks;

import java.io.IOException;
import java.util.List;
import java.util.Set;

/** The jar's entry: the quick mode where one of its options is given, and JMH, untouched, everywhere else. */
public final class Main {
    private static final Set<String> QUICK = Set.of("--quick", "--only", "--json", "--all", "--device", "--small", "--help");

    private Main() {}

    public static void main(String[] args) throws IOException {
        if (isQuick(args)) {
            System.exit(Quick.run(args));
        }
        org.openjdk.jmh.Main.main(args);
    }

    static boolean isQuick(String[] args) {
        return List.of(args).stream().map(a -> a.split("=", 2)[0]).anyMatch(QUICK::contains);
    }
}
