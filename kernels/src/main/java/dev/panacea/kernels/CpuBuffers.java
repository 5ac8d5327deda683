package dev.panacea.kernels;

import dev.panacea.bindings.generated.PanaceaCpu;
import java.lang.foreign.MemorySegment;

/** From buffers to the arguments of native calls, and the checks of what native code would have to trust. */
final class CpuBuffers {
    private CpuBuffers() {}

    /** The memory of an argument that is read. */
    static MemorySegment in(String name, DeviceBuffer b) {
        MemorySegment segment = b.hostSegment().orElseThrow(() -> new IllegalArgumentException(name + " is in the memory of a device; the CPU kernels cannot reach it"));
        if (!segment.isNative()) {
            throw new IllegalArgumentException(name + " is on the Java heap, where native kernels cannot reach it; allocate it with Kernels.allocate");
        }
        return segment;
    }

    /** The memory of an argument that is written: a mapped file may be read-only. */
    static MemorySegment out(String name, DeviceBuffer b) {
        MemorySegment segment = in(name, b);
        if (segment.isReadOnly()) {
            throw new IllegalArgumentException(name + " is read-only memory and would be written");
        }
        return segment;
    }

    static int type(DeviceBuffer activation) {
        return activation.type() == DType.F32 ? PanaceaCpu.PAN_F32() : PanaceaCpu.PAN_BF16();
    }
}
