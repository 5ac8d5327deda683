package dev.panacea.jinja;

import dev.panacea.kernels.PanaceaException;

/** A template that is broken, that refuses its input, or that asks for more than a template may have. The message says where. */
public final class JinjaException extends PanaceaException {
    private static final long serialVersionUID = 1L;
    private static final int LONGEST = 600;

    private final int line;
    private final boolean raised;

    private JinjaException(String message, int line, boolean raised) {
        super(message);
        this.line = line;
        this.raised = raised;
    }

    /** An error in an operation, which does not know its line yet. */
    JinjaException(String message) {
        this(cut(message), 0, false);
    }

    /** An error in a line of the template. */
    static JinjaException at(int line, String message) {
        return new JinjaException("line " + line + ": " + cut(message), line, false);
    }

    /** What a template throws by {@code raise_exception}. */
    static JinjaException raised(String words) {
        return new JinjaException(cut(words), 0, true);
    }

    /** The same error with its line, where it has none yet. */
    JinjaException in(int currentLine) {
        if (line > 0 || currentLine <= 0) {
            return this;
        }
        JinjaException located = new JinjaException(raised ? getMessage() : "line " + currentLine + ": " + getMessage(), currentLine, raised);
        located.setStackTrace(getStackTrace());
        return located;
    }

    /** The line of the template, from 1; 0 where none is to blame. */
    public int line() {
        return line;
    }

    /** Whether the template refused its input by {@code raise_exception}; the message then is what the template says. */
    public boolean isRaised() {
        return raised;
    }

    /** A template may raise megabytes: a message of ours holds what a person reads. */
    private static String cut(String message) {
        if (message.length() <= LONGEST) {
            return message;
        }
        int end = Character.isHighSurrogate(message.charAt(LONGEST - 1)) ? LONGEST - 1 : LONGEST;
        return message.substring(0, end) + " … (" + message.length() + " characters)";
    }
}
