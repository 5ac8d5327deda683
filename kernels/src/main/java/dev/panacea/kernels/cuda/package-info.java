/**
 * A CUDA device driven through the driver API: context, stream, memory, module, launches, graphs. What the kernels compute is in
 * {@code dev.panacea.kernels}; this package knows nothing of it.
 */
package dev.panacea.kernels.cuda;
