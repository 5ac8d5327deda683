package dev.panacea.examples;

import dev.panacea.text.VisibleText;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * What a person sees of a run: plain lines, and on a terminal one line that is written over while something is under way. Results go to
 * standard output, errors to standard error. All that is printed passes through here, and none of it can steer the terminal whatever file it comes
 * from: escapes reach the terminal from this class alone.
 */
final class Console {
    private static final String CLEAR_LINE = "\r\033[K";

    private static final String PLAIN = "\033[0m";
    /** What {@link dev.panacea.data.MaskAudit} marks targets and tokens with. */
    private static final Pattern COLOURS = Pattern.compile("\033\\[(32|36|0)m");
    private static final int WIDTH = 100;
    /** Of an error: a file may hold megabytes where a name is expected. */
    private static final int LONGEST_ERROR = 4000;

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

    private static PrintStream stream(FileDescriptor descriptor, String encodingProperty) {
        Charset charset = charset(System.getProperty("os.name"), System.getProperty(encodingProperty), System.getProperty("native.encoding"));
        return new PrintStream(new PipeOutput(new FileOutputStream(descriptor)), true, charset);
    }

    /**
     * UTF-8, as terminals and programs have read it for decades, whatever the language is set to: where none is, as in most containers, Java would
     * print a question mark for every é. A terminal of Windows has an encoding of its own, and who asks Java for one gets it.
     */
    static Charset charset(String system, String encoding, String languages) {
        boolean own = encoding != null && (system.startsWith("Windows") || !encoding.equals(languages));
        return own ? Charset.forName(encoding, StandardCharsets.UTF_8) : StandardCharsets.UTF_8;
    }

    /** For text of this program's own, such as its help. */
    PrintWriter out() {
        return new PrintWriter(out, true);
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
        out.println(painted("\033[1m", title));
    }

    synchronized void line(String text) {
        endLine();
        out.println(text.isEmpty() ? "" : "  " + VisibleText.line(text));
    }

    synchronized void boldLine(String text) {
        endLine();
        out.println("  " + painted("\033[1m", text));
    }

    synchronized void dimLine(String text) {
        endLine();
        out.println("  " + painted("\033[2m", text));
    }

    /** Text of any length, indented and broken at spaces. */
    synchronized void paragraph(String text, String indent) {
        print(VisibleText.lines(text), indent);
    }

    /**
     * A paragraph with parts in colour.
     *
     * @param text with the colours of {@link dev.panacea.data.MaskAudit}, which has spelled out what other escapes there were
     */
    synchronized void paragraphInColours(String text, String indent) {
        StringBuilder out = new StringBuilder();
        Matcher colours = COLOURS.matcher(text);
        int end = 0;
        while (colours.find()) {
            out.append(VisibleText.lines(text.substring(end, colours.start()))).append(colours.group());
            end = colours.end();
        }
        print(out.append(VisibleText.lines(text.substring(end))).toString(), indent);
    }

    private void print(String text, String indent) {
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

    /** Says what is being done; {@link #done} completes the line. */
    synchronized void doing(String what) {
        endLine();
        out.print("  " + VisibleText.line(what) + " ... ");
        out.flush();
        open = true;
    }

    synchronized void done(String result) {
        if (!open) {
            out.print("  ");
        }
        out.println(VisibleText.line(result));
        open = false;
    }

    /** A line that the next call writes over, on a terminal; elsewhere a line like any other. */
    synchronized void progress(String text) {
        if (terminal) {
            out.print(CLEAR_LINE + "  " + VisibleText.line(text));
            out.flush();
            open = true;
        } else {
            out.println("  " + VisibleText.line(text));
        }
    }

    /** A piece of text as it becomes known, with no line end. */
    synchronized void stream(String piece) {
        out.print(VisibleText.lines(piece));
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
        int half = LONGEST_ERROR / 2;
        String shown = message.length() <= LONGEST_ERROR ? message : message.substring(0, half) + " [...] " + message.substring(message.length() - half);
        err.println((colour ? "\033[1;31mError:" + PLAIN + " " : "Error: ") + VisibleText.line(shown));
    }

    /** Where in the program an error arose. */
    synchronized void trace(Throwable e) {
        StringWriter text = new StringWriter();
        e.printStackTrace(new PrintWriter(text));
        err.println(VisibleText.lines(text.toString()).stripTrailing());
    }

    private String painted(String style, String text) {
        return colour ? style + VisibleText.line(text) + PLAIN : VisibleText.line(text);
    }
}
