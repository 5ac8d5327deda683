/**
 * A CUDA device driven through the driver API: context, stream, memory, module, launches, graphs. What the kernels compute is in
 * {@code dev.panacea.kernels}; this package knows nothing of it.
 *
 * <p>Threads: any, but one at a time for all objects of one device, closing included; {@link dev.panacea.kernels.CudaKernels} sees to that. Its thread's context is made
 * current by each call.
 */
package dev.panacea.kernels.cuda;
