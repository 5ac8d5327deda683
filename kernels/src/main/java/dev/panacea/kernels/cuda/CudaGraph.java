package dev.panacea.kernels.cuda;

import static dev.panacea.kernels.cuda.CudaException.check;

import dev.panacea.bindings.cuda.Cuda;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/** Launches that were recorded once and are run again as one, at a fraction of the price of asking for each. */
public final class CudaGraph implements AutoCloseable {
    private final CudaDevice device;
    private final MemorySegment executable;
    private boolean closed;

    private CudaGraph(CudaDevice device, MemorySegment executable) {
        this.device = device;
        this.executable = executable;
    }

    /**
     * Records launches; they are not run. All their kernels must have been launched before, since loading one cannot be recorded.
     *
     * @param launches neither allocates nor waits nor copies from or to the host
     * @throws IllegalStateException if they do
     */
    public static CudaGraph record(CudaDevice device, Runnable launches) {
        try (Arena arena = Arena.ofConfined()) {
            MemorySegment out = arena.allocate(ValueLayout.ADDRESS);
            device.beginCapture();
            boolean recorded = false;
            int code;
            try {
                launches.run();
                recorded = true;
            } finally {
                code = device.endCapture(out);
                if (!recorded) {
                    destroy(out.get(ValueLayout.ADDRESS, 0));
                }
            }
            check("recording launches", code);
            MemorySegment graph = out.get(ValueLayout.ADDRESS, 0);
            try {
                check("cuGraphInstantiate", Cuda.cuGraphInstantiateWithFlags(out, graph, 0));
                return new CudaGraph(device, out.get(ValueLayout.ADDRESS, 0));
            } finally {
                destroy(graph);
            }
        }
    }

    private static void destroy(MemorySegment graph) {
        if (!graph.equals(MemorySegment.NULL)) {
            Cuda.cuGraphDestroy(graph);
        }
    }

    /** Asks for the launches to be run, after everything asked for before. */
    public void launch() {
        if (closed) {
            throw new IllegalStateException("this graph has been closed");
        }
        device.makeCurrent();
        check("launching recorded kernels", Cuda.cuGraphLaunch(executable, device.stream()));
    }

    @Override
    public void close() {
        if (!closed) {
            closed = true;
            // The driver keeps what a run that is under way needs until that has ended.
            device.prepareToRelease(false);
            Cuda.cuGraphExecDestroy(executable);
        }
    }
}
