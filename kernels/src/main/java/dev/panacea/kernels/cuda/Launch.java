package dev.panacea.kernels.cuda;

import static dev.panacea.kernels.cuda.CudaException.check;

import dev.panacea.bindings.cuda.Cuda;
import dev.panacea.kernels.DeviceBuffer;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.Optional;

/**
 * One launch of a kernel, put together argument by argument in the order of its parameters, and compared with the parameters that the
 * driver knows of it before it is run. Nothing is allocated per launch.
 *
 * <pre>{@code
 * module.launch("pan_copy_f32_bf16").grid(blocks).threads(256).arg(x).arg(y).arg(n).run();
 * }</pre>
 */
public final class Launch {
    private static final int MAX_ARGUMENTS = 48;
    /** Dynamic shared memory up to this needs no leave of the driver. */
    private static final int DEFAULT_SHARED = 48 << 10;
    private static final long MAX_GRID_X = Integer.MAX_VALUE;
    private static final long MAX_GRID_YZ = 65535;

    private final CudaDevice device;
    private final int sharedLimit;
    private final MemorySegment values;
    private final MemorySegment pointers;
    private final int[] sizes = new int[MAX_ARGUMENTS];
    private CudaModule.Function function;
    private int count;
    private long gridX;
    private long gridY;
    private long gridZ;
    private int threads;
    private int shared;

    Launch(CudaDevice device, Arena arena) {
        this.device = device;
        sharedLimit = device.sharedLimit();
        values = arena.allocate(8L * MAX_ARGUMENTS, 8);
        pointers = arena.allocate(8L * MAX_ARGUMENTS, 8);
        for (int i = 0; i < MAX_ARGUMENTS; i++) {
            pointers.setAtIndex(ValueLayout.ADDRESS, i, values.asSlice(8L * i));
        }
    }

    Launch of(CudaModule.Function next) {
        function = next;
        count = 0;
        gridX = 0;
        threads = 0;
        shared = 0;
        return this;
    }

    /** Number of blocks. */
    public Launch grid(long x) {
        return grid(x, 1, 1);
    }

    /** Number of blocks in each direction. */
    public Launch grid(long x, long y) {
        return grid(x, y, 1);
    }

    /** Number of blocks in each direction. */
    public Launch grid(long x, long y, long z) {
        gridX = x;
        gridY = y;
        gridZ = z;
        return this;
    }

    /** Threads of a block, in one direction. */
    public Launch threads(int x) {
        threads = x;
        return this;
    }

    /**
     * Bytes of dynamic shared memory that a block of this kernel can have. What the kernel takes for itself is more than it declares: the compiler rounds it up to whole KB, and
     * from compute capability 9.0 on counts 1 KB that the system keeps.
     */
    public int sharedRoom() {
        return sharedLimit - function.staticShared;
    }

    /** Bytes of dynamic shared memory of a block; none unless said. */
    public Launch shared(int bytes) {
        shared = bytes;
        return this;
    }

    /**
     * A pointer to the elements of a buffer.
     *
     * @throws IllegalArgumentException if they are in this process's memory, which the GPU cannot reach, or in another GPU's
     * @throws IllegalStateException if their memory has been closed
     */
    public Launch arg(DeviceBuffer buffer) {
        return pointer(buffer.addressOn(device));
    }

    /** As {@link #arg(DeviceBuffer)}, or a null pointer. */
    public Launch arg(Optional<DeviceBuffer> buffer) {
        return buffer.isPresent() ? arg(buffer.get()) : pointer(0);
    }

    /** A pointer: a device address, or 0. */
    public Launch pointer(long address) {
        return arg(address);
    }

    /** A 64-bit integer. */
    public Launch arg(long value) {
        values.set(ValueLayout.JAVA_LONG, slot(8), value);
        return this;
    }

    /** A 32-bit integer. */
    public Launch arg(int value) {
        values.set(ValueLayout.JAVA_INT, slot(4), value);
        return this;
    }

    /** A single-precision number. */
    public Launch arg(float value) {
        values.set(ValueLayout.JAVA_FLOAT, slot(4), value);
        return this;
    }

    /** A double-precision number. */
    public Launch arg(double value) {
        values.set(ValueLayout.JAVA_DOUBLE, slot(8), value);
        return this;
    }

    /** An {@code int} that is 0 or 1. */
    public Launch arg(boolean value) {
        return arg(value ? 1 : 0);
    }

    private long slot(int bytes) {
        if (count == MAX_ARGUMENTS) {
            throw new IllegalStateException(function.name + " is given more than " + MAX_ARGUMENTS + " arguments");
        }
        sizes[count] = bytes;
        return 8L * count++;
    }

    /**
     * Asks for the kernel to be run; it runs after everything asked for before.
     *
     * @throws IllegalStateException if grid, threads, shared memory or arguments do not fit the kernel
     * @throws CudaException if the driver refuses; also for the fault of an earlier launch
     */
    public void run() {
        verify();
        device.makeCurrent();
        if (shared > DEFAULT_SHARED - function.staticShared && shared > function.dynamicShared) {
            check("giving " + function.name + " " + shared + " bytes of shared memory",
                    Cuda.cuFuncSetAttribute(function.handle, Cuda.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES(), shared));
            function.dynamicShared = shared;
        }
        int code = Cuda.cuLaunchKernel(function.handle, (int) gridX, (int) gridY, (int) gridZ, threads, 1, 1, shared, device.stream(), pointers, MemorySegment.NULL);
        if (code != 0) {
            throw new CudaException("launching " + function.name + " with " + gridX + " x " + gridY + " x " + gridZ + " blocks of " + threads + " threads", code);
        }
    }

    private void verify() {
        if (!Arrays.equals(sizes, 0, count, function.parameters, 0, function.parameters.length)) {
            throw new IllegalStateException(function.name + " has parameters of " + Arrays.toString(function.parameters) + " bytes, but is given arguments of "
                    + Arrays.toString(Arrays.copyOf(sizes, count)));
        }
        if (gridX < 1 || gridX > MAX_GRID_X || gridY < 1 || gridY > MAX_GRID_YZ || gridZ < 1 || gridZ > MAX_GRID_YZ) {
            throw new IllegalStateException(function.name + " cannot have a grid of " + gridX + " x " + gridY + " x " + gridZ + " blocks");
        }
        if (threads < 1 || threads > function.maxThreads) {
            throw new IllegalStateException(function.name + " cannot have " + threads + " threads a block; its limit is " + function.maxThreads);
        }
        if (shared < 0 || shared > sharedRoom()) {
            throw new IllegalStateException(function.name + " cannot have " + shared + " bytes of dynamic shared memory; this GPU has " + sharedLimit + " a block, of which the kernel takes "
                    + function.staticShared);
        }
    }
}
