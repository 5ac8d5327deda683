package dev.panacea.kernels;

/** A backend cannot run on this machine or with this build; the message gives the reason. Another backend may be used instead, if the user is told. */
public class UnsupportedBackendException extends PanaceaException {
    private static final long serialVersionUID = 1L;

    public UnsupportedBackendException(String message, Throwable cause) {
        super(message, cause);
    }
}
