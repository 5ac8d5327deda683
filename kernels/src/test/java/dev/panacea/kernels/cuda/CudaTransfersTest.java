package dev.panacea.kernels.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.Random;
import java.util.concurrent.atomic.AtomicReference;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class CudaTransfersTest extends CudaTest {
    private static final long PIECE = CudaTransfers.PIECE;

    @ParameterizedTest
    @ValueSource(longs = {0, 1, 3, 4096, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 5, 3 * PIECE + 7})
    void bytesComeBackAsTheyWere(long bytes) {
        byte[] there = new byte[(int) bytes];
        new Random(bytes).nextBytes(there);
        long address = memory.allocate(bytes + 64);
        device.clear(address, bytes + 64);
        // At an odd place, and from an odd place: neither side need be aligned.
        byte[] shifted = new byte[there.length + 3];
        System.arraycopy(there, 0, shifted, 3, there.length);
        transfers.upload(MemorySegment.ofArray(shifted).asSlice(3), address + 17, bytes);
        byte[] back = new byte[there.length + 1];
        transfers.download(address + 17, MemorySegment.ofArray(back).asSlice(1), bytes);
        assertThat(Arrays.mismatch(Arrays.copyOfRange(back, 1, back.length), there)).isEqualTo(-1);
        byte[] around = new byte[17];
        transfers.download(address, MemorySegment.ofArray(around), 17);
        assertThat(around).as("bytes before").containsOnly(0);
        byte[] after = new byte[47];
        transfers.download(address + 17 + bytes, MemorySegment.ofArray(after), 47);
        assertThat(after).as("bytes after").containsOnly(0);
        memory.free(address);
    }

    @Test
    void theSourceMayChangeAtOnce() {
        long address = memory.allocate(4 * 10);
        int[] values = new int[1];
        for (int i = 0; i < 10; i++) {
            values[0] = i;
            transfers.upload(MemorySegment.ofArray(values), address + 4L * i, 4);
        }
        values[0] = -1;
        assertThat(download(address, 10)).containsExactly(0, 1, 2, 3, 4, 5, 6, 7, 8, 9);
    }

    /** With downloads between them or not; all of it more than the staging memory holds. */
    @Test
    void uploadsOfAllSizesMayFollowEachOther() {
        Random random = new Random(3);
        byte[] expected = new byte[Math.toIntExact(3 * PIECE)];
        long address = memory.allocate(expected.length);
        byte[] back = new byte[expected.length];
        int at = 0;
        for (int i = 0; at < expected.length; i++) {
            byte[] part = new byte[Math.min(expected.length - at, 1 + random.nextInt(i % 5 == 0 ? 1 << 20 : 3000))];
            random.nextBytes(part);
            transfers.upload(MemorySegment.ofArray(part), address + at, part.length);
            System.arraycopy(part, 0, expected, at, part.length);
            at += part.length;
            Arrays.fill(part, (byte) 0);
            if (i == 20) {
                transfers.download(address, MemorySegment.ofArray(back), at);
                assertThat(Arrays.mismatch(back, 0, at, expected, 0, at)).isEqualTo(-1);
            }
        }
        transfers.download(address, MemorySegment.ofArray(back), back.length);
        assertThat(Arrays.mismatch(back, expected)).isEqualTo(-1);
    }

    @Test
    void hostMemoryMayBeAnywhere() {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment off = arena.allocate(8);
            off.set(ValueLayout.JAVA_INT, 4, 77);
            long address = memory.allocate(8);
            transfers.upload(off, address, 8);
            assertThat(download(address, 2)).containsExactly(0, 77);
        }
    }

    @Test
    void theWatchedMemoryComesAlongWithEveryDownload() {
        long watched = memory.allocate(8);
        try (CudaTransfers watching = new CudaTransfers(device, watched, 8)) {
            long y = upload(1);
            transfers.upload(MemorySegment.ofArray(new int[] {5, 6}), watched, 8);
            int[] out = new int[1];
            watching.download(y, MemorySegment.ofArray(out), 4);
            assertThat(watching.watched().getAtIndex(ValueLayout.JAVA_INT, 1)).isEqualTo(6);
            module.launch("add").grid(1).threads(2).pointer(watched).arg(10).arg(2).run();
            watching.download(y, MemorySegment.ofArray(out), 0);
            assertThat(watching.watched().getAtIndex(ValueLayout.JAVA_INT, 0)).isEqualTo(15);
        }
    }

    @Test
    void otherThreadsMayCall() throws InterruptedException {
        long y = upload(1, 2, 3);
        AtomicReference<int[]> result = new AtomicReference<>();
        Runnable work = () -> {
            module.launch("add").grid(1).threads(32).pointer(y).arg(10).arg(3).run();
            result.set(download(y, 3));
        };
        Thread platform = Thread.ofPlatform().start(work);
        platform.join();
        assertThat(result.get()).containsExactly(11, 12, 13);
        Thread virtual = Thread.ofVirtual().start(work);
        virtual.join();
        assertThat(result.get()).containsExactly(21, 22, 23);
    }

    @Test
    void aWrongAddressIsAnErrorOfTheDriver() {
        assertThatThrownBy(() -> transfers.upload(MemorySegment.ofArray(new int[4]), 0, 16)).isInstanceOf(CudaException.class)
                .hasMessageContaining("uploading 16 bytes").hasMessageContaining("CUDA_ERROR_INVALID_VALUE");
        assertThat(download(upload(4), 1)).as("usable after it").containsExactly(4);
    }
}
