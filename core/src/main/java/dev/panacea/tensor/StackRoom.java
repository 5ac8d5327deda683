package dev.panacea.tensor;

/**
 * Whether the calling thread's stack has room for a computation. One that began at the end of the stack would overflow it anywhere, between the beginning
 * and the end of a use as well, and what it uses would be in use for ever. So it is asked here before anything has begun.
 */
public final class StackRoom {
    /** Some 20 kB of compiled code, some 50 kB while it is interpreted, as what comes after it is then too. */
    private static final int CALLS = 160;

    private StackRoom() {}

    /** @throws StackOverflowError if there is too little room */
    public static void require() {
        descend(CALLS, 1, 2, 3, 4, 5, 6, 7, 8);
    }

    /** The arguments are needed after the call, so each call keeps a place for them. */
    private static long descend(int calls, long a, long b, long c, long d, long e, long f, long g, long h) {
        return calls == 0 ? a ^ h : (descend(calls - 1, b, c, d, e, f, g, h, a + calls) ^ a ^ b ^ c ^ d) + (e ^ f ^ g ^ h);
    }
}
