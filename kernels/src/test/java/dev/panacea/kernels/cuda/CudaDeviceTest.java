package dev.panacea.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.panacea.kernels.PanaceaException;
import java.lang.foreign.MemorySegment;
import org.junit.jupiter.api.Test;

class CudaDeviceTest extends CudaTest {
    @Test
    void itSaysWhatItIs() {
        assertThat(device.name()).isNotBlank();
        assertThat(device.architecture()).isGreaterThanOrEqualTo(80);
        assertThat(device.multiprocessors()).isPositive();
        assertThat(device.sharedLimit()).isGreaterThan(48 << 10);
        assertThat(device.freeBytes()).isPositive().isLessThanOrEqualTo(device.totalBytes());
    }

    @Test
    void aGpuThatIsNotThereIsAnError() {
        for (int ordinal : new int[] {-1, 99}) {
            assertThatThrownBy(() -> CudaDevice.open(ordinal)).isInstanceOf(PanaceaException.class).hasMessageContaining("there is no CUDA device " + ordinal).hasMessageContaining("the driver ");
        }
    }

    @Test
    void severalMayBeOpenAtOnce() {
        try (CudaDevice second = CudaDevice.open(0); CudaAllocator other = new CudaAllocator(second, true);
                CudaModule kernels = new CudaModule(second, TestPtx.IMAGE, "the test's kernels"); CudaTransfers copies = new CudaTransfers(second, other.allocate(8), 8)) {
            long x = upload(1);
            long y = other.allocate(4);
            copies.upload(MemorySegment.ofArray(new int[] {10}), y, 4);
            for (int i = 0; i < 3; i++) {
                module.launch("add").grid(1).threads(1).pointer(x).arg(1).arg(1).run();
                kernels.launch("add").grid(1).threads(1).pointer(y).arg(2).arg(1).run();
            }
            int[] out = new int[1];
            copies.download(y, MemorySegment.ofArray(out), 4);
            assertThat(out).containsExactly(16);
            assertThat(download(x, 1)).containsExactly(4);
        }
        assertThat(download(upload(3), 1)).as("the first is not affected by the end of the second").containsExactly(3);
    }

    @Test
    void aClosedDeviceIsRefused() {
        CudaDevice closed = CudaDevice.open(0);
        closed.close();
        closed.close();
        assertThatThrownBy(closed::synchronize).isInstanceOf(IllegalStateException.class).hasMessageContaining("closed");
        assertThatThrownBy(closed::freeBytes).isInstanceOf(IllegalStateException.class);
        assertThat(closed.name()).isEqualTo(device.name());
    }
}
