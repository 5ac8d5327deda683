package dev.panacea.testing;

import dev.panacea.bindings.CudaLibrary;
import dev.panacea.kernels.Backends;
import dev.panacea.kernels.CpuKernels;
import dev.panacea.kernels.CpuTier;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.ReferenceKernels;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;

/**
 * A backend under test, opened anew for every case. With {@code -Dpanacea.device=cuda} (and {@code -Dpanacea.cuda.driver} where there is no GPU) that
 * is the GPU alone; tests for which any one backend does take {@link Backends#open()}, which follows the same setting.
 */
public record TestBackend(String name, Supplier<Kernels> open) {
    /** Whether tests run on something else than the CPU. */
    public static boolean onDevice() {
        return !Backends.defaultDevice().equals("cpu");
    }

    /** Whether that is no GPU but what stands in for its driver and interprets the kernels, many thousand times slower: where a driver is named. */
    public static boolean isSimulated() {
        return onDevice() && CudaLibrary.FILE.read().isPresent();
    }

    /** The reference kernels and the native ones of every tier of this CPU; or the device that is set. */
    public static List<TestBackend> all() {
        if (onDevice()) {
            return List.of(new TestBackend(Backends.defaultDevice(), Backends::open));
        }
        List<TestBackend> all = new ArrayList<>();
        all.add(new TestBackend("reference", ReferenceKernels::new));
        for (CpuTier tier : CpuTier.supported()) {
            all.add(new TestBackend("native " + tier, () -> CpuKernels.open(tier, 0)));
        }
        return all;
    }

    @Override
    public String toString() {
        return name;
    }
}
