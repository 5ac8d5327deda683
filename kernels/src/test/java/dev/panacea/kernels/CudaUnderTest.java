package dev.panacea.kernels;

import dev.panacea.bindings.CudaLibrary;
import java.util.function.Supplier;
import org.junit.jupiter.api.Assumptions;

/** The GPU that tests run on: a real one, or what {@code -Dpanacea.cuda.driver} names in place of the driver. */
public final class CudaUnderTest {
    private CudaUnderTest() {}

    /** What {@code open} opens; where there is no CUDA driver the test is skipped, and the reason printed. */
    public static <T> T openOrSkip(Supplier<T> open) {
        try {
            return open.get();
        } catch (UnsupportedBackendException e) {
            String reason = "CUDA not tested: " + e.getMessage();
            System.out.println(reason + " (the path of a driver: " + CudaLibrary.FILE + ")");
            Assumptions.abort(reason);
            throw e;
        }
    }
}
