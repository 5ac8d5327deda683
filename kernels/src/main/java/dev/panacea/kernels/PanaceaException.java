package dev.panacea.kernels;

/**
 * An error that a user can act on: its message names the file, setting or value at fault and the remedy. Everything that Panacea
 * throws on purpose for reasons outside the program (files, data, machines) is of this type; it is unchecked.
 */
public class PanaceaException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    public PanaceaException(String message) {
        super(message);
    }

    public PanaceaException(String message, Throwable cause) {
        super(message, cause);
    }
}
