package dev.panacea.examples;

import dev.panacea.kernels.PanaceaException;

/** An option whose value cannot be used, as it turned out after the command line was read: by the output folder, or by the model. */
final class BadOption extends PanaceaException {
    private static final long serialVersionUID = 1L;

    BadOption(String option, Object value, String problem) {
        super(option + " " + value + ": " + problem);
    }
}
