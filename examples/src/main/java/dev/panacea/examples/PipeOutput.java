package dev.panacea.examples;

import java.io.FilterOutputStream;
import java.io.IOException;
import java.io.OutputStream;

/**
 * Output that ends the program's work when its reader has gone, as with {@code | head}: PrintStream says nothing of a failed write, and the
 * work would go on with nobody looking. A write that fails for another reason, such as a full disk under a log, ends nothing.
 */
final class PipeOutput extends FilterOutputStream {
    PipeOutput(OutputStream out) {
        super(out);
    }

    /** Nobody reads any more: there is nothing to tell, and nobody to tell it to. An Error, so that nobody on the way takes it for a failure to be told. */
    static final class Closed extends Error {
        private static final long serialVersionUID = 1L;

        Closed(IOException cause) {
            super(cause);
        }
    }

    @Override
    public void write(byte[] bytes, int offset, int length) throws IOException {
        try {
            out.write(bytes, offset, length);
        } catch (IOException e) {
            if (String.valueOf(e.getMessage()).contains("Broken pipe")) {
                throw new Closed(e);
            }
            throw e;
        }
    }

    @Override
    public void write(int b) throws IOException {
        write(new byte[] {(byte) b}, 0, 1);
    }
}
