package dev.panacea.benchmarks;

import dev.panacea.kernels.DType;
import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.net.JarURLConnection;
import java.net.URI;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.List;
import java.util.jar.JarEntry;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.BoolOptional;
import org.bytedeco.pytorch.CompilationUnit;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.IValue;
import org.bytedeco.pytorch.IValueVector;
import org.bytedeco.pytorch.NoGradGuard;
import org.bytedeco.pytorch.QualifiedName;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/**
 * libtorch as the peer: PyTorch's own kernels through JavaCPP, without Python. Only this class knows it.
 * Attention gets its keys and values already expanded to all query heads, which is not timed (Hugging Face's models expand them at every step).
 */
final class Torch implements PeerLibrary {
    private static final String CACHE = "org.bytedeco.javacpp.cachedir";
    /** In DJL's jar. */
    private static final String OFFICIAL = "/pytorch/cpu/linux-x86_64/";

    private final String version;
    private final CompilationUnit adamW;

    /** Loads it, which unpacks some 600 MB the first time. Called by {@link PeerLibrary#load}. */
    public Torch(int threads) throws IOException {
        useOfficialBuild(cache());
        torch.set_num_threads(threads);
        version = "libtorch " + torch.TORCH_VERSION;
        adamW = torch.compile("""
            def step(p: Tensor, g: Tensor, m: Tensor, v: Tensor, t: Tensor):
                none: List[Tensor] = []
                parameters = [p]
                torch._fused_adamw_(parameters, [g], [m], [v], none, [t], lr=1e-6, beta1=0.9, beta2=0.999, weight_decay=0.01, eps=1e-8, amsgrad=False, maximize=False)
                return parameters
            """);  // what is not returned would be optimized away
    }

    /** Where JavaCPP unpacks: its own setting; else target/javacpp if the jar is in target/lib, so that {@code mvn clean} removes it; else where it likes it. */
    private static Path cache() {
        if (System.getProperty(CACHE) == null) {
            Path lib = Path.of(URI.create(torch.class.getProtectionDomain().getCodeSource().getLocation().toString())).getParent();
            boolean built = lib.endsWith(Path.of("target", "lib")) && Files.isWritable(lib.getParent());
            System.setProperty(CACHE, (built ? lib.resolveSibling("javacpp") : Path.of(System.getProperty("user.home"), ".javacpp", "cache")).toString());
        }
        return Path.of(System.getProperty(CACHE));
    }

    /**
     * JavaCPP brings the bindings, and a libtorch with OpenBLAS that is some ten times slower in attention than the one that PyTorch publishes, with MKL. DJL's
     * jar has that one; put before the other on the library path, it is the one that loads.
     */
    private static void useOfficialBuild(Path cache) throws IOException {
        URL library = Torch.class.getResource(OFFICIAL + "libtorch_cpu.so");
        if (library == null || !(library.openConnection() instanceof JarURLConnection jar)) {
            return;
        }
        Path folder = Files.createDirectories(cache.resolve(Path.of(jar.getJarFileURL().getPath()).getFileName().toString()));
        for (JarEntry entry : (Iterable<JarEntry>) jar.getJarFile().stream().filter(e -> ("/" + e.getName()).startsWith(OFFICIAL) && !e.isDirectory())::iterator) {
            Path target = folder.resolve(entry.getName().substring(OFFICIAL.length() - 1));
            if (!Files.exists(target) || Files.size(target) != entry.getSize()) {
                Path beside = Files.createTempFile(folder, "unpacking", ".tmp");
                try (InputStream in = jar.getJarFile().getInputStream(entry)) {
                    Files.copy(in, beside, StandardCopyOption.REPLACE_EXISTING);
                }
                Files.move(beside, target, StandardCopyOption.REPLACE_EXISTING);
            }
        }
        System.setProperty("org.bytedeco.javacpp.pathsFirst", "true");
        System.setProperty("java.library.path", folder + File.pathSeparator + System.getProperty("java.library.path", ""));
    }

    @Override
    public String version() {
        return version;
    }

    // ---- peers -------------------------------------------------------------------------------------------------------

    /** torch.nn.functional.linear: x[M, K] W[N, K]^T, dense. {@code sets} of weights go round. */
    @Override
    public Peer linear(DType type, int m, int n, int k, int sets) {
        return new Op(version + " linear " + name(type), sets, own -> {
            Tensor x = own.random(type, m, k);
            Tensor w = own.random(type, n, k);
            return () -> torch.linear(x, w);
        });
    }

    /** dy[M, N] W[N, K], what autograd does for the input of a linear layer. */
    @Override
    public Peer linearInputGrad(DType type, int m, int n, int k) {
        return new Op(version + " dy @ W " + name(type), 1, own -> {
            Tensor dy = own.random(type, m, n);
            Tensor w = own.random(type, n, k);
            return () -> torch.mm(dy, w);
        });
    }

    /** scaled_dot_product_attention, causal. Packed sequences of one length are a batch. */
    @Override
    public Peer attention(AttentionWork.Shape s) {
        return new Op(version + " SDPA bf16", 1, own -> {
            Tensor q = own.heads(s);
            Tensor k = own.heads(s);
            Tensor v = own.heads(s);
            return () -> attend(q, k, v);
        });
    }

    /** Its gradients by autograd; the forward pass is done once, before the clock runs. */
    @Override
    public Peer attentionBackward(AttentionWork.Shape s) {
        return new Op(version + " SDPA backward bf16", 1, own -> {
            TensorVector inputs = own.keep(new TensorVector(own.heads(s).set_requires_grad(true), own.heads(s).set_requires_grad(true), own.heads(s).set_requires_grad(true)));
            Tensor out = own.keep(attend(inputs.get(0), inputs.get(1), inputs.get(2)));
            TensorVector outputs = own.keep(new TensorVector(out));
            TensorVector gradient = own.keep(new TensorVector(own.heads(s)));
            return () -> torch.grad(outputs, inputs, gradient, new BoolOptional(true), false, false);
        });
    }

    private static Tensor attend(Tensor q, Tensor k, Tensor v) {
        return torch.scaled_dot_product_attention(q, k, v, new TensorOptional(), 0, true, new DoubleOptional(), false);
    }

    /** torch._fused_adamw_, behind {@code torch.optim.AdamW(fused=True)}, by TorchScript: the C++ optimizer would call some ten kernels instead. */
    @Override
    public Peer adamW(long n, int sets) {
        return new Op(version + " fused AdamW f32", sets, own -> {
            Tensor p = own.random(DType.F32, n);
            Tensor g = own.random(DType.F32, n);
            Tensor m = own.random(DType.F32, n);
            Tensor v = own.keep(own.random(DType.F32, n).abs());
            Tensor number = own.keep(torch.full(new long[] {}, new Scalar(1000f)));
            return () -> step(p, g, m, v, number);
        });
    }

    private void step(Tensor... operands) {
        IValueVector stack = new IValueVector();
        for (Tensor t : operands) {
            stack.push_back(new IValue(t));
        }
        adamW.find_function(new QualifiedName("step")).apply(stack);
    }

    /** A parameter of 1 after a step with gradient 1 and moments of 0, of number 1000: that the script does something. */
    float steppedParameter() {
        try (PointerScope scope = new PointerScope()) {
            Tensor one = torch.ones(new long[] {1}, new TensorOptions(torch.ScalarType.Float));
            step(one, torch.ones_like(one), torch.zeros_like(one), torch.zeros_like(one), torch.full(new long[] {}, new Scalar(1000f)));
            return one.data_ptr_float().get();
        }
    }

    /** y = x W^T in F32, of given values: what a test compares with. */
    static float[] product(float[] x, float[] w, int m, int n, int k) {
        try (PointerScope scope = new PointerScope(); NoGradGuard guard = new NoGradGuard()) {
            Tensor y = torch.linear(Tensor.create(x, m, k), Tensor.create(w, n, k));
            float[] out = new float[m * n];
            y.data_ptr_float().get(out);
            return out;
        }
    }

    private static String name(DType type) {
        return type == DType.F32 ? "f32" : "bf16";
    }

    // ---- operands and runs -------------------------------------------------------------------------------------------

    /** Makes one set of operands and returns the run over it. */
    private interface Maker {
        Runnable make(Owner owner);
    }

    /** Holds what lives as long as the peer; what a run makes is freed when it ends. */
    private static final class Owner {
        private final List<Pointer> kept = new ArrayList<>();

        <P extends Pointer> P keep(P p) {
            p.retainReference();
            kept.add(p);
            return p;
        }

        Tensor random(DType type, long... shape) {
            return keep(torch.randn(shape, new TensorOptions(type == DType.F32 ? torch.ScalarType.Float : torch.ScalarType.BFloat16)));
        }

        /** [sequences, heads, length, headDim], laid out as [sequences, length, heads, headDim], as a projection leaves it. */
        Tensor heads(AttentionWork.Shape s) {
            return keep(random(DType.BF16, s.sequences(), s.length(), s.heads(), s.headDim()).transpose(1, 2));
        }

        TensorVector list(Tensor t) {
            return keep(new TensorVector(t));
        }
    }

    private static final class Op implements Peer {
        private final String name;
        private final Owner owner = new Owner();
        private final List<Runnable> runs = new ArrayList<>();
        private int next;

        Op(String name, int sets, Maker maker) {
            this.name = name;
            try (PointerScope scope = new PointerScope()) {
                for (int i = 0; i < sets; i++) {
                    runs.add(maker.make(owner));
                }
            }
        }

        @Override
        public String name() {
            return name;
        }

        @Override
        public int sets() {
            return runs.size();
        }

        @Override
        public void run() {
            try (PointerScope scope = new PointerScope()) {
                runs.get(next).run();
            }
            next = (next + 1) % runs.size();
        }

        @Override
        public void close() {
            owner.kept.forEach(Pointer::releaseReference);
            owner.kept.clear();
        }
    }
}
