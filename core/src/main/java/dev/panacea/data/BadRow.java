package dev.panacea.data;

/** What is wrong with a row, to follow "the row"; the reader adds file and place. */
final class BadRow extends RuntimeException {
    private static final long serialVersionUID = 1L;

    BadRow(String problem) {
        super(problem);
    }
}
