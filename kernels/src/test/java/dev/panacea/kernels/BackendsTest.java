package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The device that is asked for, and asking for one that is not there: each case in a process of its own, since a process opens a driver once. */
class BackendsTest {
    @TempDir
    private Path folder;

    private LoadProbe.Result probe(Map<String, String> environment, String... options) throws Exception {
        return LoadProbe.start(folder, LoadProbe.classPath(), environment, new ArrayList<>(List.of(options))).await();
    }

    @Test
    void theCpuUnlessASettingNamesAnother() throws Exception {
        assertThat(probe(Map.of()).get("kernels")).isEqualTo("CpuKernels");
        assertThat(probe(Map.of("PANACEA_DEVICE", "CPU")).get("kernels")).isEqualTo("CpuKernels");
        assertThat(probe(Map.of("PANACEA_DEVICE", "cuda"), "-Dpanacea.device=cpu").get("kernels")).isEqualTo("CpuKernels");
        assertThat(probe(Map.of("PANACEA_DEVICE", "tpu")).get("error")).isEqualTo("there is no device \"tpu\", which PANACEA_DEVICE names; cpu, cuda or cuda:N is needed, N being the number of a GPU from 0 on");
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1234567890", "cpu:0", " cuda"})
    void namesOfNoDeviceAreRefused(String name) {
        assertThatThrownBy(() -> Backends.open(name)).isInstanceOf(PanaceaException.class).hasMessageContaining("there is no device \"" + name + "\"");
    }

    @Test
    void aDriverThatIsNotThereIsAnErrorThatSaysWhereItWasLookedFor() throws Exception {
        Path missing = folder.resolve("libcuda.so.1");
        assertThat(probe(Map.of(), "-Dpanacea.device=cuda", "-Dpanacea.cuda.driver=" + missing).get("error"))
                .isEqualTo("no CUDA driver library: " + missing + ", named by panacea.cuda.driver, is not a file. Name another, or take panacea.cuda.driver away to have the"
                        + " system's libcuda.so.1");
        assertThat(probe(Map.of("PANACEA_DEVICE", "cuda", "PANACEA_CUDA_DRIVER", "no-such-library.so")).get("error"))
                .startsWith("no CUDA driver library: no-such-library.so, named by PANACEA_CUDA_DRIVER, is not found by the system's loader");
    }

    @Test
    void aFileThatIsNoDriverIsAnErrorThatSaysWhy() throws Exception {
        Path text = Files.writeString(folder.resolve("text.so"), "this is no library");
        assertThat(probe(Map.of(), "-Dpanacea.device=cuda:1", "-Dpanacea.cuda.driver=" + text).get("error")).contains(text + ", named by panacea.cuda.driver, is not a shared library");
        Path broken = Files.write(folder.resolve("broken.so"), new byte[] {0x7f, 'E', 'L', 'F', 2, 1, 1});
        assertThat(probe(Map.of(), "-Dpanacea.device=cuda", "-Dpanacea.cuda.driver=" + broken).get("error")).contains(broken + ", named by panacea.cuda.driver, cannot be loaded: ");
        Path other = Path.of("target", "classes", "native", "linux-x86_64", "libpanacea_cpu.so").toAbsolutePath();
        assertThat(probe(Map.of(), "-Dpanacea.device=cuda", "-Dpanacea.cuda.driver=" + other).get("error")).contains(other + ", named by panacea.cuda.driver, is another library (it has no function cuInit)");
    }
}
