package dev.panacea.kernels;

import dev.panacea.bindings.NativeLibrary;
import dev.panacea.bindings.generated.PanaceaCpu;
import java.lang.foreign.MemorySegment;

/**
 * A mapped file that kernels read in place. A file that shrinks meanwhile would end the process by SIGBUS in native code; while it is
 * {@link #watch() watched}, the kernels find zeros instead, and {@link #isTorn()} tells whoever is about to believe the results. Java's own reads of such
 * memory throw {@link InternalError}, whether it is watched or not. Safe for use by several threads.
 */
public final class MappedMemory {
    private final MemorySegment mapped;
    private volatile boolean watched;

    /** @param mapped all of a mapping, from its first byte on */
    public MappedMemory(MemorySegment mapped) {
        this.mapped = mapped;
    }

    /** Has faults of native kernels in this memory watched for; without native kernels in this process there is nothing to watch for. */
    public void watch() {
        if (!watched && NativeLibrary.isLoaded()) {
            synchronized (this) {
                if (!watched && PanaceaCpu.pan_watch(mapped, mapped.byteSize()) != 0) {
                    throw new PanaceaException(PanaceaCpu.pan_last_error().getString(0));
                }
                watched = true;
            }
        }
    }

    /** Whether a native kernel has found a part of the file missing since it has been watched. */
    public boolean isTorn() {
        return watched && PanaceaCpu.pan_torn(mapped) != 0;
    }

    /**
     * Ends the watch, and unmaps the memory while no native kernel runs.
     *
     * @param unmap closes the arena of the memory
     */
    public void unmap(Runnable unmap) {
        NativeCalls.whileNoneRuns(() -> {
            synchronized (this) {
                if (watched) {
                    PanaceaCpu.pan_unwatch(mapped);
                    watched = false;
                }
            }
            unmap.run();
        });
    }
}
