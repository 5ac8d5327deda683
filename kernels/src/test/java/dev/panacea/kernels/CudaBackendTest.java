package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.panacea.kernels.cuda.CudaException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The backend around its kernels: opening, memory, threads, repeated calls. */
class CudaBackendTest {
    @TempDir
    private Path folder;

    private CudaKernels kernels;

    @BeforeEach
    void open() {
        kernels = CudaUnderTest.openOrSkip(() -> CudaKernels.open(0, true));
    }

    @AfterEach
    void close() {
        if (kernels != null) {
            kernels.close();
        }
    }

    private static float[] download(Kernels kernels, DeviceBuffer buffer) {
        float[] values = new float[(int) buffer.length()];
        kernels.download(buffer, MemorySegment.ofArray(values));
        return values;
    }

    private static DeviceBuffer floats(Kernels kernels, float... values) {
        DeviceBuffer buffer = kernels.allocate(4L * values.length).view(DType.F32);
        kernels.upload(MemorySegment.ofArray(values), buffer);
        return buffer;
    }

    // ---- opening -----------------------------------------------------------------------------------------------------

    @Test
    void itIsOpenedByTheNameOfTheDevice() {
        for (String name : List.of("cuda", "CUDA", "cuda:0")) {
            try (Kernels k = Backends.open(name)) {
                assertThat(k).isInstanceOf(CudaKernels.class);
                assertThat(k.description()).startsWith("cuda ").contains(kernels.context().device().name());
                assertThat(k.readsHostMemory()).isFalse();
            }
        }
        assertThatThrownBy(() -> Backends.open("cuda:7")).isInstanceOf(PanaceaException.class).hasMessageContaining("there is no CUDA device 7; the driver ");
    }

    @Test
    void kernelsOfAFileThatIsNoneAreAnError() throws Exception {
        Path garbage = Files.writeString(folder.resolve("panacea.fatbin"), "this is no fat binary");
        for (Map.Entry<Path, String> e : Map.of(garbage, "CUDA_ERROR_", folder.resolve("missing"), "cannot be read").entrySet()) {
            assertThat(probe("-Dpanacea.cuda.kernels=" + e.getKey()).get("error")).contains(e.getKey().toString()).contains(e.getValue());
        }
    }

    private LoadProbe.Result probe(String... more) throws Exception {
        return probe(LoadProbe.class, more);
    }

    private LoadProbe.Result probe(Class<?> program, String... more) throws Exception {
        List<String> options = new ArrayList<>(List.of("-Dpanacea.device=cuda"));
        System.getProperties().forEach((name, value) -> {
            if (name.toString().startsWith("panacea.cuda.")) {
                options.add("-D" + name + "=" + value);
            }
        });
        options.addAll(List.of(more));
        return LoadProbe.start(program, folder, LoadProbe.classPath(), Map.of(), options).await();
    }

    // ---- memory ------------------------------------------------------------------------------------------------------

    @Test
    void freshMemoryIsZeroEvenWhereItWasUsedBefore() {
        try (DeviceMemory m = kernels.allocate(1000)) {
            kernels.upload(MemorySegment.ofArray(new byte[1000]).fill((byte) 7), m.view(DType.U8));
        }
        try (DeviceMemory m = kernels.allocate(1000)) {
            byte[] bytes = new byte[1000];
            kernels.download(m.view(DType.U8), MemorySegment.ofArray(bytes));
            assertThat(bytes).containsOnly(0);
        }
    }

    @Test
    void outOfMemoryFreesWhatItHeldAndLeavesEverythingUsable() {
        DeviceBuffer x = floats(kernels, 1, 2, 3);
        MemoryUse before = kernels.memoryUse().orElseThrow();
        for (int i = 0; i < 100; i++) {
            try (DeviceMemory m = kernels.allocate(1 << 20)) {
                assertThat(kernels.memoryUse().orElseThrow().used()).isEqualTo(before.used() + m.byteSize());
                assertThatThrownBy(() -> kernels.allocate(1L << 50)).isInstanceOf(PanaceaException.class).hasMessageContaining("bytes of memory left");
            }
        }
        assertThat(kernels.memoryUse().orElseThrow()).isEqualTo(before);
        assertThatThrownBy(() -> kernels.allocate(-1)).isInstanceOf(IllegalArgumentException.class);
        assertThat(download(kernels, x)).containsExactly(1, 2, 3);
    }

    @Test
    void viewsLieWithinTheirMemory() {
        DeviceMemory m = kernels.allocate(10);
        assertThat(m.view(DType.F32, 4, 1).length()).isEqualTo(1);
        assertThatThrownBy(() -> m.view(DType.F32, 2, 1)).isInstanceOf(IllegalArgumentException.class);
        for (long[] part : new long[][] {{0, 3}, {8, 1}, {12, 0}, {-4, 1}, {0, -1}, {4, Long.MAX_VALUE}}) {
            assertThatThrownBy(() -> m.view(DType.F32, part[0], part[1])).isInstanceOf(IndexOutOfBoundsException.class);
        }
        assertThatThrownBy(() -> m.view(DType.F32, 0, 1).host()).isInstanceOf(IllegalStateException.class).hasMessageContaining("download it first");
        m.close();
        m.close();
        assertThatThrownBy(() -> m.view(DType.U8)).isInstanceOf(IllegalStateException.class).hasMessageContaining("has been closed");
    }

    @Test
    void whatHasBeenClosedIsRefused() {
        CudaKernels closed = CudaKernels.open(0, true);
        DeviceMemory m = closed.allocate(16);
        DeviceBuffer x = m.view(DType.F32);
        RepeatedCalls calls = closed.repeated(() -> closed.copy(x, x, 4, false));
        calls.run();
        calls.run();
        closed.close();
        closed.close();
        assertThatThrownBy(() -> m.view(DType.F32)).isInstanceOf(IllegalStateException.class).hasMessageContaining("gone with the kernels");
        assertThatThrownBy(() -> closed.copy(x, x, 4, false)).isInstanceOf(IllegalStateException.class);
        assertThatThrownBy(() -> closed.allocate(1)).isInstanceOf(IllegalStateException.class);
        assertThatThrownBy(() -> closed.download(x, MemorySegment.ofArray(new float[4]))).isInstanceOf(IllegalStateException.class);
        assertThatThrownBy(closed::memoryUse).isInstanceOf(IllegalStateException.class);
        assertThatThrownBy(calls::run).isInstanceOf(IllegalStateException.class);
        calls.close();
        m.close();
        assertThat(closed.description()).startsWith("cuda ");
    }

    @Test
    void closingGivesEverythingBack() {
        long free = kernels.context().device().freeBytes();
        for (int i = 0; i < 5; i++) {
            CudaKernels other = CudaKernels.open(0, true);
            DeviceBuffer x = other.allocate(1 << 20).view(DType.F32);
            other.copy(x, x, x.length(), true);
            other.close();
        }
        assertThat(kernels.context().device().freeBytes()).isEqualTo(free);
    }

    // ---- calls -------------------------------------------------------------------------------------------------------

    @Test
    void manyThreadsMayCall() throws Exception {
        try (ExecutorService threads = Executors.newVirtualThreadPerTaskExecutor()) {
            List<Future<float[]>> results = new ArrayList<>();
            for (int i = 0; i < 20; i++) {
                float value = i + 1;
                results.add(threads.submit(() -> {
                    try (DeviceMemory m = kernels.allocate(8)) {
                        DeviceBuffer x = m.view(DType.F32);
                        kernels.upload(MemorySegment.ofArray(new float[] {value, -value}), x);
                        for (int j = 0; j < 5; j++) {
                            kernels.copy(x, x, 2, true);
                        }
                        return download(kernels, x);
                    }
                }));
            }
            for (int i = 0; i < results.size(); i++) {
                assertThat(results.get(i).get()).containsExactly(32 * (i + 1), -32 * (i + 1));
            }
        }
    }

    @Test
    void severalMayBeOpen() {
        try (CudaKernels other = CudaKernels.open(0, true)) {
            DeviceBuffer x = floats(kernels, 1);
            DeviceBuffer y = floats(other, 10);
            kernels.copy(x, x, 1, true);
            other.copy(y, y, 1, true);
            kernels.copy(x, x, 1, true);
            assertThat(download(other, y)).containsExactly(20);
            assertThat(download(kernels, x)).containsExactly(4);
        }
        assertThat(download(kernels, floats(kernels, 5))).containsExactly(5);
    }

    @Test
    void repeatedCallsRunOnWhatTheirBuffersHold() {
        DeviceBuffer x = floats(kernels, 1, 2);
        DeviceBuffer y = floats(kernels, 0, 0);
        int[] made = new int[1];
        try (RepeatedCalls calls = kernels.repeated(() -> {
            made[0]++;
            kernels.copy(x, y, 2, true);
            kernels.copy(y, x, 2, false);
        })) {
            for (int i = 0; i < 6; i++) {
                calls.run();
            }
            assertThat(made[0]).as("once one by one, once to be recorded").isEqualTo(2);
            // y = 1, 2, 4 ...: the first call makes y = x, every later one doubles it.
            assertThat(download(kernels, y)).containsExactly(32, 64);
            kernels.upload(MemorySegment.ofArray(new float[] {1, 1}), x);
            calls.run();
            assertThat(download(kernels, y)).containsExactly(33, 65);
            // Scratch memory that moves makes the recording void: the addresses in it may be of memory that was given back.
            kernels.context().scratch().at("test", 10);
            kernels.context().scratch().at("test", 100_000);
            calls.run();
            assertThat(made[0]).isEqualTo(3);
            calls.run();
            calls.run();
            assertThat(made[0]).isEqualTo(4);
            assertThat(download(kernels, y)).containsExactly(33 * 8, 65 * 8);
        }
    }

    @Test
    void whatCannotBeRepeatedIsRefused() {
        DeviceBuffer x = floats(kernels, 1);
        try (RepeatedCalls calls = kernels.repeated(() -> kernels.upload(MemorySegment.ofArray(new float[1]), x))) {
            calls.run();
            assertThatThrownBy(calls::run).isInstanceOf(IllegalStateException.class).hasMessageContaining("an upload cannot be part of");
        }
        kernels.copy(x, x, 1, true);
        assertThat(download(kernels, x)).containsExactly(0);
    }

    /** In a process of its own, which cannot use the GPU any more after it. */
    @Test
    void afterAFaultOfAKernelEverythingCanBeClosed() throws Exception {
        LoadProbe.Result result = probe(Fault.class);
        assertThat(result.get("fault")).as(result.out() + result.err()).contains("CUDA_ERROR_ILLEGAL_ADDRESS").contains("this process cannot use the GPU any more");
        assertThat(result.get("later")).contains("CUDA_ERROR_ILLEGAL_ADDRESS");
        assertThat(result.exit()).as(result.out() + result.err()).isZero();
    }

    static final class Fault {
        private Fault() {}

        public static void main(String[] args) {
            try (CudaKernels kernels = CudaKernels.open(0, true); DeviceMemory memory = kernels.allocate(16)) {
                DeviceBuffer y = memory.view(DType.F32);
                try (RepeatedCalls calls = kernels.repeated(() -> kernels.copy(y, y, 4, false))) {
                    calls.run();
                    calls.run();
                    for (String what : List.of("fault", "later")) {
                        try {
                            kernels.copy(DeviceBuffer.ofDevice(DType.F32, 64, 4), y, 4, false);
                            download(kernels, y);
                        } catch (CudaException e) {
                            System.out.println(what + "=" + e.getMessage());
                        }
                    }
                }
            }
        }
    }

    /** An address that is not the device's own would end all work on it, or be another program's memory. */
    @Test
    void buffersOfOthersAndClosedOnesAreRefusedBeforeALaunch() {
        try (CudaKernels other = CudaKernels.open(0, true); DeviceMemory theirs = other.allocate(1 << 16); DeviceMemory own = kernels.allocate(1 << 16);
                Arena arena = Arena.ofConfined()) {
            DeviceMemory gone = kernels.allocate(1 << 16);
            DeviceBuffer good = own.view(DType.F32);
            DeviceBuffer closed = gone.view(DType.F32).slice(16, 4096);
            gone.close();
            for (DeviceBuffer bad : List.of(theirs.view(DType.F32), DeviceBuffer.ofHost(DType.F32, arena.allocate(1 << 16)), closed)) {
                Class<?> expected = bad == closed ? IllegalStateException.class : IllegalArgumentException.class;
                for (ThrowingCallable call : List.<ThrowingCallable>of(() -> kernels.copy(bad, good, 4, false), () -> kernels.copy(good, bad, 4, false), () -> kernels.clear(bad),
                        () -> kernels.upload(MemorySegment.ofArray(new float[1 << 14]), bad), () -> kernels.download(bad, MemorySegment.ofArray(new float[1 << 14])),
                        () -> kernels.linear(new DenseWeight(bad, 32, 32), good, 64, good, false), () -> kernels.linear(new DenseWeight(good, 32, 32), bad, 64, good, false),
                        () -> kernels.linear(new DenseWeight(bad, 32, 32), good, 1, good, false), () -> kernels.linear(new DenseWeight(good, 32, 32), good, 64, bad, false),
                        () -> kernels.sumOfSquares(bad, 64), () -> kernels.dequantize(new DenseWeight(bad, 32, 32), good))) {
                    assertThatThrownBy(call).isInstanceOf(expected);
                }
            }
            download(kernels, good);
        }
    }

    @Test
    void anErrorOfTheDriverHasItsName() {
        DeviceBuffer nowhere = DeviceBuffer.ofDevice(DType.F32, 64, 4);
        assertThatThrownBy(() -> kernels.upload(MemorySegment.ofArray(new float[4]), nowhere)).isInstanceOfSatisfying(CudaException.class, e -> assertThat(e.code()).isPositive())
                .hasMessageContaining("CUDA_ERROR_INVALID_VALUE");
    }
}
