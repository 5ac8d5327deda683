package dev.panacea.io;

import dev.panacea.kernels.PanaceaException;

/** The hub cannot be reached, or does not give out the model; another source may have it. */
final class HubUnavailable extends PanaceaException {
    private static final long serialVersionUID = 1L;

    HubUnavailable(String message) {
        super(message);
    }

    HubUnavailable(String message, Throwable cause) {
        super(message, cause);
    }
}
