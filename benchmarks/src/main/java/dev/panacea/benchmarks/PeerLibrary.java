package dev.panacea.benchmarks;

import dev.panacea.kernels.DType;
import java.lang.reflect.InvocationTargetException;
import java.util.Optional;
import java.util.function.Consumer;

/**
 * Another library whose kernels ours are compared with in the same run. The one there is, libtorch, is 215 MB that nobody else needs, so it is part
 * of the build only with {@code -Plibtorch}; without it the columns of the peer stay empty.
 */
interface PeerLibrary {
    /** In src/libtorch, which only that profile compiles. */
    String LIBTORCH = "dev.panacea.benchmarks.Torch";

    /**
     * Loads libtorch, which unpacks some 600 MB the first time.
     *
     * @param messages hears why there is none
     */
    static Optional<PeerLibrary> load(int threads, Consumer<String> messages) {
        try {
            return Optional.of((PeerLibrary) Class.forName(LIBTORCH).getConstructor(int.class).newInstance(threads));
        } catch (ClassNotFoundException e) {
            messages.accept("No peer: built without libtorch, a download of 215 MB, so the peer's columns stay empty. To compare: mvn -q -DskipTests "
                    + "-Plibtorch package");
        } catch (InvocationTargetException e) {
            messages.accept("No peer: libtorch does not load on this machine (" + firstLine(e.getCause()) + "), so the peer's columns stay empty");
        } catch (ReflectiveOperationException | LinkageError e) {
            messages.accept("No peer: libtorch is not beside this jar (" + firstLine(e)
                    + "), so the peer's columns stay empty. To build it: mvn -q -DskipTests -Plibtorch package");
        }
        return Optional.empty();
    }

    private static String firstLine(Throwable e) {
        return String.valueOf(e.getMessage()).lines().findFirst().orElse("");
    }

    /** Name and version, such as {@code libtorch 2.7.1}. */
    String version();

    /** A dense linear layer: x[M, K] W[N, K]^T. {@code sets} of weights go round. */
    Peer linear(DType type, int m, int n, int k, int sets);

    /** dy[M, N] W[N, K]: the gradient of a linear layer's input. */
    Peer linearInputGrad(DType type, int m, int n, int k);

    /** Causal attention. */
    Peer attention(AttentionWork.Shape s);

    /** Its gradients. */
    Peer attentionBackward(AttentionWork.Shape s);

    /** A step of fused AdamW on n parameters. {@code sets} of operands go round. */
    Peer adamW(long n, int sets);
}
