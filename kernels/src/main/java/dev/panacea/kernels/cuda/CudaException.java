package dev.panacea.kernels.cuda;

import dev.panacea.bindings.CudaLibrary;
import dev.panacea.kernels.PanaceaException;

/** A call of the CUDA driver that failed, with the driver's name for the reason. */
public final class CudaException extends PanaceaException {
    private static final long serialVersionUID = 1L;

    private final int code;

    CudaException(String what, int code) {
        super(what + ": " + CudaLibrary.error(code));
        this.code = code;
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
