package dev.panacea.bindings;

/** The native library cannot be used; the message says which file, why, and what to do. */
public class NativeLibraryException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    private final boolean unsupported;

    private NativeLibraryException(String message, boolean unsupported, Throwable cause) {
        super(message, cause);
        this.unsupported = unsupported;
    }

    /** There is no library that could run here: a caller may go on with another backend, as long as it says so. */
    static NativeLibraryException unsupported(String message, Throwable cause) {
        return new NativeLibraryException(message, true, cause);
    }

    /** The set-up is wrong, and going on with something else would hide it. */
    static NativeLibraryException misconfigured(String message, Throwable cause) {
        return new NativeLibraryException(message, false, cause);
    }

    /** True if this machine or this jar has no usable library, false if a library was named or found and is wrong. */
    public boolean isUnsupported() {
        return unsupported;
    }
}
