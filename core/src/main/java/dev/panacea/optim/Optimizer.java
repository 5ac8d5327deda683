package dev.panacea.optim;

/** Updates the {@link TrainableParameters} it was made for, by their gradients. */
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
