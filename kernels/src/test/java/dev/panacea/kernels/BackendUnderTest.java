package dev.panacea.kernels;

import dev.panacea.bindings.NativeMemory;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;

/**
 * A backend in all its variants, the numbers of threads, which must give the same bits. The tiers are those that this CPU can run;
 * {@code PANACEA_CPU_TIER} leaves out those above the one it names. The GPU is there if one is, or what {@code -Dpanacea.cuda.driver} names in place of
 * its driver; with {@code -Dpanacea.device=cuda} it is the only one. On it every operand is an allocation of its own, so that a driver which watches memory sees
 * an access beyond it.
 */
record BackendUnderTest(String name, List<Kernels> variants) {
    private static final List<BackendUnderTest> ALL = open();

    static List<BackendUnderTest> all() {
        return ALL;
    }

    /** Those whose operands may lie in this process's memory, for tests that put them there. */
    static List<BackendUnderTest> onHostMemory() {
        return ALL.stream().filter(b -> b.variants().getFirst().readsHostMemory()).toList();
    }

    private static List<BackendUnderTest> open() {
        if (System.getProperty("panacea.device", "cpu").startsWith("cuda")) {
            return List.of(new BackendUnderTest("cuda", List.of(CudaKernels.open(0, false))));
        }
        List<BackendUnderTest> backends = new ArrayList<>(List.of(new BackendUnderTest("reference", List.of(new ReferenceKernels()))));
        Optional<CpuTier> cap = Arrays.stream(CpuTier.values()).filter(t -> t.id().equalsIgnoreCase(System.getenv("PANACEA_CPU_TIER"))).findFirst();
        for (CpuTier tier : CpuTier.supported()) {
            if (cap.isEmpty() || tier.compareTo(cap.get()) <= 0) {
                backends.add(new BackendUnderTest(tier.toString(), Stream.of(1, 2, 3).map(threads -> (Kernels) CpuKernels.open(tier, threads)).toList()));
            }
        }
        try {
            backends.add(new BackendUnderTest("cuda", List.of(CudaKernels.open(0, false))));
        } catch (UnsupportedBackendException e) {
            System.out.println("The CUDA kernels are not tested: " + e.getMessage());
        }
        return backends;
    }

    /** The outputs of one run on every variant, and of a second one on the last. Native kernels get memory that ends at an inaccessible page. */
    List<Map<String, byte[]>> runEach(KernelCase c) {
        return Stream.concat(variants.stream(), Stream.of(variants.getLast())).map(kernels -> {
            if (kernels instanceof CudaKernels) {
                return c.runOnDevice(kernels);
            }
            try (Arena arena = Arena.ofShared()) {
                return kernels instanceof CpuKernels ? c.run(kernels, bytes -> NativeMemory.allocateGuarded(bytes, arena).orElseThrow()) : c.run(kernels, KernelCase::heap);
            }
        }).toList();
    }

    @Override
    public String toString() {
        return name;
    }
}
