package dev.panacea.kernels;

import dev.panacea.kernels.cuda.CudaBlas;
import java.lang.foreign.MemorySegment;
import java.util.Optional;
import java.util.SplittableRandom;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * Large products of BF16 matrices by cuBLASLt, where {@link CudaContext} has it. It is not taken on trust: before its first use it is compared with our own
 * kernels on a small product in every mode, and where they disagree it is left alone, with a warning.
 */
final class CudaBlasGemm {
    private static final Logger LOG = LoggerFactory.getLogger(CudaBlasGemm.class);
    /** Below this many rows our own kernels start sooner, and split k over the multiprocessors. */
    private static final int LEAST_ROWS = 128;
    /** Elements of the bytes to which rows and addresses must be aligned: what is not goes to our kernels. */
    private static final int ALIGNMENT = CudaBlas.ALIGNMENT / 2;
    private static final int SAMPLE = 128;
    /** Of the largest value. Sums of 128 products of BF16 numbers differ by less than 1e-5 of it, whatever their order. */
    private static final double AGREEMENT = 1e-3;

    private final CudaContext cuda;
    private final Optional<CudaBlas> blas;

    /** @param own our kernels, to compare with */
    CudaBlasGemm(CudaContext cuda, CudaGemm own) {
        this.cuda = cuda;
        blas = cuda.blas().filter(library -> agrees(library, own));
    }

    /** The library, if products are left to it; for reports. */
    Optional<String> description() {
        return blas.map(CudaBlas::description);
    }

    /** c = a b (+ c), shapes by mode as in {@link CudaGemm}; false, with nothing done, if that is better left to our kernels. */
    boolean multiply(CudaGemm.Mode mode, DeviceBuffer a, DeviceBuffer b, int m, int n, int k, DeviceBuffer c, boolean accumulate) {
        long addresses = a.addressOn(cuda.device()) | b.addressOn(cuda.device()) | c.addressOn(cuda.device());
        if (blas.isEmpty() || m < LEAST_ROWS || m % ALIGNMENT != 0 || n % ALIGNMENT != 0 || k % ALIGNMENT != 0 || addresses % CudaBlas.ALIGNMENT != 0) {
            return false;
        }
        return multiply(blas.get(), mode, a, b, m, n, k, c, accumulate);
    }

    private static boolean multiply(CudaBlas library, CudaGemm.Mode mode, DeviceBuffer a, DeviceBuffer b, int m, int n, int k, DeviceBuffer c, boolean accumulate) {
        return library.multiply(new CudaBlas.Shape(mode == CudaGemm.Mode.TN, mode == CudaGemm.Mode.NT, m, n, k, c.type() == DType.F32), a.address(), b.address(), c.address(), accumulate);
    }

    private boolean agrees(CudaBlas library, CudaGemm own) {
        int elements = SAMPLE * SAMPLE;
        long address = cuda.allocator().allocate((2L + 2 + 4 + 4) * elements);
        try {
            DeviceBuffer a = sample(address, 1);
            DeviceBuffer b = sample(address + 2L * elements, 2);
            DeviceBuffer ours = DeviceBuffer.ofDevice(DType.F32, address + 4L * elements, elements);
            DeviceBuffer theirs = DeviceBuffer.ofDevice(DType.F32, address + 8L * elements, elements);
            for (CudaGemm.Mode mode : CudaGemm.Mode.values()) {
                cuda.device().clear(ours.address(), 8L * elements);
                own.own(mode, a, b, SAMPLE, SAMPLE, SAMPLE, ours, false, Optional.empty());
                if (!multiply(library, mode, a, b, SAMPLE, SAMPLE, SAMPLE, theirs, false)) {
                    LOG.warn("{} is not used: it knows no way to multiply {} x {} matrices of BF16 ({})", library.description(), SAMPLE, SAMPLE, mode);
                    return false;
                }
                double difference = difference(ours, theirs);
                if (!(difference < AGREEMENT)) {
                    LOG.warn("{} is not used: on a product of {} x {} matrices ({}) it differs from our own kernels by {} of the largest value", library.description(), SAMPLE, SAMPLE, mode, difference);
                    return false;
                }
            }
            return true;
        } catch (PanaceaException e) {
            LOG.warn("{} is not used: {}", library.description(), e.getMessage());
            return false;
        } finally {
            cuda.allocator().free(address);
        }
    }

    private DeviceBuffer sample(long address, long seed) {
        SplittableRandom random = new SplittableRandom(seed);
        MemorySegment values = MemorySegment.ofArray(new byte[2 * SAMPLE * SAMPLE]);
        for (int i = 0; i < SAMPLE * SAMPLE; i++) {
            values.set(Elements.BF16, 2L * i, Bf16.fromFloat((float) random.nextDouble(-1, 1)));
        }
        cuda.transfers().upload(values, address, values.byteSize());
        return DeviceBuffer.ofDevice(DType.BF16, address, SAMPLE * SAMPLE);
    }

    /** The largest difference as a share of the largest value. */
    private double difference(DeviceBuffer ours, DeviceBuffer theirs) {
        float[] expected = new float[SAMPLE * SAMPLE];
        float[] actual = new float[SAMPLE * SAMPLE];
        cuda.transfers().download(ours.address(), MemorySegment.ofArray(expected), ours.byteSize());
        cuda.transfers().download(theirs.address(), MemorySegment.ofArray(actual), theirs.byteSize());
        double largest = 0;
        double worst = 0;
        for (int i = 0; i < expected.length; i++) {
            largest = Math.max(largest, Math.abs(expected[i]));
            double error = Math.abs(actual[i] - expected[i]);
            worst = error > worst || Double.isNaN(error) ? error : worst;
        }
        return worst / largest;
    }
}
