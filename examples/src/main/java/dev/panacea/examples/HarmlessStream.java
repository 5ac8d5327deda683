package dev.panacea.examples;

import dev.panacea.text.VisibleText;
import java.io.OutputStream;
import java.io.PrintStream;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;

/** A stream for what others print, such as a logger: text only, of which nothing can steer a terminal. */
final class HarmlessStream extends PrintStream {
    HarmlessStream(OutputStream out) {
        this(out, StandardCharsets.UTF_8);
    }

    HarmlessStream(OutputStream out, Charset charset) {
        super(out, true, charset);
    }

    // Every other way of printing text leads through these three.

    @Override
    public void print(String text) {
        super.print(VisibleText.lines(String.valueOf(text)));
    }

    @Override
    public void print(char c) {
        print(String.valueOf(c));
    }

    @Override
    public void print(char[] text) {
        print(String.valueOf(text));
    }

    @Override
    public void print(Object o) {
        print(String.valueOf(o));
    }

    @Override
    public PrintStream printf(String format, Object... values) {
        return format(format, values);
    }

    @Override
    public PrintStream format(String format, Object... values) {
        print(String.format(format, values));
        return this;
    }
}
