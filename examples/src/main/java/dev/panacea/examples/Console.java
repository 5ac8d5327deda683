package dev.panacea.examples;

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;

/**
 * What a person sees of a run: plain lines, and on a terminal one line that is written over while something is under way. Results go to
 * standard output, errors to standard error.
 */
final class Console {
    private static final String CLEAR_LINE = "\r\033[K";

    private static final int WIDTH = 100;

    private final PrintStream out;
    private final PrintStream err;
    private final boolean terminal;
    private final boolean colour;
    /** Whether the last line has no end yet. */
    private boolean open;

    /**
     * @param terminal whether a line may be written over
     * @param colour whether escape sequences for bold and colours may be used
     */
    Console(PrintStream out, PrintStream err, boolean terminal, boolean colour) {
        this.out = out;
        this.err = err;
        this.terminal = terminal;
        this.colour = colour;
    }

    static Console ofThisProcess() {
        boolean terminal = System.console() != null && System.console().isTerminal() && !"dumb".equals(System.getenv("TERM"));
        String noColour = System.getenv("NO_COLOR");
        return new Console(stream(FileDescriptor.out, "stdout.encoding"), stream(FileDescriptor.err, "stderr.encoding"), terminal,
                terminal && (noColour == null || noColour.isEmpty()));
    }

    /** Where no language is set, as in most containers, Java would print a question mark for every é; terminals have shown UTF-8 for decades. */
    private static PrintStream stream(FileDescriptor descriptor, String encodingProperty) {
        Charset charset = Charset.forName(System.getProperty(encodingProperty, "UTF-8"), StandardCharsets.UTF_8);
        return new PrintStream(new FileOutputStream(descriptor), true, charset.equals(StandardCharsets.US_ASCII) ? StandardCharsets.UTF_8 : charset);
    }

    PrintStream out() {
        return out;
    }

    PrintStream err() {
        return err;
    }

    boolean colour() {
        return colour;
    }

    boolean terminal() {
        return terminal;
    }

    /** The title of a part of the run. */
    synchronized void heading(String title) {
        endLine();
        out.println();
        out.println(bold(title));
    }

    synchronized void line(String text) {
        endLine();
        out.println(text.isEmpty() ? "" : "  " + text);
    }

    /** Text of any length, indented and broken at spaces. */
    synchronized void paragraph(String text, String indent) {
        endLine();
        text.lines().forEach(l -> wrapped(l, WIDTH - indent.length()).forEach(part -> out.println((indent + part).stripTrailing())));
    }

    /** A line cut at spaces into parts of at most {@code width} characters; a longer word stays whole. */
    static List<String> wrapped(String line, int width) {
        List<String> parts = new ArrayList<>();
        StringBuilder part = new StringBuilder();
        for (String word : line.split(" ")) {
            if (!part.isEmpty() && part.length() + 1 + word.length() > width) {
                parts.add(part.toString());
                part.setLength(0);
            }
            part.append(part.isEmpty() ? "" : " ").append(word);
        }
        parts.add(part.toString());
        return parts;
    }

    /** Text from a model or a file without what could steer the terminal. */
    static String harmless(String text) {
        return text.codePoints().map(c -> Character.isISOControl(c) && c != '\n' && c != '\t' ? 0xFFFD : c)
                .collect(StringBuilder::new, StringBuilder::appendCodePoint, StringBuilder::append).toString();
    }

    /** Says what is being done; {@link #done} completes the line. */
    synchronized void doing(String what) {
        endLine();
        out.print("  " + what + " ... ");
        out.flush();
        open = true;
    }

    synchronized void done(String result) {
        if (!open) {
            out.print("  ");
        }
        out.println(result);
        open = false;
    }

    /** A line that the next call writes over, on a terminal; elsewhere a line like any other. */
    synchronized void progress(String text) {
        if (terminal) {
            out.print(CLEAR_LINE + "  " + text);
            out.flush();
            open = true;
        } else {
            out.println("  " + text);
        }
    }

    /** A piece of text as it becomes known, with no line end. */
    synchronized void stream(String piece) {
        out.print(piece);
        out.flush();
        open = !piece.endsWith("\n");
    }

    synchronized void endLine() {
        if (open) {
            out.println();
            open = false;
        }
    }

    synchronized void error(String message) {
        endLine();
        err.println((colour ? "\033[1;31mError:\033[0m " : "Error: ") + message);
    }

    String bold(String text) {
        return colour ? "\033[1m" + text + "\033[0m" : text;
    }

    String dim(String text) {
        return colour ? "\033[2m" + text + "\033[0m" : text;
    }

    String good(String text) {
        return colour ? "\033[32m" + text + "\033[0m" : text;
    }
}
