package dev.panacea.kernels;

import java.lang.foreign.MemorySegment;
import java.util.Optional;

/**
 * The arithmetic of a transformer, one method per operation, on the buffers of one device. {@link ReferenceKernels} is the definition, in
 * short plain Java loops; every other backend is tested against it.
 *
 * <p>Conventions. Matrices are row-major and contiguous. M counts tokens; a linear weight is W[N, K] = [out, in]. Activations are F32 or
 * BF16, and all activations of one call have one type unless said otherwise; sums, statistics, LoRA weights and optimizer states are F32.
 * Buffers may be longer than needed; one that is too short or of another type is an {@link IllegalArgumentException} before anything is
 * written. A call for no rows or elements (M = 0, n = 0) does nothing. {@code accumulate} adds the result to what the output holds, with one
 * rounding at the end. Results depend on shapes and the backend, never on the number of threads. A backend runs one call at a time; calls
 * return when the result may be used by the next call.
 *
 * <p>Threads: any thread may call any method, at any time. Calls of several threads take turns, so that each is right by itself; that nobody else writes to the buffers
 * between two calls is the callers' business. A call on kernels or memory that have been closed, by whatever thread, is an
 * {@link IllegalStateException}; closing twice does nothing.
 */
public interface Kernels extends AutoCloseable {
    /** The most that {@link #topK} gives of a row. */
    int MOST_OF_A_ROW = 1024;
    /**
     * How far from the exact value the sums of {@link #topK} may be, relative to it. In single precision what lies 25 below the largest adds less than
     * 2e-6 to the sum of 131,072 exponentials, exponents of less have an error of 3e-6 by their roundings, and the additions one of 2e-6.
     */
    double SUM_ERROR = 1e-5;

    /** What is running, for logs and reports, such as {@code "cpu AVX-512-BF16, 2 threads"}. */
    String description();

    // ---- memory ------------------------------------------------------------------------------------------------------

    /**
     * Zeroed device memory.
     *
     * @throws PanaceaException if there is not enough; nothing is allocated then
     */
    DeviceMemory allocate(long bytes);

    /**
     * Whether buffers in this process's own memory, such as parts of a mapped file, are arguments like any other; the memory must then stay
     * open as long as it is used. A device with memory of its own wants them uploaded.
     */
    default boolean readsHostMemory() {
        return true;
    }

    /**
     * Bytes of device memory that the operations have taken for themselves so far: packed operands, partial sums. It grows to what the largest
     * call needs and is kept until {@link #close()}.
     */
    default long scratchBytes() {
        return 0;
    }

    /** How much memory is used and left on a device that has its own; empty on one that shares this process's, of which the system tells. */
    default Optional<MemoryUse> memoryUse() {
        return Optional.empty();
    }

    /**
     * Calls that will be made many times, such as those that append a token to a text; a device may remember them and make them faster than one by
     * one. They must be the same every time, on the same buffers, and neither allocate, upload nor download: what differs stands in
     * the buffers. Anything else that {@code calls} does may happen every time, or not.
     */
    default RepeatedCalls repeated(Runnable calls) {
        return RepeatedCalls.plain(calls);
    }

    /** Copies {@code destination.byteSize()} bytes from host memory. */
    void upload(MemorySegment source, DeviceBuffer destination);

    /** Copies {@code source.byteSize()} bytes to host memory, when all earlier calls are done. */
    void download(DeviceBuffer source, MemorySegment destination);

    /** Sets every byte to zero. */
    void clear(DeviceBuffer buffer);

    /** y = x (+ y), converted to y's type; both of {@code n} elements, F32 or BF16. */
    void copy(DeviceBuffer x, DeviceBuffer y, long n, boolean accumulate);

    // ---- linear layers -----------------------------------------------------------------------------------------------

    /** y[M,N] = x[M,K] W^T (+ y). x and y may differ in type. */
    void linear(Weight w, DeviceBuffer x, int m, DeviceBuffer y, boolean accumulate);

    /** dx[M,K] = dy[M,N] W (+ dx). dy and dx may differ in type. */
    void linearInputGrad(Weight w, DeviceBuffer dy, int m, DeviceBuffer dx, boolean accumulate);

    /** dw[N,K] += dy[M,N]^T x[M,K], F32. */
    void linearWeightGrad(DeviceBuffer dy, DeviceBuffer x, int m, int n, int k, DeviceBuffer dw);

    /** s[M,r] = x A^T (F32, kept for the backward pass); y[M,N] = x W^T + scaling * s B^T (+ y). */
    void loraLinear(Weight w, Lora lora, DeviceBuffer x, int m, DeviceBuffer s, DeviceBuffer y, boolean accumulate);

    /**
     * With t = dy B: da[r,K] += scaling * t^T x; db[N,r] += scaling * dy^T s; dx[M,K] = dy W + scaling * t A (+ dx). {@code da} and
     * {@code db} (F32) are always accumulated.
     */
    void loraLinearBackward(Weight w, Lora lora, DeviceBuffer x, DeviceBuffer s, DeviceBuffer dy, int m, DeviceBuffer da, DeviceBuffer db, DeviceBuffer dx, boolean accumulate);

    // ---- 4-bit weights -----------------------------------------------------------------------------------------------

    /** Codes and scales of n elements of x (F32 or BF16), bit for bit as bitsandbytes makes them: packed U8 [(n+1)/2], absmax F32 [ceil(n/blockSize)]. */
    void quantize4(QuantType type, DeviceBuffer x, long n, int blockSize, DeviceBuffer packed, DeviceBuffer absmax);

    /** y[rows * cols] = the values of the weight, rounded once to y's type. */
    void dequantize(Weight w, DeviceBuffer y);

    // ---- transformer layers ------------------------------------------------------------------------------------------

    /** inv[M] = 1 / sqrt(mean(x²) + eps) (F32); y[M,N] = round(x * inv) * weight, the rounding to the activation type. weight F32 [N]. */
    void rmsNorm(DeviceBuffer x, DeviceBuffer weight, float eps, int m, int n, DeviceBuffer y, DeviceBuffer inv);

    /** With x̂ = x * inv: dx[M,N] = inv * (dy*w - x̂ * mean(dy*w*x̂)) (+ dx). */
    void rmsNormBackward(DeviceBuffer x, DeviceBuffer weight, DeviceBuffer inv, DeviceBuffer dy, int m, int n, DeviceBuffer dx, boolean accumulate);

    /** dweight[N] (F32) += sum over the M rows of dy * x̂. */
    void rmsNormWeightGrad(DeviceBuffer x, DeviceBuffer inv, DeviceBuffer dy, int m, int n, DeviceBuffer dweight);

    /**
     * Rotary position embedding in place on x[M, heads, headDim]: the pairs (j, j + headDim/2) are turned by the angle of
     * {@code positions[row]} (I32 [M]), whose cosine and sine stand in F32 tables [rows, headDim/2]; {@code inverse} turns back, which is
     * the gradient. A position outside the tables is an {@link IllegalArgumentException} on the CPU.
     */
    void rope(DeviceBuffer x, DeviceBuffer positions, DeviceBuffer cos, DeviceBuffer sin, int m, int heads, int headDim, boolean inverse);

    /**
     * Causal attention over {@code count} independent sequences. {@code sequences} (I32 [count,4]) holds for each the first query row, the
     * number of query rows, the first key row and the number of key rows (at least as many); query j sees its keys 0 to keys - queries + j.
     * So one call serves right-padded and packed batches, prompts, and decoding with a cache. q, out [rows, heads, headDim]; k, v [rows,
     * kvHeads, headDim]; lse F32 [rows, heads]: the natural logarithm of the softmax denominator. Rows of no sequence stay as they are. A query row belongs to
     * one sequence; key rows may belong to several, as when a text has several continuations.
     */
    void attention(DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer sequences, int count, AttentionShape shape, DeviceBuffer out, DeviceBuffer lse);

    /** dq, dk, dv of {@link #attention} from dout, overwritten for the rows that belong to a sequence; here a key row belongs to one as well. */
    void attentionBackward(DeviceBuffer q, DeviceBuffer k, DeviceBuffer v, DeviceBuffer out, DeviceBuffer lse, DeviceBuffer dout, DeviceBuffer sequences, int count,
            AttentionShape shape, DeviceBuffer dq, DeviceBuffer dk, DeviceBuffer dv);

    /** y[n] = round(silu(gate)) * up; y may be gate or up. */
    void swiGlu(DeviceBuffer gate, DeviceBuffer up, long n, DeviceBuffer y);

    /**
     * dup = dy * silu(gate); dgate = dy * up * σ(gate) * (1 + gate * (1 - σ(gate))). dgate may be gate, dup may be up. In BF16 a backend may
     * round silu(gate) first, as the forward pass does.
     */
    void swiGluBackward(DeviceBuffer gate, DeviceBuffer up, DeviceBuffer dy, long n, DeviceBuffer dgate, DeviceBuffer dup);

    // ---- rows, loss, optimizer ---------------------------------------------------------------------------------------

    /** y[i,:] = row index[i] (I32 [M]) of w, of any format, converted to y's type. An index outside the rows is an {@link IllegalArgumentException} on the CPU. */
    void gatherRows(Weight w, DeviceBuffer index, int m, DeviceBuffer y);

    /**
     * y[index[i],:] = x[i,:] (+ y), rows of {@code cols} elements; y F32 or BF16. With {@code accumulate}, repeated indices add up in ascending
     * order of i; a BF16 y may be rounded at each.
     */
    void scatterRows(DeviceBuffer x, DeviceBuffer index, int m, int cols, DeviceBuffer y, boolean accumulate);

    /** losses[i] (F32) = logsumexp(logits[i,:]) - logits[i, targets[i]]; logits F32 [rows, vocab], targets I32. */
    void crossEntropy(DeviceBuffer logits, DeviceBuffer targets, int rows, int vocab, DeviceBuffer losses);

    /** As {@link #crossEntropy}, and gradient[rows, vocab] = (softmax - onehot) * gradScale; gradient may be logits when it is F32. */
    void crossEntropyWithGrad(DeviceBuffer logits, DeviceBuffer targets, int rows, int vocab, float gradScale, DeviceBuffer losses, DeviceBuffer gradient);

    /**
     * ids[i] (I32) = the index of the largest of logits[i,:], F32 [rows, vocab]; of equal ones the lowest. What is not a number is less than every
     * number, and both zeros are equal.
     */
    void argMax(DeviceBuffer logits, int rows, int vocab, DeviceBuffer ids);

    /**
     * The {@code k} largest logits of each row in the order of {@link #argMax}: ids I32 [rows, k], values F32 [rows, k]; and sums[i] (F32) =
     * sum over the whole row of exp((logits[i,j] - values[i,0]) / temperature), to within {@link #SUM_ERROR} of it where these are finite.
     *
     * @param k at most {@link #MOST_OF_A_ROW}, and at most {@code vocab}
     */
    void topK(DeviceBuffer logits, int rows, int vocab, int k, double temperature, DeviceBuffer ids, DeviceBuffer values, DeviceBuffer sums);

    /** One AdamW update of n parameters p with gradient g and moments m, v, all F32. */
    void adamW(DeviceBuffer p, DeviceBuffer g, DeviceBuffer m, DeviceBuffer v, long n, AdamWStep step);

    /**
     * As {@link #adamW} with moments in 8 bits: p = (p - lr * (m/(1-β1^t)) / (sqrt(v)/sqrt(1-β2^t) + eps)) * (1 - lr * weightDecay), the decay last as
     * in bitsandbytes' CUDA kernels, with the moments as they are before they are coded again. A moment takes the code of the nearest level, of two
     * equally near the even one, and of none that changes its sign. A parameter whose scaled gradient has no finite square stays as it
     * is, and its moments become 0.
     */
    void adamW8bit(DeviceBuffer p, DeviceBuffer g, Moments8bit moments, long n, AdamWStep step);

    /** Sum of the squares of n elements, in double precision, in an order that depends on n alone. */
    double sumOfSquares(DeviceBuffer x, long n);

    @Override
    void close();
}
