package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.panacea.bindings.NativeLibrary;
import dev.panacea.bindings.generated.PanaceaCpu;
import java.io.IOException;
import java.lang.foreign.FunctionDescriptor;
import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodType;
import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/** What the library says of the CPU, against what the operating system says of it. */
class CpuTierTest {
    private static final Set<String> AVX2 = Set.of("avx2", "fma", "f16c", "bmi2");
    private static final Set<String> AVX512 = Set.of("avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512cd");

    @Test
    void supportedTiersAreThoseOfTheFlags() throws IOException {
        Set<String> flags = flags();
        List<CpuTier> expected = new ArrayList<>(List.of(CpuTier.PORTABLE));
        if (flags.containsAll(AVX2)) {
            expected.add(CpuTier.AVX2);
            if (flags.containsAll(AVX512)) {
                expected.add(CpuTier.AVX512);
                if (flags.contains("avx512_bf16")) {
                    expected.add(CpuTier.AVX512BF16);
                }
            }
        }
        assertThat(CpuTier.supported()).isEqualTo(expected);
    }

    @Test
    void theBestTierIsTheHighestThatTheCpuExecutesWell() throws IOException {
        List<CpuTier> supported = new ArrayList<>(CpuTier.supported());
        if (cpuinfo("vendor_id").equals("GenuineIntel")) {
            // VDPBF16PS is slower there than multiplying in single precision.
            supported.remove(CpuTier.AVX512BF16);
        }
        try (CpuKernels kernels = CpuKernels.open()) {
            assertThat(kernels.tier()).isEqualTo(supported.getLast()).isEqualTo(CpuTier.best());
        }
    }

    @ParameterizedTest
    @EnumSource
    void everyTierOpensOrSaysThatTheCpuLacksIt(CpuTier tier) {
        if (CpuTier.supported().contains(tier)) {
            try (CpuKernels kernels = CpuKernels.open(tier, 2)) {
                assertThat(kernels.description()).isEqualTo("cpu " + tier + ", 2 threads");
            }
        } else {
            assertThatThrownBy(() -> CpuKernels.open(tier, 2)).isInstanceOf(UnsupportedBackendException.class).hasMessageContaining("cannot run " + tier).hasMessageContaining("portable");
        }
    }

    @Test
    void threadsAreCounted() {
        try (CpuKernels kernels = CpuKernels.open(CpuTier.PORTABLE, 0)) {
            assertThat(kernels.threads()).isBetween(1, Runtime.getRuntime().availableProcessors());
        }
        assertThatThrownBy(() -> CpuKernels.open(CpuTier.PORTABLE, -1)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("-1 threads");
        assertThatThrownBy(() -> CpuKernels.open(CpuTier.PORTABLE, 5000)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("5000 threads");
    }

    @Test
    void theLibraryHasEveryFunctionOfTheBindings() throws ReflectiveOperationException {
        NativeLibrary.load();
        List<String> functions = Arrays.stream(PanaceaCpu.class.getDeclaredMethods()).map(Method::getName).filter(n -> n.startsWith("pan_") && !n.contains("$")).toList();
        assertThat(functions).hasSizeGreaterThan(30);
        for (String function : functions) {
            MethodType type = ((FunctionDescriptor) PanaceaCpu.class.getMethod(function + "$descriptor").invoke(null)).toMethodType();
            assertThat(((MethodHandle) PanaceaCpu.class.getMethod(function + "$handle").invoke(null)).type()).as(function).isEqualTo(type);
        }
    }

    private static Set<String> flags() throws IOException {
        return new HashSet<>(Arrays.asList(cpuinfo("flags").split(" ")));
    }

    private static String cpuinfo(String key) throws IOException {
        try (var lines = Files.lines(Path.of("/proc/cpuinfo"))) {
            return lines.filter(l -> l.startsWith(key)).findFirst().map(l -> l.substring(l.indexOf(':') + 1).strip()).orElse("");
        }
    }
}
