package dev.panacea.kernels;

import dev.panacea.bindings.Setting;
import java.util.Locale;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.slf4j.helpers.NOPLoggerFactory;

/** Opens the kernels of a device. */
public final class Backends {
    private static final Logger LOG = LoggerFactory.getLogger(Backends.class);
    private static final Setting DEVICE = new Setting("panacea.device", "PANACEA_DEVICE");
    private static final Pattern CUDA = Pattern.compile("cuda(?::(\\d{1,9}))?");

    private Backends() {}

    /**
     * The device that {@code -Dpanacea.device} or {@code PANACEA_DEVICE} names; {@code cpu} where neither does.
     *
     * @throws PanaceaException if what is named is none of those that {@link #open(String)} takes
     */
    public static String defaultDevice() {
        Optional<Setting.Value> device = DEVICE.read();
        device.ifPresent(d -> {
            if (!isName(d.text())) {
                throw noDevice(d.text() + "\", which " + d.origin() + " names");
            }
        });
        return device.map(Setting.Value::text).orElse("cpu");
    }

    /** The kernels of {@link #defaultDevice()}. */
    public static Kernels open() {
        return open(defaultDevice());
    }

    /**
     * The kernels of a device. There is no going on with another one where it is not to be had.
     *
     * @param device {@code cpu}, {@code cuda} (the first GPU) or {@code cuda:N} (that of number N, from 0 on)
     * @throws PanaceaException if there is no such device, or a setting of it is wrong; the message says what was looked for and found
     */
    public static Kernels open(String device) {
        checkName(device);
        Matcher cuda = CUDA.matcher(device.toLowerCase(Locale.ROOT));
        return cuda.matches() ? CudaKernels.open(cuda.group(1) == null ? 0 : Integer.parseInt(cuda.group(1))) : cpu();
    }

    /**
     * Checks the name of a device, not whether there is one.
     *
     * @throws PanaceaException if it is none of those that {@link #open(String)} takes
     */
    public static void checkName(String device) {
        if (!isName(device)) {
            throw noDevice(device + "\"");
        }
    }

    private static boolean isName(String device) {
        String name = device.toLowerCase(Locale.ROOT);
        return name.equals("cpu") || CUDA.matcher(name).matches();
    }

    private static PanaceaException noDevice(String named) {
        return new PanaceaException("there is no device \"" + named + "; cpu, cuda or cuda:N is needed, N being the number of a GPU from 0 on");
    }

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
