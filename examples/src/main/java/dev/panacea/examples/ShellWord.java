package dev.panacea.examples;

import java.util.regex.Pattern;

/** Text as one word of a command that a person copies into a shell. */
final class ShellWord {
    /** Nothing that a POSIX shell, or Windows' for a path, takes for more than a letter. */
    private static final Pattern PLAIN = Pattern.compile("[\\p{L}\\p{N}_./:=,+@%\\\\-]+");

    private ShellWord() {}

    /** As it is where that is safe, in double quotes where nothing in them has a meaning of its own, else in single quotes. */
    static String of(String text) {
        boolean windows = System.getProperty("os.name", "").startsWith("Windows");
        if (PLAIN.matcher(text).matches() && (windows || text.indexOf('\\') < 0)) {
            return text;
        }
        if (windows) {
            return "\"" + text.replace("\"", "\\\"") + "\"";
        }
        return text.matches("[^\"$`\\\\!\\r\\n]*") ? "\"" + text + "\"" : "'" + text.replace("'", "'\\''") + "'";
    }
}
