package dev.panacea.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.panacea.kernels.PanaceaException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

class CudaAllocatorTest extends CudaTest {
    private static final long MIB = 1 << 20;
    /** More than any GPU has. */
    private static final long TOO_MUCH = 1L << 50;

    @Test
    void sizesAreRoundedUp() {
        long before = memory.usedBytes();
        for (long[] size : new long[][] {{0, 512}, {1, 512}, {512, 512}, {513, 1024}, {2 * MIB - 1, 2 * MIB}, {2 * MIB, 2 * MIB}, {2 * MIB + 1, 4 * MIB}}) {
            long address = memory.allocate(size[0]);
            assertThat(memory.usedBytes() - before).as(size[0] + " bytes").isEqualTo(size[1]);
            assertThat(address % 256).isZero();
            memory.free(address);
        }
        assertThat(memory.usedBytes()).isEqualTo(before);
    }

    @Test
    void aFreedBlockServesRequestsOfAlmostItsSize() {
        long large = memory.allocate(64 * MIB);
        memory.free(large);
        long held = memory.heldBytes();
        assertThat(memory.allocate(56 * MIB)).as("7/8 of it").isEqualTo(large);
        assertThat(memory.heldBytes()).isEqualTo(held);
        memory.free(large);
        long smaller = memory.allocate(54 * MIB);
        assertThat(smaller).as("less than 7/8 of it").isNotEqualTo(large);
        long again = memory.allocate(64 * MIB);
        assertThat(again).isEqualTo(large);
        memory.free(smaller);
        memory.free(again);
    }

    @Test
    void trimmingGivesFreeBlocksBackAndNoOthers() {
        long kept = upload(1, 2, 3);
        long used = memory.usedBytes();
        for (int i = 0; i < 3; i++) {
            memory.free(memory.allocate((i + 1) * MIB));
        }
        long free = device.freeBytes();
        assertThat(memory.heldBytes()).isGreaterThan(used);
        assertThat(memory.availableBytes()).isEqualTo(free + memory.heldBytes() - used);
        memory.trim();
        assertThat(memory.heldBytes()).isEqualTo(used);
        assertThat(device.freeBytes()).isGreaterThan(free);
        assertThat(download(kept, 3)).containsExactly(1, 2, 3);
    }

    @Test
    void outOfMemoryIsAnErrorThatFreesWhatWasHeldAndLeavesEverythingUsable() {
        long kept = upload(7, 8);
        memory.free(memory.allocate(8 * MIB));
        long used = memory.usedBytes();
        for (long bytes : new long[] {TOO_MUCH, Long.MAX_VALUE, Long.MAX_VALUE - 1000}) {
            assertThatThrownBy(() -> memory.allocate(bytes)).isInstanceOf(PanaceaException.class).hasMessageContaining("no " + bytes + " bytes of memory left").hasMessageContaining("smaller batch");
        }
        assertThat(memory.usedBytes()).isEqualTo(used);
        assertThat(memory.heldBytes()).as("free blocks were given back").isEqualTo(used);
        module.launch("add").grid(1).threads(32).pointer(kept).arg(1).arg(2).run();
        assertThat(download(kept, 2)).containsExactly(8, 9);
        memory.free(memory.allocate(MIB));
    }

    /** In a process of its own: on the simulated driver, fresh memory must not be written to, or 60 GB of it were needed. */
    @Test
    void freeBlocksMakeRoomForARequestThatWouldNotFitBesideThem() throws Exception {
        List<String> command = new ArrayList<>(List.of(Path.of(System.getProperty("java.home"), "bin", "java").toString(), "--enable-native-access=ALL-UNNAMED", "-cp",
                System.getProperty("surefire.test.class.path", System.getProperty("java.class.path"))));
        System.getProperties().forEach((name, value) -> {
            if (name.toString().startsWith("panacea.")) {
                command.add(1, "-D" + name + "=" + value);
            }
        });
        command.add(Probe.class.getName());
        ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
        builder.environment().put("PTXSIM_POISON", "0");
        Process process = builder.start();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
        assertThat(output.strip()).endsWith("made room");
    }

    static final class Probe {
        private Probe() {}

        public static void main(String[] args) {
            try (CudaDevice device = CudaDevice.open(0); CudaAllocator memory = new CudaAllocator(device, true)) {
                long most = device.freeBytes() / 8 * 7;
                memory.free(memory.allocate(most / 2));
                memory.free(memory.allocate(most / 3));
                long address = memory.allocate(most);
                System.out.println(memory.heldBytes() - most < 4 * MIB && address != 0 ? "made room" : "holds " + memory.heldBytes());
            }
        }
    }

    @Test
    void nothingLeaksOverManyRepetitions() {
        long first = 0;
        for (int i = 0; i < 100; i++) {
            List<Long> addresses = new ArrayList<>();
            for (int j = 1; j <= 10; j++) {
                addresses.add(memory.allocate(j * 300_000L));
            }
            addresses.forEach(memory::free);
            if (i == 0) {
                first = memory.heldBytes();
            }
        }
        assertThat(memory.heldBytes()).isEqualTo(first);
    }

    @Test
    void memoryThatIsFreedWhileALaunchOnItIsQueuedIsNotWrittenBefore() {
        int[] ones = new int[1 << 16];
        Arrays.fill(ones, 1);
        long sum = memory.allocate(4);
        for (int i = 0; i < 5; i++) {
            long x = upload(ones);
            module.launch("sum").grid(1).threads(1).pointer(sum).pointer(x).arg(ones.length).run();
            memory.free(x);
            // The same memory, given out again and overwritten at once.
            long next = memory.allocate(4L * ones.length);
            assertThat(next).isEqualTo(x);
            device.clear(next, 4L * ones.length);
            assertThat(download(sum, 1)).containsExactly(ones.length);
            memory.free(next);
        }
    }

    @Test
    void exactSizesWhereNothingIsKept() {
        try (CudaAllocator exact = new CudaAllocator(device, false)) {
            long free = device.freeBytes();
            long address = exact.allocate(1001);
            assertThat(exact.usedBytes()).isEqualTo(1001);
            exact.free(address);
            assertThat(exact.heldBytes()).isZero();
            assertThat(device.freeBytes()).isEqualTo(free);
        }
    }

    @Test
    void mistakesAreRefused() {
        assertThatThrownBy(() -> memory.allocate(-1)).isInstanceOf(IllegalArgumentException.class);
        assertThatThrownBy(() -> memory.free(12345)).isInstanceOf(IllegalStateException.class).hasMessageContaining("was not allocated here");
        long address = memory.allocate(10);
        memory.free(address);
        assertThatThrownBy(() -> memory.free(address)).isInstanceOf(IllegalStateException.class);
    }

    @Test
    void scratchGrowsAndTellsWhenItMoves() {
        CudaScratch scratch = new CudaScratch(memory);
        long a = scratch.at("a", 1000);
        assertThat(scratch.at("a", 900)).isEqualTo(a);
        assertThat(scratch.at("b", 900)).isNotEqualTo(a);
        assertThat(scratch.moves()).isZero();
        assertThat(scratch.bytes()).isEqualTo(1900);
        scratch.at("a", 5000);
        assertThat(scratch.moves()).isEqualTo(1);
        assertThat(scratch.bytes()).isEqualTo(5900);
        assertThatThrownBy(() -> scratch.at("a", TOO_MUCH)).isInstanceOf(PanaceaException.class);
        assertThat(scratch.at("a", 100)).as("usable after it").isNotZero();
    }
}
