package consumer;

import dev.panacea.kernels.Backends;
import dev.panacea.kernels.CpuKernels;
import dev.panacea.kernels.DType;
import dev.panacea.kernels.DenseWeight;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.DeviceMemory;
import dev.panacea.kernels.Kernels;
import dev.panacea.llama.LlamaConfig;
import java.lang.foreign.MemorySegment;
import java.util.Arrays;

/** A linear layer on the best kernels of this machine: fails unless the native library came along in the jars. */
public final class Consumer {
    private Consumer() {}

    public static void main(String[] args) {
        try (Kernels kernels = Backends.cpu(); DeviceMemory memory = kernels.allocate(4 * (6 + 3 + 2))) {
            DeviceBuffer weight = memory.view(DType.F32, 0, 6);
            DeviceBuffer x = memory.view(DType.F32, 24, 3);
            DeviceBuffer y = memory.view(DType.F32, 36, 2);
            kernels.upload(MemorySegment.ofArray(new float[] {1, 2, 3, 4, 5, 6}), weight);
            kernels.upload(MemorySegment.ofArray(new float[] {1, 0, -1}), x);
            kernels.linear(new DenseWeight(weight, 2, 3), x, 1, y, false);
            float[] result = new float[2];
            kernels.download(y, MemorySegment.ofArray(result));
            System.out.println(LlamaConfig.class.getSimpleName() + " on " + kernels.description() + ": " + Arrays.toString(result));
            if (!(kernels instanceof CpuKernels) || result[0] != -2 || result[1] != -2) {
                throw new AssertionError("native kernels and [-2.0, -2.0] were expected");
            }
        }
    }
}
