package dev.panacea.kernels;

import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.slf4j.helpers.NOPLoggerFactory;

/** Opens the kernels of a device. */
public final class Backends {
    private static final Logger LOG = LoggerFactory.getLogger(Backends.class);

    private Backends() {}

    /**
     * The kernels of the CPU: the native ones, or else, with a warning, the reference kernels, which compute the same some hundred times
     * slower. {@link Kernels#description()} tells which. Settings: see {@link CpuKernels#open()}.
     *
     * @throws PanaceaException if a setting is wrong, or the native library that one names cannot be used
     */
    public static Kernels cpu() {
        try {
            return CpuKernels.open();
        } catch (UnsupportedBackendException e) {
            String message = "No native kernels: " + e.getMessage() + ". Going on with the reference kernels in plain Java, which are far slower.";
            LOG.warn(message);
            // Without a logging backend the warning would vanish, and a user would only see that everything takes for ever.
            if (LoggerFactory.getILoggerFactory() instanceof NOPLoggerFactory) {
                System.err.println("Panacea: " + message);
            }
            return new ReferenceKernels();
        }
    }
}
