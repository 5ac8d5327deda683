package dev.panacea.io;

import java.nio.file.Path;

/**
 * A model that is on this machine.
 *
 * @param path what {@link Checkpoints#open} takes
 * @param origin where it was found or came from, for people
 * @param bytes of its weights
 */
public record LocatedModel(Path path, String origin, long bytes) {}
