package dev.panacea.kernels;

import java.lang.foreign.MemorySegment;

/** Buffers on the Java heap, for tests of the reference kernels alone. */
final class HostBuffers {
    private HostBuffers() {}

    static DeviceBuffer f32(double... values) {
        return DeviceBuffer.ofHost(DType.F32, MemorySegment.ofArray(KernelCase.content(DType.F32, values)));
    }

    static DeviceBuffer f32(int count) {
        return f32(new double[count]);
    }

    static DeviceBuffer i32(int... values) {
        return DeviceBuffer.ofHost(DType.I32, MemorySegment.ofArray(values));
    }

    static double[] values(DeviceBuffer b) {
        return Elements.read(b, (int) b.length());
    }
}
