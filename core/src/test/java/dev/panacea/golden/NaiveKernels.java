package dev.panacea.golden;

import dev.panacea.kernels.DType;
import dev.panacea.kernels.DenseWeight;
import dev.panacea.kernels.DeviceBuffer;
import dev.panacea.kernels.Kernels;
import dev.panacea.kernels.Q4Weight;
import dev.panacea.kernels.ReferenceKernels;
import dev.panacea.kernels.Weight;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.util.IdentityHashMap;
import java.util.Map;

/**
 * What the error of BF16 mode is measured by: the reference kernels, which round the result of every operation, on 4-bit weights that are
 * rounded to BF16 before they are multiplied, as bitsandbytes has it.
 */
final class NaiveKernels {
    private NaiveKernels() {}

    static Kernels open() {
        Kernels reference = new ReferenceKernels();
        Map<Weight, Weight> rounded = new IdentityHashMap<>();
        return (Kernels) Proxy.newProxyInstance(Kernels.class.getClassLoader(), new Class<?>[] {Kernels.class}, (proxy, method, arguments) -> {
            if (arguments != null && arguments.length > 0 && arguments[0] instanceof Q4Weight w) {
                arguments[0] = rounded.computeIfAbsent(w, weight -> rounded(reference, weight));
            }
            try {
                return method.invoke(reference, arguments);
            } catch (InvocationTargetException e) {
                throw e.getCause();
            }
        });
    }

    /** Its memory goes with the process: there is little of it. */
    private static Weight rounded(Kernels reference, Weight w) {
        DeviceBuffer values = reference.allocate(2L * w.rows() * w.cols()).view(DType.BF16);
        reference.dequantize(w, values);
        return new DenseWeight(values, w.rows(), w.cols());
    }
}
