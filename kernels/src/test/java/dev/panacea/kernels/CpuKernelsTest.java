package dev.panacea.kernels;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.panacea.bindings.NativeLibrary;
import dev.panacea.bindings.NativeMemory;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.stream.Stream;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** The way to the native kernels: what is checked before a call, memory, and errors. That they compute the right thing is tested against the reference. */
class CpuKernelsTest {
    private static CpuKernels kernels;

    private final List<DeviceMemory> memories = new ArrayList<>();

    @BeforeAll
    static void open() {
        kernels = CpuKernels.open();
    }

    @AfterAll
    static void close() {
        kernels.close();
    }

    @AfterEach
    void free() {
        memories.forEach(DeviceMemory::close);
    }

    private DeviceBuffer buffer(DType type, long length) {
        DeviceMemory memory = kernels.allocate(length * type.bytes());
        memories.add(memory);
        return memory.view(type);
    }

    private DeviceBuffer floats(float... values) {
        DeviceBuffer b = buffer(DType.F32, values.length);
        kernels.upload(MemorySegment.ofArray(values), b);
        return b;
    }

    private static float[] floats(DeviceBuffer b) {
        float[] values = new float[(int) b.length()];
        kernels.download(b, MemorySegment.ofArray(values));
        return values;
    }

    // ---- every argument of every operation ---------------------------------------------------------------------------

    /** The type and the smallest length that an argument may have. */
    record Argument(DType type, long length) {}

    /** An operation of small sizes, with all that it takes. */
    record Operation(String name, List<Argument> arguments, Call call) {
        interface Call {
            void on(Kernels k, DeviceBuffer[] b);
        }

        @Override
        public String toString() {
            return name;
        }
    }

    private static Argument f32(long n) {
        return new Argument(DType.F32, n);
    }

    private static Argument i32(long n) {
        return new Argument(DType.I32, n);
    }

    private static Argument u8(long n) {
        return new Argument(DType.U8, n);
    }

    private static Operation op(String name, Operation.Call call, Argument... arguments) {
        return new Operation(name, List.of(arguments), call);
    }

    private static Weight dense(DeviceBuffer b) {
        return new DenseWeight(b, 3, 5);
    }

    /** M = 2 tokens, K = 5 in, N = 3 out, rank 2; attention with 2 heads, 1 key/value head of 4, 2 rows; integers are all 0. */
    static Stream<Operation> operations() {
        AttentionShape shape = new AttentionShape(2, 1, 4, 0.5f);
        AdamWStep step = new AdamWStep(1, 0.1f, 0.9f, 0.999f, 1e-8f, 0, 1);
        return Stream.of(
                op("copy", (k, b) -> k.copy(b[0], b[1], 7, false), f32(7), f32(7)),
                op("linear", (k, b) -> k.linear(dense(b[2]), b[0], 2, b[1], false), f32(10), f32(6), f32(15)),
                op("linearInputGrad", (k, b) -> k.linearInputGrad(dense(b[2]), b[0], 2, b[1], true), f32(6), f32(10), f32(15)),
                op("linearWeightGrad", (k, b) -> k.linearWeightGrad(b[0], b[1], 2, 3, 5, b[2]), f32(6), f32(10), f32(15)),
                op("loraLinear", (k, b) -> k.loraLinear(dense(b[0]), new Lora(b[1], b[2], 2, 2), b[3], 2, b[4], b[5], false), f32(15), f32(10), f32(6), f32(10), f32(4), f32(6)),
                op("loraLinearBackward", (k, b) -> k.loraLinearBackward(dense(b[0]), new Lora(b[1], b[2], 2, 2), b[3], b[4], b[5], 2, b[6], b[7], b[8], false),
                        f32(15), f32(10), f32(6), f32(10), f32(4), f32(6), f32(10), f32(6), f32(10)),
                op("quantize4", (k, b) -> k.quantize4(QuantType.NF4, b[0], 65, 64, b[1], b[2]), f32(65), u8(33), f32(2)),
                op("dequantize", (k, b) -> k.dequantize(dense(b[0]), b[1]), f32(15), f32(15)),
                op("dequantize NF4", (k, b) -> k.dequantize(new Q4Weight(3, 43, 32, b[0], b[1], b[2], Optional.of(new Q4Weight.Nested(b[3], b[4], 0.5f))), b[5]),
                        u8(65), f32(16), u8(5), f32(256), f32(1), f32(129)),
                op("dequantize Q4_K", (k, b) -> k.dequantize(new BlockWeight(GgmlType.Q4_K, b[0], 2, 256, 2), b[1]), u8(288), f32(512)),
                op("rmsNorm", (k, b) -> k.rmsNorm(b[0], b[1], 1e-5f, 2, 5, b[2], b[3]), f32(10), f32(5), f32(10), f32(2)),
                op("rmsNormBackward", (k, b) -> k.rmsNormBackward(b[0], b[1], b[2], b[3], 2, 5, b[4], false), f32(10), f32(5), f32(2), f32(10), f32(10)),
                op("rmsNormWeightGrad", (k, b) -> k.rmsNormWeightGrad(b[0], b[1], b[2], 2, 5, b[3]), f32(10), f32(2), f32(10), f32(5)),
                op("rope", (k, b) -> k.rope(b[0], b[1], b[2], b[3], 2, 3, 4, false), f32(24), i32(2), f32(2), f32(2)),
                op("swiGlu", (k, b) -> k.swiGlu(b[0], b[1], 7, b[2]), f32(7), f32(7), f32(7)),
                op("swiGluBackward", (k, b) -> k.swiGluBackward(b[0], b[1], b[2], 7, b[3], b[4]), f32(7), f32(7), f32(7), f32(7), f32(7)),
                op("attention", (k, b) -> k.attention(b[0], b[1], b[2], b[5], 1, shape, b[3], b[4]), f32(16), f32(8), f32(8), f32(16), f32(4), i32(4)),
                op("attentionBackward", (k, b) -> k.attentionBackward(b[0], b[1], b[2], b[3], b[4], b[6], b[5], 1, shape, b[7], b[8], b[9]),
                        f32(16), f32(8), f32(8), f32(16), f32(4), i32(4), f32(16), f32(16), f32(8), f32(8)),
                op("gatherRows", (k, b) -> k.gatherRows(dense(b[0]), b[1], 2, b[2]), f32(15), i32(2), f32(10)),
                op("scatterRows", (k, b) -> k.scatterRows(b[0], b[1], 2, 5, b[2], true), f32(10), i32(2), f32(5)),
                op("crossEntropy", (k, b) -> k.crossEntropy(b[0], b[1], 2, 5, b[2]), f32(10), i32(2), f32(2)),
                op("crossEntropyWithGrad", (k, b) -> k.crossEntropyWithGrad(b[0], b[1], 2, 5, 1, b[2], b[3]), f32(10), i32(2), f32(2), f32(10)),
                op("adamW", (k, b) -> k.adamW(b[0], b[1], b[2], b[3], 7, step), f32(7), f32(7), f32(7), f32(7)),
                op("sumOfSquares", (k, b) -> k.sumOfSquares(b[0], 7), f32(7)));
    }

    @ParameterizedTest
    @MethodSource("operations")
    void takesBuffersThatAreLongEnough(Operation operation) {
        operation.call().on(kernels, buffers(operation));
    }

    @ParameterizedTest
    @MethodSource("operations")
    void rejectsABufferThatIsTooShortBeforeAnythingIsWritten(Operation operation) {
        for (int i = 0; i < operation.arguments().size(); i++) {
            DeviceBuffer[] buffers = buffers(operation);
            List<byte[]> before = bytes(buffers);
            DeviceBuffer whole = buffers[i];
            buffers[i] = whole.slice(0, whole.length() - 1);
            assertThatThrownBy(() -> operation.call().on(kernels, buffers)).as("argument %d", i).isInstanceOf(IllegalArgumentException.class);
            buffers[i] = whole;
            assertThat(bytes(buffers)).as("argument %d", i).usingRecursiveComparison().isEqualTo(before);
        }
    }

    @ParameterizedTest
    @MethodSource("operations")
    void rejectsABufferOfAnotherTypeBeforeAnythingIsWritten(Operation operation) {
        for (int i = 0; i < operation.arguments().size(); i++) {
            for (DType wrong : List.of(DType.U8, DType.I32, DType.F32)) {
                if (wrong != operation.arguments().get(i).type()) {
                    DeviceBuffer[] buffers = buffers(operation);
                    List<byte[]> before = bytes(buffers);
                    DeviceBuffer right = buffers[i];
                    buffers[i] = buffer(wrong, right.length());
                    assertThatThrownBy(() -> operation.call().on(kernels, buffers)).as("argument %d", i).isInstanceOf(IllegalArgumentException.class).hasMessageContaining(wrong.name());
                    buffers[i] = right;
                    assertThat(bytes(buffers)).as("argument %d", i).usingRecursiveComparison().isEqualTo(before);
                }
            }
        }
    }

    @ParameterizedTest
    @MethodSource("operations")
    void rejectsClosedMemory(Operation operation) {
        for (int i = 0; i < operation.arguments().size(); i++) {
            DeviceBuffer[] buffers = buffers(operation);
            Argument argument = operation.arguments().get(i);
            try (DeviceMemory memory = kernels.allocate(argument.length() * argument.type().bytes())) {
                buffers[i] = memory.view(argument.type());
            }
            assertThatThrownBy(() -> operation.call().on(kernels, buffers)).as("argument %d", i).isInstanceOf(IllegalStateException.class).hasMessageContaining("closed");
        }
    }

    /** All numbers differ, so an argument in another's place shows. */
    @ParameterizedTest
    @MethodSource("operations")
    void passesEveryArgumentToItsPlace(Operation operation) {
        try (ReferenceKernels reference = new ReferenceKernels()) {
            DeviceBuffer[] expected = buffers(reference, operation);
            DeviceBuffer[] actual = buffers(kernels, operation);
            operation.call().on(reference, expected);
            operation.call().on(kernels, actual);
            for (int i = 0; i < actual.length; i++) {
                if (actual[i].type() == DType.F32) {
                    assertThat(floats(actual[i])).as("argument %d", i).containsExactly(floats(expected[i]), Offset.offset(1e-4f));
                } else {
                    assertThat(actual[i].host().mismatch(expected[i].host())).as("argument %d", i).isEqualTo(-1);
                }
            }
        }
    }

    private DeviceBuffer[] buffers(Operation operation) {
        return buffers(kernels, operation);
    }

    private DeviceBuffer[] buffers(Kernels k, Operation operation) {
        Random random = new Random(7);
        DeviceBuffer[] buffers = new DeviceBuffer[operation.arguments().size()];
        for (int i = 0; i < buffers.length; i++) {
            Argument argument = operation.arguments().get(i);
            DeviceMemory memory = k.allocate(argument.length() * argument.type().bytes());
            memories.add(memory);
            buffers[i] = memory.view(argument.type());
            if (argument.type() == DType.F32) {
                float[] values = new float[(int) argument.length()];
                for (int j = 0; j < values.length; j++) {
                    values[j] = 0.1f + random.nextFloat();
                }
                k.upload(MemorySegment.ofArray(values), buffers[i]);
            } else if (argument.type() == DType.U8) {
                byte[] values = new byte[(int) argument.length()];
                random.nextBytes(values);
                k.upload(MemorySegment.ofArray(values), buffers[i]);
            }
        }
        if (operation.name().startsWith("attention")) {
            k.upload(MemorySegment.ofArray(new int[] {0, 2, 0, 2}), buffers[5]);
        }
        return buffers;
    }

    private static List<byte[]> bytes(DeviceBuffer[] buffers) {
        return Stream.of(buffers).map(b -> b.host().toArray(ValueLayout.JAVA_BYTE)).toList();
    }

    // ---- what only native code has to fear ---------------------------------------------------------------------------

    @Test
    void aLinearLayerOnEveryTier() {
        // [2,3] x [2,3]^T by hand.
        for (CpuTier tier : CpuTier.supported()) {
            try (CpuKernels k = CpuKernels.open(tier, 2)) {
                DeviceBuffer y = floats(100, 100, 100, 100);
                k.linear(new DenseWeight(floats(1, 2, 3, 4, 5, 6), 2, 3), floats(1, 0, -1, 2, 1, 0), 2, y, true);
                assertThat(floats(y)).as(tier.toString()).containsExactly(98, 98, 104, 113);
            }
        }
    }

    @Test
    void indicesOutsideTheRowsAreErrorsWithTheValue() {
        DeviceBuffer index = buffer(DType.I32, 2);
        kernels.upload(MemorySegment.ofArray(new int[] {0, 3}), index);
        DeviceBuffer y = buffer(DType.F32, 10);
        assertThatThrownBy(() -> kernels.gatherRows(new DenseWeight(buffer(DType.F32, 15), 3, 5), index, 2, y)).isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("3").hasMessageContaining("index");
    }

    @Test
    void sequencesMustLieWithinTheBuffers() {
        AttentionShape shape = new AttentionShape(1, 1, 4, 0.5f);
        DeviceBuffer rows = buffer(DType.F32, 8);
        DeviceBuffer lse = buffer(DType.F32, 2);
        for (int[] sequence : new int[][] {{1, 2, 0, 2}, {0, 2, 1, 2}, {-1, 2, 0, 2}, {0, 2, 0, 1}, {0, -1, 0, 2}, {Integer.MAX_VALUE, 1, 0, 1}, {0, 1, Integer.MAX_VALUE, Integer.MAX_VALUE}}) {
            DeviceBuffer table = buffer(DType.I32, 4);
            kernels.upload(MemorySegment.ofArray(sequence), table);
            assertThatThrownBy(() -> kernels.attention(rows, rows, rows, table, 1, shape, rows, lse)).as("%s", (Object) sequence).isInstanceOf(IllegalArgumentException.class);
        }
    }

    @Test
    void heapMemoryAndReadOnlyMemoryAreRejected(@TempDir Path folder) throws IOException {
        DeviceBuffer heap = DeviceBuffer.ofHost(DType.F32, MemorySegment.ofArray(new float[4]));
        DeviceBuffer good = buffer(DType.F32, 4);
        assertThatThrownBy(() -> kernels.copy(heap, good, 4, false)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("x is on the Java heap");
        assertThatThrownBy(() -> kernels.copy(DeviceBuffer.ofDevice(DType.F32, 4096, 4), good, 4, false)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("memory of a device");

        Path file = Files.write(folder.resolve("weights"), new byte[16]);
        try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ); Arena arena = Arena.ofConfined()) {
            DeviceBuffer mapped = DeviceBuffer.ofHost(DType.F32, channel.map(FileChannel.MapMode.READ_ONLY, 0, 16, arena));
            kernels.copy(mapped, good, 4, false);
            assertThatThrownBy(() -> kernels.copy(good, mapped, 4, false)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("y is read-only");
            assertThatThrownBy(() -> kernels.upload(MemorySegment.ofArray(new float[4]), mapped)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("read-only");
        }
    }

    @Test
    void dimensionsThatOverflowAreRejected() {
        DeviceBuffer b = buffer(DType.F32, 4);
        assertThatThrownBy(() -> kernels.copy(b, b, -1, false)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("-1");
        assertThatThrownBy(() -> kernels.rope(b, buffer(DType.I32, 1), b, b, Integer.MAX_VALUE, Integer.MAX_VALUE, 1 << 30, false)).isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("more elements than there can be");
        assertThatThrownBy(() -> kernels.linear(new DenseWeight(b, 2, 2), b, Integer.MAX_VALUE, b, false)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("4294967294");
    }

    // ---- memory ------------------------------------------------------------------------------------------------------

    @Test
    void memoryIsZeroedAlignedAndMoves() {
        for (long bytes : new long[] {0, 1, 63, 4096, (8 << 20) + 3}) {
            try (DeviceMemory memory = kernels.allocate(bytes)) {
                DeviceBuffer b = memory.view(DType.U8);
                assertThat(b.length()).isEqualTo(memory.byteSize()).isEqualTo(bytes);
                assertThat(b.address() % 64).isZero();
                assertThat(b.host().mismatch(MemorySegment.ofArray(new byte[(int) bytes]))).isEqualTo(-1);
                byte[] values = new byte[(int) bytes];
                Arrays.fill(values, (byte) 7);
                kernels.upload(MemorySegment.ofArray(values), b);
                byte[] back = new byte[(int) bytes];
                kernels.download(b, MemorySegment.ofArray(back));
                assertThat(back).isEqualTo(values);
                memory.close();
            }
        }
    }

    @Test
    void uploadsAndDownloadsCompareSizes() {
        DeviceBuffer b = buffer(DType.F32, 4);
        assertThatThrownBy(() -> kernels.upload(MemorySegment.ofArray(new float[3]), b)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("12 bytes").hasMessageContaining("16");
        assertThatThrownBy(() -> kernels.download(b, MemorySegment.ofArray(new float[3]))).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("12 bytes");
    }

    @Test
    void viewsLieWithinTheMemory() {
        try (DeviceMemory memory = kernels.allocate(16)) {
            assertThat(memory.view(DType.F32, 4, 3).length()).isEqualTo(3);
            assertThatThrownBy(() -> memory.view(DType.F32, 4, 4)).isInstanceOf(IndexOutOfBoundsException.class).hasMessageContaining("16 bytes");
            assertThatThrownBy(() -> memory.view(DType.F32, 0, Long.MAX_VALUE / 2)).isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> memory.view(DType.F32, -4, 1)).isInstanceOf(IndexOutOfBoundsException.class);
            assertThatThrownBy(() -> memory.view(DType.F32, 2, 1)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("multiple");
        }
    }

    @Test
    void memoryThatTheSystemLacksIsAnErrorWithTheRemedy() {
        assertThatThrownBy(() -> kernels.allocate(1L << 60)).isInstanceOf(PanaceaException.class).hasMessageContaining(Long.toString(1L << 60)).hasMessageContaining("smaller batch");
        assertThatThrownBy(() -> kernels.allocate(-1)).isInstanceOf(IllegalArgumentException.class).hasMessageContaining("-1 bytes");
    }

    @Test
    void guardedMemoryEndsWhereItSays() {
        NativeLibrary.load();
        try (Arena arena = Arena.ofConfined()) {
            for (long bytes : new long[] {0, 1, 5, 4096, 4097}) {
                MemorySegment memory = NativeMemory.allocateGuarded(bytes, arena).orElseThrow();
                assertThat(memory.byteSize()).isEqualTo(bytes);
                assertThat((memory.address() + bytes) % 4096).isZero();
                assertThat(memory.fill((byte) 1).mismatch(memory)).isEqualTo(-1);
            }
        }
    }

    @Test
    void closedKernelsSayWhatIsWrongAndLeaveMemoryAlone() {
        CpuKernels closed = CpuKernels.open(CpuTier.PORTABLE, 1);
        try (DeviceMemory memory = closed.allocate(8)) {
            closed.close();
            closed.close();
            DeviceBuffer b = memory.view(DType.F32);
            assertThatThrownBy(() -> closed.copy(b, b, 2, false)).isInstanceOf(IllegalStateException.class).hasMessageContaining("kernels have been closed");
            assertThatThrownBy(closed::description).isInstanceOf(IllegalStateException.class);
            assertThat(kernels.sumOfSquares(b, 2)).isZero();
        }
    }

    @Test
    void callsFromSeveralThreadsWaitForEachOther() throws InterruptedException {
        int threads = 4;
        CountDownLatch wrong = new CountDownLatch(1);
        List<Thread> running = new ArrayList<>();
        for (int t = 0; t < threads; t++) {
            // A weight of its own for each thread: they share the one struct.
            DenseWeight weight = new DenseWeight(floats(t, t, t, t), 2, 2);
            DeviceBuffer x = floats(1, 1);
            DeviceBuffer y = buffer(DType.F32, 2);
            float expected = 2 * t;
            running.add(Thread.ofPlatform().start(() -> {
                for (int i = 0; i < 2000; i++) {
                    kernels.linear(weight, x, 1, y, false);
                    if (y.host().getAtIndex(ValueLayout.JAVA_FLOAT, 1) != expected) {
                        wrong.countDown();
                    }
                }
            }));
        }
        for (Thread thread : running) {
            thread.join();
        }
        assertThat(wrong.getCount()).isEqualTo(1);
    }
}
