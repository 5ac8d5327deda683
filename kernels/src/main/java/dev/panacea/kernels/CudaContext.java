package dev.panacea.kernels;

import dev.panacea.bindings.CublasLtLibrary;
import dev.panacea.bindings.Setting;
import dev.panacea.kernels.cuda.CudaAllocator;
import dev.panacea.kernels.cuda.CudaBlas;
import dev.panacea.kernels.cuda.CudaDevice;
import dev.panacea.kernels.cuda.CudaModule;
import dev.panacea.kernels.cuda.CudaScratch;
import dev.panacea.kernels.cuda.CudaTransfers;
import dev.panacea.kernels.cuda.Launch;
import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Optional;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/** What the operations of {@link CudaKernels} share: the device, its memory, the loaded kernels, and the place where these report a wrong index. */
final class CudaContext implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(CudaContext.class);
    /** The fat binary in the jar of classifier {@code linux-x86_64-cuda}. */
    static final String RESOURCE = "native/cuda/panacea.fatbin";
    /** Another file with kernels, for those who change them. */
    private static final Setting FILE = new Setting("panacea.cuda.kernels", "PANACEA_CUDA_KERNELS");
    /** The names of what an index counts, by the numbers in native/cuda/common.cuh. */
    private static final String[] REPORTS = {"", "index", "positions", "targets", "sequences"};
    private static final int REPORT_BYTES = 32;

    private final CudaDevice device;
    private final CudaAllocator allocator;
    private final CudaScratch scratch;
    private final CudaTransfers transfers;
    private final CudaModule module;
    private final Optional<CudaBlas> blas;
    private final long report;
    private volatile boolean closed;

    private CudaContext(CudaDevice device, CudaModule module, CudaAllocator allocator, CudaScratch scratch, long report, CudaTransfers transfers, Optional<CudaBlas> blas) {
        this.device = device;
        this.module = module;
        this.allocator = allocator;
        this.scratch = scratch;
        this.report = report;
        this.transfers = transfers;
        this.blas = blas;
    }

    /** What has been opened when something fails is closed. */
    static CudaContext open(int ordinal, boolean caching) {
        Deque<Runnable> opened = new ArrayDeque<>();
        boolean done = false;
        try {
            CudaDevice device = CudaDevice.open(ordinal);
            opened.push(device::close);
            CudaModule module = load(device);
            opened.push(module::close);
            CudaAllocator allocator = new CudaAllocator(device, caching);
            opened.push(allocator::close);
            long report = allocator.allocate(REPORT_BYTES);
            device.clear(report, REPORT_BYTES);
            CudaTransfers transfers = new CudaTransfers(device, report, REPORT_BYTES);
            opened.push(transfers::close);
            CudaScratch scratch = new CudaScratch(allocator);
            CudaContext context = new CudaContext(device, module, allocator, scratch, report, transfers, openBlas(device, scratch));
            done = true;
            return context;
        } finally {
            if (!done) {
                opened.forEach(Runnable::run);
            }
        }
    }

    private static CudaModule load(CudaDevice device) {
        var file = FILE.read();
        try {
            if (file.isPresent()) {
                return new CudaModule(device, Files.readAllBytes(Path.of(file.get().text())), file.get().text());
            }
            try (InputStream in = CudaContext.class.getClassLoader().getResourceAsStream(RESOURCE)) {
                if (in == null) {
                    throw new UnsupportedBackendException("this build of Panacea has no CUDA kernels (no " + RESOURCE + " on the class path): it was built without nvcc. Build it where nvcc is on the PATH, as"
                            + " README.md says, add the jar panacea-kernels of classifier linux-x86_64-cuda, or name a fat binary by " + FILE, null);
                }
                return new CudaModule(device, in.readAllBytes(), "the jar's " + RESOURCE);
            }
        } catch (IOException e) {
            throw new PanaceaException("the CUDA kernels " + file.map(f -> f.text() + " (" + f.origin() + ")").orElse(RESOURCE) + " cannot be read: " + e, e);
        }
    }

    CudaDevice device() {
        return device;
    }

    CudaAllocator allocator() {
        return allocator;
    }

    CudaScratch scratch() {
        return scratch;
    }

    CudaTransfers transfers() {
        return transfers;
    }

    /**
     * cuBLASLt, where it is used: by default on GPUs whose tensor cores do far more with instructions that our kernels lack (compute capability 9.0 and later), and
     * where a setting names the library; never where the setting says {@code off}.
     */
    Optional<CudaBlas> blas() {
        return blas;
    }

    private static Optional<CudaBlas> openBlas(CudaDevice device, CudaScratch scratch) {
        Optional<Setting.Value> setting = CublasLtLibrary.FILE.read();
        if (setting.map(v -> v.text().equals("off")).orElse(device.architecture() < 90)) {
            return Optional.empty();
        }
        try {
            return Optional.of(new CudaBlas(device, scratch));
        } catch (PanaceaException e) {
            if (setting.isPresent()) {
                throw e;
            }
            LOG.info("Products of matrices by our own kernels: {}", e.getMessage());
            return Optional.empty();
        }
    }

    /** The next launch of a kernel. */
    Launch launch(String kernel) {
        return module.launch(kernel);
    }

    /** The end of a kernel's name for a type of activations: {@code f32} or {@code bf16}. */
    static String suffix(DeviceBuffer activation) {
        return activation.type() == DType.F32 ? "f32" : "bf16";
    }

    /** Where kernels report a wrong index: the {@code Report*} of common.cuh. */
    long report() {
        return report;
    }

    /** Throws what a kernel had reported when something was last downloaded. */
    void throwReportedErrors() {
        MemorySegment host = transfers.watched();
        int kind = host.get(Elements.I32, 0);
        if (kind != 0) {
            device.clear(report, REPORT_BYTES);
            long at = host.get(Elements.I64, 8);
            long value = host.get(Elements.I64, 16);
            long limit = host.get(Elements.I64, 24);
            host.fill((byte) 0);
            throw new IllegalArgumentException(kind == 4 ? "sequence " + at + " does not lie within the " + limit + " rows that there are, or has fewer keys than queries (" + value + ")"
                    : REPORTS[kind] + "[" + at + "] is " + value + ", it must be within 0 and " + (limit - 1));
        }
    }

    /** Whether all memory has gone with this context. */
    boolean isClosed() {
        return closed;
    }

    @Override
    public void close() {
        closed = true;
        blas.ifPresent(CudaBlas::close);
        transfers.close();
        module.close();
        allocator.close();
        device.close();
    }
}
