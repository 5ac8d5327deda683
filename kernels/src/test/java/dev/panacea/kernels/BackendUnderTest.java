package dev.panacea.kernels;

import java.util.List;
import java.util.Map;

/** A backend in all its variants (numbers of threads) that must give the same bits. */
record BackendUnderTest(String name, List<Kernels> variants) {
    static List<BackendUnderTest> all() {
        return List.of(new BackendUnderTest("reference", List.of(new ReferenceKernels())));
    }

    /** The outputs of one run on every variant, and of a second one on the last. */
    List<Map<String, byte[]>> runEach(KernelCase c) {
        return java.util.stream.Stream.concat(variants.stream(), java.util.stream.Stream.of(variants.getLast())).map(k -> c.run(k, KernelCase::heap)).toList();
    }
}
