package dev.panacea.kernels;

/** Calls that are made again and again; see {@link Kernels#repeated}. The memory of their buffers must stay open as long as they are run. Threads: as {@link Kernels}. */
public interface RepeatedCalls extends AutoCloseable {
    /** Makes the calls, on what their buffers now hold. */
    void run();

    /** Forgets what was remembered of them. */
    @Override
    void close();

    /** Calls of which nothing is remembered. */
    static RepeatedCalls plain(Runnable calls) {
        return new RepeatedCalls() {
            @Override
            public void run() {
                calls.run();
            }

            @Override
            public void close() {}
        };
    }
}
