package dev.panacea.benchmarks;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.panacea.kernels.CpuKernels;
import dev.panacea.kernels.CpuTier;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.DenseWeight;
import dev.panacea.kernels.DeviceMemory;
import java.lang.foreign.MemorySegment;
import org.junit.jupiter.api.Test;

/** Of builds with libtorch. */
class TorchTest {
    /** The peer multiplies the same matrices to the same result, so that it is no smaller a job. */
    @Test
    void libtorchAgreesWithUs() {
        assumeTrue(System.getProperty("os.name").equals("Linux") && System.getProperty("os.arch").equals("amd64"), "libtorch is there for Linux x86-64 only");
        Torch torch = (Torch) PeerLibrary.load(2, message -> {
            throw new AssertionError(message);
        }).orElseThrow();
        assertThat(torch.version()).isEqualTo("libtorch 2.7.1");
        float[] x = new float[3 * 32];
        float[] w = new float[64 * 32];
        for (int i = 0; i < w.length; i++) {
            w[i] = (i * 37 % 101 - 50) / 50f;
            x[i % x.length] = (i * 53 % 97 - 48) / 48f;
        }
        float[] ours = new float[3 * 64];
        try (CpuKernels kernels = CpuKernels.open(CpuTier.best(), 2); DeviceMemory mx = kernels.allocate(4 * x.length); DeviceMemory mw = kernels.allocate(4 * w.length); DeviceMemory my = kernels.allocate(4 * ours.length)) {
            kernels.upload(MemorySegment.ofArray(x), mx.view(DType.F32));
            kernels.upload(MemorySegment.ofArray(w), mw.view(DType.F32));
            kernels.linear(new DenseWeight(mw.view(DType.F32), 64, 32), mx.view(DType.F32), 3, my.view(DType.F32), false);
            kernels.download(my.view(DType.F32), MemorySegment.ofArray(ours));
        }
        assertThat(Torch.product(x, w, 3, 64, 32)).containsExactly(ours, within(1e-4f));
        // 1 - lr wd - lr (0.1 / (1 - 0.9^1000)) / sqrt(0.001 / (1 - 0.999^1000)), with lr 1e-6 and wd 0.01.
        assertThat(torch.steppedParameter()).isCloseTo((float) (1 - 1e-8 - 1e-6 * 0.1 / Math.sqrt(0.001 / (1 - Math.pow(0.999, 1000)))), within(1e-7f)).isLessThan(1);
        AttentionWork.Shape s = new AttentionWork.Shape(2, 33, 4, 2, 16);
        for (Peer p : new Peer[] {torch.linear(DType.BF16, 3, 64, 32, 2), torch.linearInputGrad(DType.BF16, 3, 64, 32), torch.attention(s), torch.attentionBackward(s), torch.adamW(1000, 3)}) {
            try (p) {
                for (int i = 0; i < 3 * p.sets(); i++) {
                    p.run();
                }
                assertThat(p.name()).startsWith("libtorch 2.7.1 ");
            }
        }
    }
}
