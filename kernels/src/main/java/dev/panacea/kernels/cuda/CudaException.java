package dev.panacea.kernels.cuda;

import dev.panacea.bindings.CudaLibrary;
import dev.panacea.kernels.PanaceaException;

/** A call of the CUDA driver that failed, with the driver's name for the reason. */
public final class CudaException extends PanaceaException {
    private static final long serialVersionUID = 1L;

    private final int code;

    CudaException(String what, int code) {
        super(what + ": " + CudaLibrary.error(code) + (isFault(code) ? ". A kernel failed, this one or one asked for earlier; this process cannot use the GPU any more" : ""));
        this.code = code;
    }

    /**
     * Whether it is what cuda.h says leaves the process in an inconsistent state: {@code CUDA_ERROR_ILLEGAL_ADDRESS}, {@code LAUNCH_TIMEOUT}, {@code ASSERT}, and
     * {@code HARDWARE_STACK_ERROR} to {@code LAUNCH_FAILED}. They come from kernels that have run, at the next call of any kind.
     */
    private static boolean isFault(int code) {
        return code == 700 || code == 702 || code == 710 || code >= 714 && code <= 719;
    }

    /** The driver's result code, a {@code CUresult}. */
    public int code() {
        return code;
    }

    /** @param what what was being done, for the message, such as {@code "launching pan_copy"} */
    static void check(String what, int code) {
        if (code != 0) {
            throw new CudaException(what, code);
        }
    }
}
