package dev.panacea.kernels;

/**
 * The memory of a device that has its own.
 *
 * @param used bytes that these kernels have given out and not got back, and what they use themselves
 * @param available bytes that they can still give out
 */
public record MemoryUse(long used, long available) {}
