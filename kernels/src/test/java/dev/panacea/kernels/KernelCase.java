package dev.panacea.kernels;

import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.function.LongFunction;
import java.util.random.RandomGenerator;
import java.util.stream.IntStream;

/**
 * One call of one kernel, with the content of all its operands: what {@link KernelsTest} runs on every backend. Values are drawn from a
 * generator seeded by the case's name and are of the order of one.
 */
final class KernelCase {
    /** Operands that are read, written, or both. Those that are written start as NaN, so that reading them shows. */
    enum Role { IN, OUT, IN_OUT }

    record Operand(String name, DType type, Role role, byte[] content) {}

    /** The call, on buffers that hold the operands. */
    interface Call {
        void run(Kernels kernels, Buffers buffers);
    }

    /** The buffers of one run by the names of their operands. */
    record Buffers(Map<String, DeviceBuffer> byName) {
        DeviceBuffer at(String name) {
            DeviceBuffer buffer = byName.get(name);
            if (buffer == null) {
                throw new IllegalArgumentException("the case has no operand " + name);
            }
            return buffer;
        }
    }

    private static final int CANARY = 64;

    private final String name;
    private final RandomGenerator random;
    private final Map<String, Operand> operands = new LinkedHashMap<>();
    private Call call = (k, b) -> {};
    private Call naive = (k, b) -> call.run(k, b);
    private boolean sameBits;
    private Map<String, double[]> exact;
    private Map<String, byte[]> naiveResults;

    KernelCase(String name) {
        this.name = name;
        this.random = new SplittableRandom(name.hashCode());
    }

    // ---- building ----------------------------------------------------------------------------------------------------

    RandomGenerator random() {
        return random;
    }

    KernelCase in(String operand, DType type, long count) {
        return add(operand, type, Role.IN, content(type, random(random, count, 1)));
    }

    KernelCase in(String operand, DType type, double[] values) {
        return add(operand, type, Role.IN, content(type, values));
    }

    KernelCase ints(String operand, int... values) {
        MemorySegment content = MemorySegment.ofArray(new byte[values.length * 4]);
        MemorySegment.copy(values, 0, content, Elements.I32, 0, values.length);
        return add(operand, DType.I32, Role.IN, (byte[]) content.heapBase().orElseThrow());
    }

    KernelCase bytes(String operand, byte[] values) {
        return add(operand, DType.U8, Role.IN, values);
    }

    KernelCase out(String operand, DType type, long count) {
        byte[] nan = new byte[Math.toIntExact(count * type.bytes())];
        Arrays.fill(nan, (byte) 0xFF);
        return add(operand, type, Role.OUT, nan);
    }

    KernelCase inOut(String operand, DType type, long count) {
        return add(operand, type, Role.IN_OUT, content(type, random(random, count, 1)));
    }

    KernelCase inOut(String operand, DType type, double[] values) {
        return add(operand, type, Role.IN_OUT, content(type, values));
    }

    KernelCase inOutBytes(String operand, byte[] values) {
        return add(operand, DType.U8, Role.IN_OUT, values);
    }

    /** An output, whose old content is added to or not. */
    KernelCase result(String operand, DType type, long count, boolean accumulate) {
        return accumulate ? inOut(operand, type, count) : out(operand, type, count);
    }

    private KernelCase add(String operand, DType type, Role role, byte[] content) {
        operands.put(operand, new Operand(operand, type, role, content));
        return this;
    }

    KernelCase call(Call value) {
        call = value;
        return this;
    }

    /** With BF16 inputs, the same out of separate steps that each round to BF16 is the measure for the results, instead of the reference itself. */
    KernelCase naive(DType inputs, Call value) {
        if (inputs == DType.BF16) {
            naive = value;
        }
        return this;
    }

    /** Every bit of the results is defined. */
    KernelCase sameBits() {
        sameBits = true;
        return this;
    }

    // ---- running -----------------------------------------------------------------------------------------------------

    @Override
    public String toString() {
        return name;
    }

    /** Runs the call on memory of {@code memory} and returns what the outputs then hold, by name. */
    Map<String, byte[]> run(Kernels kernels, LongFunction<MemorySegment> memory) {
        return run(call, kernels, operands, bytes -> DeviceBuffer.ofHost(DType.U8, memory.apply(bytes)));
    }

    /** As {@link #run}, on memory of the kernels' own device. */
    Map<String, byte[]> runOnDevice(Kernels kernels) {
        List<DeviceMemory> memories = new ArrayList<>();
        try {
            return run(call, kernels, operands, bytes -> {
                memories.add(kernels.allocate(bytes));
                return memories.getLast().view(DType.U8);
            });
        } finally {
            memories.forEach(DeviceMemory::close);
        }
    }

    /** What is wrong with the results of a run: an empty string if nothing is. */
    String violation(Map<String, byte[]> results) {
        if (exact == null) {
            exact = exact();
            naiveResults = naive();
        }
        for (Operand o : operands.values()) {
            if (o.role() != Role.IN) {
                byte[] actual = results.get(o.name());
                byte[] expected = naiveResults.get(o.name());
                String text = sameBits ? Arrays.equals(actual, expected) ? "" : "byte %d differs".formatted(Arrays.mismatch(actual, expected))
                        : Tolerance.violation(o.type(), exact.get(o.name()), values(o.type(), expected), values(o.type(), actual));
                if (!text.isEmpty()) {
                    return o.name() + ": " + text;
                }
            }
        }
        return "";
    }

    /** The outputs in single precision, with every BF16 operand widened. */
    private Map<String, double[]> exact() {
        Map<String, Operand> widened = new LinkedHashMap<>();
        operands.forEach((key, o) -> widened.put(key, o.type() == DType.BF16 ? new Operand(key, DType.F32, o.role(), content(DType.F32, values(o.type(), o.content()))) : o));
        Map<String, double[]> results = new LinkedHashMap<>();
        run(call, new ReferenceKernels(), widened, KernelCase::heapBuffer).forEach((key, bytes) -> results.put(key, values(widened.get(key).type(), bytes)));
        return results;
    }

    private Map<String, byte[]> naive() {
        return run(naive, new ReferenceKernels(), operands, KernelCase::heapBuffer);
    }

    /** Every operand ends at the end of its memory; the bytes before it, and inputs, must stay as they were. */
    private static Map<String, byte[]> run(Call call, Kernels kernels, Map<String, Operand> operands, LongFunction<DeviceBuffer> memory) {
        Map<String, DeviceBuffer> wholes = new LinkedHashMap<>();
        Map<String, DeviceBuffer> buffers = new LinkedHashMap<>();
        operands.forEach((key, o) -> {
            byte[] content = new byte[CANARY + o.content().length];
            Arrays.fill(content, 0, CANARY, (byte) 0x5A);
            System.arraycopy(o.content(), 0, content, CANARY, o.content().length);
            DeviceBuffer whole = memory.apply(content.length);
            kernels.upload(MemorySegment.ofArray(content), whole);
            wholes.put(key, whole);
            buffers.put(key, whole.hostSegment().map(host -> DeviceBuffer.ofHost(o.type(), host.asSlice(CANARY)))
                    .orElseGet(() -> DeviceBuffer.ofDevice(o.type(), whole.address() + CANARY, o.content().length / o.type().bytes())));
        });
        call.run(kernels, new Buffers(buffers));
        Map<String, byte[]> results = new LinkedHashMap<>();
        wholes.forEach((key, whole) -> {
            byte[] all = new byte[Math.toIntExact(whole.length())];
            kernels.download(whole, MemorySegment.ofArray(all));
            for (int i = 0; i < CANARY; i++) {
                if (all[i] != 0x5A) {
                    throw new AssertionError("the byte " + (CANARY - i) + " before " + key + " was overwritten");
                }
            }
            byte[] after = Arrays.copyOfRange(all, CANARY, all.length);
            if (operands.get(key).role() != Role.IN) {
                results.put(key, after);
            } else if (!Arrays.equals(after, operands.get(key).content())) {
                throw new AssertionError("the input " + key + " was overwritten");
            }
        });
        return results;
    }

    // ---- content -----------------------------------------------------------------------------------------------------

    static MemorySegment heap(long bytes) {
        return MemorySegment.ofArray(new byte[Math.toIntExact(bytes)]);
    }

    private static DeviceBuffer heapBuffer(long bytes) {
        return DeviceBuffer.ofHost(DType.U8, heap(bytes));
    }

    /** Uniform values of a standard deviation. */
    static double[] random(RandomGenerator random, long count, double deviation) {
        double[] values = new double[Math.toIntExact(count)];
        Arrays.setAll(values, i -> (random.nextDouble() - 0.5) * deviation * Math.sqrt(12));
        return values;
    }

    static byte[] content(DType type, double[] values) {
        MemorySegment segment = heap((long) values.length * type.bytes());
        Elements.write(DeviceBuffer.ofHost(type, segment), 0, values, false);
        return (byte[]) segment.heapBase().orElseThrow();
    }

    /** Any type's elements as doubles. */
    static double[] values(DType type, byte[] content) {
        int count = content.length / type.bytes();
        DeviceBuffer buffer = DeviceBuffer.ofHost(type, MemorySegment.ofArray(content));
        return switch (type) {
            case F32, BF16 -> Elements.read(buffer, count);
            case I32 -> IntStream.of(Elements.readInts(buffer, count)).asDoubleStream().toArray();
            case U8 -> IntStream.range(0, count).mapToDouble(i -> content[i] & 0xFF).toArray();
        };
    }
}
