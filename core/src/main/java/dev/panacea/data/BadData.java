package dev.panacea.data;

/** What is wrong with a data file, and where in it; the reader adds the file's name. */
final class BadData extends RuntimeException {
    private static final long serialVersionUID = 1L;

    /** @param place such as {@code line 3}; empty where the whole file is meant */
    BadData(String place, String problem) {
        this(place, problem, null);
    }

    BadData(String place, String problem, Throwable cause) {
        super(place.isEmpty() ? ": " + problem : ", " + place + ": " + problem, cause);
    }
}
