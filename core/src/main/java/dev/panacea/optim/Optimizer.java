package dev.panacea.optim;

/**
 * Updates the {@link TrainableParameters} it was made for, by their gradients.
 *
 * <p>Threads: any, but one at a time; a step while another thread uses it or its parameters, closing it during a step, and a step after closing are
 * {@link IllegalStateException}s. Closing twice does nothing.
 */
public interface Optimizer extends AutoCloseable {
    /**
     * One update.
     *
     * @param gradScale factor on the gradients, such as the one of clipping
     */
    void step(double learningRate, double gradScale);

    /** Bytes of the moments. */
    long byteSize();

    @Override
    void close();
}
