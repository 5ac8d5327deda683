package dev.panacea.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.panacea.kernels.PanaceaException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

/** Modules, launches and graphs. */
class CudaLaunchTest extends CudaTest {
    private Launch add(long y, int value, int n) {
        return module.launch("add").grid((n + 63) / 64).threads(64).pointer(y).arg(value).arg(n);
    }

    @Test
    void launchesRunInOrder() {
        int n = 1000;
        long y = upload(new int[n]);
        for (int i = 0; i < 10; i++) {
            add(y, i, n).run();
        }
        assertThat(download(y, n)).containsOnly(45);
    }

    @Test
    void argumentsOfAllKindsArrive() {
        long y = memory.allocate(24);
        module.launch("kinds").grid(1).threads(1).pointer(y).arg(1.5f).arg(-2.25).arg(1L << 40).run();
        byte[] out = new byte[24];
        transfers.download(y, MemorySegment.ofArray(out), 24);
        MemorySegment s = MemorySegment.ofArray(out);
        assertThat(s.get(ValueLayout.JAVA_FLOAT_UNALIGNED, 0)).isEqualTo(1.5f);
        assertThat(s.get(ValueLayout.JAVA_DOUBLE_UNALIGNED, 8)).isEqualTo(-2.25);
        assertThat(s.get(ValueLayout.JAVA_LONG_UNALIGNED, 16)).isEqualTo(1L << 40);
    }

    @Test
    void whatDoesNotFitTheKernelIsRefusedBeforeTheDriverSeesIt() {
        long y = upload(0);
        assertThatThrownBy(() -> module.launch("add").grid(1).threads(32).pointer(y).arg(1).run()).isInstanceOf(IllegalStateException.class)
                .hasMessage("add has parameters of [8, 4, 4] bytes, but is given arguments of [8, 4]");
        assertThatThrownBy(() -> module.launch("add").grid(1).threads(32).pointer(y).arg(1).arg(1L).run()).isInstanceOf(IllegalStateException.class).hasMessageContaining("[8, 4, 8]");
        assertThatThrownBy(() -> module.launch("add").grid(1).threads(32).pointer(y).arg(1).arg(1).arg(true).run()).isInstanceOf(IllegalStateException.class);
        for (int threads : new int[] {0, -1, 129, 2000}) {
            assertThatThrownBy(() -> module.launch("add").grid(1).threads(threads).pointer(y).arg(1).arg(1).run()).isInstanceOf(IllegalStateException.class).hasMessageContaining("its limit is 128");
        }
        for (long[] grid : new long[][] {{0, 1, 1}, {1L << 31, 1, 1}, {1, 65536, 1}, {1, 1, 65536}, {1, 0, 1}, {1, 1, -1}}) {
            assertThatThrownBy(() -> module.launch("add").grid(grid[0], grid[1], grid[2]).threads(1).pointer(y).arg(1).arg(1).run()).isInstanceOf(IllegalStateException.class)
                    .hasMessageContaining("cannot have a grid");
        }
        assertThatThrownBy(() -> module.launch("stage").grid(1).threads(32).shared(device.sharedLimit() + 1).pointer(y).arg(1).run()).isInstanceOf(IllegalStateException.class)
                .hasMessageContaining("bytes of dynamic shared memory");
        assertThatThrownBy(() -> module.launch("stage").grid(1).threads(32).shared(-1).pointer(y).arg(1).run()).isInstanceOf(IllegalStateException.class);
        Launch many = module.launch("add");
        assertThatThrownBy(() -> IntStream.range(0, 1000).forEach(many::arg)).isInstanceOf(IllegalStateException.class).hasMessageContaining("more than");
        add(y, 3, 1).run();
        assertThat(download(y, 1)).as("usable after it").containsExactly(3);
    }

    @Test
    void aBlockMayHaveAllTheSharedMemoryThereIs() {
        for (int bytes : new int[] {400, 48 << 10, (48 << 10) + 4, device.sharedLimit(), 4000}) {
            int n = bytes / 4;
            long y = memory.allocate(bytes);
            module.launch("stage").grid(1).threads(256).shared(bytes).pointer(y).arg(n).run();
            assertThat(download(y, n)).as(bytes + " bytes").isEqualTo(IntStream.range(0, n).toArray());
            memory.free(y);
        }
    }

    @Test
    void damagedImagesAndMissingKernelsAreErrors() {
        byte[] garbage = new byte[1000];
        Arrays.fill(garbage, (byte) 0x7F);
        assertThatThrownBy(() -> new CudaModule(device, garbage, "garbage.fatbin")).isInstanceOf(CudaException.class).hasMessageContaining("garbage.fatbin").hasMessageContaining("CUDA_ERROR_");
        assertThatThrownBy(() -> new CudaModule(device, new byte[0], "empty.fatbin")).isInstanceOf(PanaceaException.class).hasMessageContaining("empty.fatbin");
        byte[] wrong = ".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry x() { no.such.instruction; }".getBytes(StandardCharsets.US_ASCII);
        assertThatThrownBy(() -> {
            try (CudaModule m = new CudaModule(device, wrong, "wrong.ptx")) {
                m.launch("x").grid(1).threads(1).run();
            }
        }).isInstanceOf(CudaException.class);
        assertThatThrownBy(() -> module.launch("no_such_kernel")).isInstanceOf(IllegalStateException.class).hasMessageContaining("no kernel no_such_kernel in the test's kernels");
        long y = upload(0);
        add(y, 3, 1).run();
        assertThat(download(y, 1)).as("usable after it").containsExactly(3);
    }

    @Test
    void kernelsForOtherGpusAreRefusedWithWhatTheyNeed() {
        // More than any GPU that there is.
        byte[] later = ".version 9.0\n.target sm_121\n.address_size 64\n.visible .entry x() { ret; }".getBytes(StandardCharsets.US_ASCII);
        assertThatThrownBy(() -> new CudaModule(device, later, "later.ptx")).isInstanceOf(PanaceaException.class).hasMessageContaining("later.ptx").hasMessageContaining("CUDA " + device.driverVersion());
    }

    // ---- graphs ------------------------------------------------------------------------------------------------------

    @Test
    void recordedLaunchesRunOnWhatTheBuffersHold() {
        long y = upload(0, 0);
        add(y, 0, 2).run();
        try (CudaGraph graph = CudaGraph.record(device, () -> {
            add(y, 5, 2).run();
            device.clear(y + 4, 4);
            add(y, 7, 2).run();
        })) {
            assertThat(download(y, 2)).as("nothing has run").containsExactly(0, 0);
            graph.launch();
            assertThat(download(y, 2)).containsExactly(12, 7);
            transfers.upload(MemorySegment.ofArray(new int[] {100, 100}), y, 8);
            graph.launch();
            graph.launch();
            assertThat(download(y, 2)).containsExactly(124, 7);
        }
    }

    @Test
    void whatCannotBeRecordedIsRefusedAndLeavesEverythingUsable() {
        long y = upload(1);
        int[] host = new int[1];
        for (Runnable wrong : new Runnable[] {
            () -> transfers.upload(MemorySegment.ofArray(host), y, 4), () -> transfers.download(y, MemorySegment.ofArray(host), 4), () -> memory.allocate(10), device::synchronize,
            () -> CudaGraph.record(device, () -> { }), () -> module.launch("sum")
        }) {
            assertThatThrownBy(() -> CudaGraph.record(device, wrong)).isInstanceOf(IllegalStateException.class).hasMessageContaining("cannot be part of calls that are recorded");
            add(y, 1, 1).run();
        }
        assertThat(download(y, 1)).containsExactly(7);
    }

    @Test
    void aClosedGraphIsRefused() {
        long y = upload(1);
        add(y, 1, 1).run();
        CudaGraph graph = CudaGraph.record(device, () -> add(y, 1, 1).run());
        graph.close();
        graph.close();
        assertThatThrownBy(graph::launch).isInstanceOf(IllegalStateException.class);
    }
}
