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
 * {@code PANACEA_CPU_TIER} leaves out those above the one it names.
 */
record BackendUnderTest(String name, List<Kernels> variants) {
    private static final List<BackendUnderTest> ALL = open();

    static List<BackendUnderTest> all() {
        return ALL;
    }

    private static List<BackendUnderTest> open() {
        List<BackendUnderTest> backends = new ArrayList<>(List.of(new BackendUnderTest("reference", List.of(new ReferenceKernels()))));
        Optional<CpuTier> cap = Arrays.stream(CpuTier.values()).filter(t -> t.id().equalsIgnoreCase(System.getenv("PANACEA_CPU_TIER"))).findFirst();
        for (CpuTier tier : CpuTier.supported()) {
            if (cap.isEmpty() || tier.compareTo(cap.get()) <= 0) {
                backends.add(new BackendUnderTest(tier.toString(), Stream.of(1, 2, 3).map(threads -> (Kernels) CpuKernels.open(tier, threads)).toList()));
            }
        }
        return backends;
    }

    /** The outputs of one run on every variant, and of a second one on the last. Native kernels get memory that ends at an inaccessible page. */
    List<Map<String, byte[]>> runEach(KernelCase c) {
        return Stream.concat(variants.stream(), Stream.of(variants.getLast())).map(kernels -> {
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
