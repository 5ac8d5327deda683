package dev.panacea.kernels;

/** Argument checks shared by the backends: every buffer's type and length is compared with the shapes before memory is touched. */
final class Checks {
    private Checks() {}

    static void length(String name, DeviceBuffer b, long expected) {
        if (b.length() < expected) {
            throw new IllegalArgumentException(name + " has " + b.length() + " elements, " + expected + " are needed");
        }
    }

    static void typed(String name, DeviceBuffer b, DType type, long expected) {
        if (b.type() != type) {
            throw new IllegalArgumentException(name + " is " + b.type() + ", " + type + " is needed");
        }
        length(name, b, expected);
    }

    /** Activations: F32 or BF16. */
    static void activation(String name, DeviceBuffer b, long expected) {
        if (b.type() != DType.F32 && b.type() != DType.BF16) {
            throw new IllegalArgumentException(name + " is " + b.type() + ", F32 or BF16 is needed");
        }
        length(name, b, expected);
    }

    /** Activations that have to be of the type of another buffer of the same call. */
    static void sameType(String name, DeviceBuffer b, DType type, long expected) {
        activation(name, b, expected);
        typed(name, b, type, expected);
    }

    static void positive(String name, long value) {
        if (value <= 0) {
            throw new IllegalArgumentException(name + " is " + value + ", it must be positive");
        }
    }
}
