package dev.panacea.kernels;

import dev.panacea.bindings.NativeLibrary;
import dev.panacea.bindings.NativeLibraryException;

/** Loading the native library, with its failures as the exceptions that users of this package know. */
final class CpuLibrary {
    private CpuLibrary() {}

    static NativeLibrary load() {
        try {
            return NativeLibrary.load();
        } catch (NativeLibraryException e) {
            throw e.isUnsupported() ? new UnsupportedBackendException(e.getMessage(), e) : new PanaceaException(e.getMessage(), e);
        }
    }
}
