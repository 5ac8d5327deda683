package dev.panacea.benchmarks;

/** The same work done by another library, on operands of its own. */
interface Peer extends AutoCloseable {
    /** What it is, such as {@code libtorch linear bf16}. */
    String name();

    /** Sets of operands: so many runs go round all of them. */
    int sets();

    void run();

    @Override
    void close();
}
