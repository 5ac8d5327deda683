package dev.panacea.bindings;

import java.lang.foreign.ValueLayout;

/** Java's permission to call native code, asked for before anything else does: where it is denied, classes would fail in their initializers, without a remedy. */
final class NativeAccess {
    private NativeAccess() {}

    /** @throws NativeLibraryException if Java was told to deny it; the message says how to allow it */
    static void require() {
        try {
            // Restricted, like all that is to follow, and without an effect.
            ValueLayout.ADDRESS.withTargetLayout(ValueLayout.JAVA_BYTE);
        } catch (IllegalCallerException e) {
            Module module = NativeAccess.class.getModule();
            throw NativeLibraryException.misconfigured("this Java is set to deny native code, which all computing here is; start it with --enable-native-access="
                    + (module.isNamed() ? module.getName() : "ALL-UNNAMED"), e);
        }
    }
}
