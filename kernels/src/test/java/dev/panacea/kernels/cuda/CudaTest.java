package dev.panacea.kernels.cuda;

import dev.panacea.kernels.CudaUnderTest;
import java.lang.foreign.MemorySegment;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;

/** A device with an allocator, transfers and {@link TestPtx}, and a check that everything taken from it was given back. */
abstract class CudaTest {
    static final long WATCHED = 32;

    CudaDevice device;
    CudaAllocator memory;
    CudaTransfers transfers;
    CudaModule module;
    private long freeBefore;

    @BeforeEach
    void open() {
        device = CudaUnderTest.openOrSkip(() -> CudaDevice.open(0));
        freeBefore = device.freeBytes();
        memory = new CudaAllocator(device, true);
        transfers = new CudaTransfers(device, memory.allocate(WATCHED), WATCHED);
        module = new CudaModule(device, TestPtx.IMAGE, "the test's kernels");
    }

    @AfterEach
    void close() {
        if (device != null) {
            module.close();
            transfers.close();
            memory.close();
            try {
                if (device.freeBytes() != freeBefore) {
                    throw new AssertionError("memory of the device was not given back: " + (freeBefore - device.freeBytes()) + " bytes");
                }
            } finally {
                device.close();
            }
        }
    }

    long upload(int... values) {
        long address = memory.allocate(4L * values.length);
        transfers.upload(MemorySegment.ofArray(values), address, 4L * values.length);
        return address;
    }

    int[] download(long address, int count) {
        int[] values = new int[count];
        transfers.download(address, MemorySegment.ofArray(values), 4L * count);
        return values;
    }
}
