/*
 * panacea.h: the C interface of Panacea's CPU kernels, called from Java through the FFM API.
 *
 * Conventions
 *   - Every matrix is row-major and contiguous. A linear weight is W[N, K] = [out, in]; M counts tokens.
 *   - `type` arguments are PAN_F32 or PAN_BF16; sums, statistics, LoRA weights and optimizer states are always f32.
 *   - A function returns 0, or a negative code whose text pan_last_error() gives (per thread).
 *   - The caller has checked the lengths of its buffers against the shapes; the kernels check shapes and types only.
 *   - Results depend on shapes and on the tier, never on the number of threads.
 *   - A context runs one call at a time (calls from several threads wait for each other).
 *   - `accumulate` != 0 means the result is added to what the output holds, with one rounding at the end.
 */
#ifndef PANACEA_H
#define PANACEA_H

#include <stdint.h>

#if defined(__cplusplus)
extern "C" {
#endif

#if defined(__GNUC__)
#define PAN_API __attribute__((visibility("default")))
#else
#define PAN_API
#endif

/* Raised with every incompatible change; compared by the Java loader at start. */
#define PAN_ABI_VERSION 2

/* Element types. */
#define PAN_F32 0
#define PAN_BF16 1
#define PAN_Q4 2 /* 4-bit codes in blocks, as bitsandbytes packs them: element 2j in the high nibble */
#define PAN_F16 3 /* IEEE half precision; weights only */
/* ggml's blocks, byte for byte as in GGUF files; weights only, and cols is a multiple of a block's elements: 32, or 256 (K). */
#define PAN_Q4_0 16
#define PAN_Q4_1 17
#define PAN_Q5_0 18
#define PAN_Q5_1 19
#define PAN_Q8_0 20
#define PAN_Q4_K 21
#define PAN_Q5_K 22
#define PAN_Q6_K 23

/* Instruction-set tiers, each containing the ones before it. */
#define PAN_TIER_PORTABLE 0
#define PAN_TIER_AVX2 1
#define PAN_TIER_AVX512 2
#define PAN_TIER_AVX512BF16 3

/* Error codes. */
#define PAN_ERROR_ARGUMENT (-1)
#define PAN_ERROR_MEMORY (-2)
#define PAN_ERROR_UNSUPPORTED (-3)

typedef struct pan_context pan_context;

/* A linear weight W[rows, cols]; filled once by the caller, who keeps everything it points to alive. */
typedef struct pan_weight {
  int32_t format;             /* PAN_F32, PAN_BF16, PAN_F16, PAN_Q4 or one of ggml's */
  int32_t block;              /* PAN_Q4: elements per absmax, counted along the flattened matrix (blocks run across row ends) */
  int32_t pair_dim;           /* 0, or an even d that divides rows, all formats but PAN_Q4: row 2j + s of every d stored rows is row s*d/2 + j of */
                              /*   the matrix (llama.cpp's order of the rows of q and k, d being the dimension of a head) */
  int64_t rows;               /* N, output features */
  int64_t cols;               /* K, input features */
  const void *data;           /* values, or PAN_Q4: (rows*cols+1)/2 bytes */
  const float *levels;        /* PAN_Q4: the 16 values of the codes */
  const float *absmax;        /* PAN_Q4: one per block, or NULL when the absmax are quantized themselves: */
  const uint8_t *absmax_code; /*   absmax[i] = code_levels[absmax_code[i]] * absmax_scale[i / 256] + absmax_offset */
  const float *absmax_scale;
  const float *code_levels; /*   256 values */
  float absmax_offset;
} pan_weight;

/* ---- life cycle ------------------------------------------------------------------------------------------------ */

PAN_API int32_t pan_abi_version(void);
/* Text of the last error of this thread; never NULL, valid until this thread's next failing call. */
PAN_API const char *pan_last_error(void);
/* The fastest tier for this CPU (the highest that it executes well: VDPBF16PS is slower than f32 FMA on some CPUs). */
PAN_API int32_t pan_best_tier(void);
/* 1 if this CPU and operating system can run the tier. */
PAN_API int32_t pan_tier_supported(int32_t tier);
/* threads <= 0: one per physical core. */
PAN_API int32_t pan_open(int32_t tier, int32_t threads, pan_context **out);
PAN_API void pan_close(pan_context *ctx);
PAN_API int32_t pan_threads(const pan_context *ctx);
/* Zeroed memory, 64-byte aligned (2 MiB and huge-page advised when large); NULL when there is none. */
PAN_API void *pan_alloc(int64_t bytes);
PAN_API void pan_free(void *p, int64_t bytes);
/* For tests: `bytes` of memory that ends exactly at an inaccessible page (so it is aligned only as `bytes` allows). */
PAN_API void *pan_alloc_guarded(int64_t bytes);
PAN_API void pan_free_guarded(void *p, int64_t bytes);

/* `bytes` mapped from a file that kernels may read: where the file turns out to be shorter, or cannot be read, they find zeros from there to the end
   instead of ending the process by SIGBUS, and pan_torn(p) is 1 from then on. Until pan_unwatch(p), which must come before the range is unmapped, when no
   call that reads it is running. The first call adds a handler of SIGBUS, which hands faults of any other kind to the one that was there. */
PAN_API int32_t pan_watch(const void *p, int64_t bytes);
PAN_API int32_t pan_torn(const void *p);
PAN_API void pan_unwatch(const void *p);

/* Bytes of scratch memory that the context holds now; it grows to what its calls need and is kept until pan_close. */
PAN_API int64_t pan_scratch_bytes(const pan_context *ctx);

/* ---- what the machine can do --------------------------------------------------------------------------------------- */

/* Multiply-adds in registers on all threads: of f32 (PAN_F32), or the tier's bf16 dot products (PAN_BF16, PAN_TIER_AVX512BF16 only). *flops: the
   operations done, two per multiply-add, about `rounds` millions on each thread. The caller takes the time. */
PAN_API int32_t pan_probe_arithmetic(pan_context *ctx, int32_t type, int64_t rounds, double *flops);
/* Reads `bytes` (a multiple of 64) from p once, in streams, on all threads. *sum depends on every byte. The caller takes the time. */
PAN_API int32_t pan_probe_read(pan_context *ctx, const void *p, int64_t bytes, double *sum);

/* ---- linear layers ----------------------------------------------------------------------------------------------- */

/* y[M,N] = x[M,K] W^T (+ y). */
PAN_API int32_t pan_linear(pan_context *ctx, const pan_weight *w, const void *x, int32_t xtype, int64_t m, void *y, int32_t ytype, int32_t accumulate);
/* dx[M,K] = dy[M,N] W (+ dx). */
PAN_API int32_t pan_linear_input_grad(pan_context *ctx, const pan_weight *w, const void *dy, int32_t dytype, int64_t m, void *dx, int32_t dxtype, int32_t accumulate);
/* s[M,r] = x A^T;  y = x W^T + scaling * s B^T (+ y).  A[r,K], B[N,r], s: f32; x, y: type. */
PAN_API int32_t pan_lora_linear(pan_context *ctx, const pan_weight *w, const float *a, const float *b, int64_t rank, float scaling, const void *x, int64_t m, float *s, void *y,
                                int32_t type, int32_t accumulate);
/* t = dy B;  da += scaling * t^T x;  db += scaling * dy^T s;  dx = dy W + scaling * t A (+ dx).  da, db f32, always accumulated. */
PAN_API int32_t pan_lora_linear_backward(pan_context *ctx, const pan_weight *w, const float *a, const float *b, int64_t rank, float scaling, const void *x, const float *s,
                                         const void *dy, int64_t m, float *da, float *db, void *dx, int32_t type, int32_t accumulate);
/* dw[N,K] += dy^T x, f32: weights that are trained themselves. */
PAN_API int32_t pan_linear_weight_grad(pan_context *ctx, const void *dy, const void *x, int32_t type, int64_t m, int64_t n, int64_t k, float *dw);

/* ---- 4-bit quantization ------------------------------------------------------------------------------------------- */

/* packed[(n+1)/2] and absmax[ceil(n/block)] of x[n], bit for bit as bitsandbytes makes them: NF4, or FP4 when fp4 != 0.
   Element 2j goes to the high nibble; where n is odd, the last low nibble is the code of the value 0, as bitsandbytes pads. */
PAN_API int32_t pan_quantize4(pan_context *ctx, const void *x, int32_t type, int64_t n, int32_t block, int32_t fp4, uint8_t *packed, float *absmax);
/* y[rows*cols] = the weight's values, rounded once to type. */
PAN_API int32_t pan_dequantize(pan_context *ctx, const pan_weight *w, void *y, int32_t type);

/* ---- normalisation, positions, attention, MLP ---------------------------------------------------------------------- */

/* inv[M] = 1/sqrt(mean(x^2) + eps); y = round(x * inv) * weight. */
PAN_API int32_t pan_rms_norm(pan_context *ctx, const void *x, const float *weight, float eps, int64_t m, int64_t n, void *y, float *inv, int32_t type);
/* dx = inv*(dy*w - xhat * mean(dy*w*xhat)) (+ dx), xhat = x*inv. */
PAN_API int32_t pan_rms_norm_backward(pan_context *ctx, const void *x, const float *weight, const float *inv, const void *dy, int64_t m, int64_t n, void *dx, int32_t type,
                                      int32_t accumulate);
/* dweight[N] (f32) += sum over rows of dy * xhat. */
PAN_API int32_t pan_rms_norm_weight_grad(pan_context *ctx, const void *x, const float *inv, const void *dy, int64_t m, int64_t n, float *dweight, int32_t type);
/* In place on x[M, heads, head_dim]: pairs (j, j + head_dim/2) turned by positions[row]; table f32 [max, head_dim/2] of cos and of sin. inverse: by minus the angle. */
PAN_API int32_t pan_rope(pan_context *ctx, void *x, int32_t type, const int32_t *positions, const float *cos, const float *sin, int64_t table_rows, int64_t m, int32_t heads,
                         int32_t head_dim, int32_t inverse);
/* Causal attention with grouped heads over `count` sequences; sequences[4*i] = first query row, query rows, first key row, key rows (>= query rows);
   query j of a sequence sees its keys 0 .. keys - queries + j. q, out [rows, heads, d]; k, v [rows, kv_heads, d]; lse[rows, heads] f32 (natural log).
   heads % kv_heads == 0. Rows of no sequence are left as they are. */
PAN_API int32_t pan_attention(pan_context *ctx, const void *q, const void *k, const void *v, void *out, float *lse, int32_t type, const int32_t *sequences, int64_t count,
                              int32_t heads, int32_t kv_heads, int32_t head_dim, float scale);
/* dq, dk, dv = (overwritten for the rows that belong to a sequence). dq may not alias the others. */
PAN_API int32_t pan_attention_backward(pan_context *ctx, const void *q, const void *k, const void *v, const void *out, const float *lse, const void *dout, void *dq, void *dk,
                                       void *dv, int32_t type, const int32_t *sequences, int64_t count, int32_t heads, int32_t kv_heads, int32_t head_dim, float scale);
/* y = round(silu(gate)) * up, n elements; y may be gate or up. */
PAN_API int32_t pan_swiglu(pan_context *ctx, const void *gate, const void *up, void *y, int64_t n, int32_t type);
/* dup = dy*silu(gate), dgate = dy*up*sigma*(1 + gate*(1 - sigma)); dgate may be gate, dup may be up, either may be dy.
   In bf16 silu is rounded first, as in the forward pass. */
PAN_API int32_t pan_swiglu_backward(pan_context *ctx, const void *gate, const void *up, const void *dy, void *dgate, void *dup, int64_t n, int32_t type);

/* ---- rows, loss, optimizer, sums ------------------------------------------------------------------------------------ */

/* y[i,:] = rows[index[i],:], converted to ytype; w may have any format; index within [0, w->rows) is checked. */
PAN_API int32_t pan_gather_rows(pan_context *ctx, const pan_weight *w, const int32_t *index, int64_t m, void *y, int32_t ytype);
/* y[index[i],:] (+)= x[i,:]; y has y_rows rows; sums in ascending order of i when an index repeats (accumulate only),
   a bf16 y rounded at each. */
PAN_API int32_t pan_scatter_rows(pan_context *ctx, const void *x, int32_t xtype, const int32_t *index, int64_t m, int64_t cols, void *y, int32_t ytype, int64_t y_rows,
                                 int32_t accumulate);
/* losses[i] = logsumexp(logits[i,:]) - logits[i,target]; gradient (may be NULL; may be logits when it is f32) = (softmax - onehot) * grad_scale. logits f32. */
PAN_API int32_t pan_cross_entropy(pan_context *ctx, const float *logits, const int32_t *targets, int64_t rows, int64_t vocab, float grad_scale, float *losses, void *gradient,
                                  int32_t gradient_type);
/* p *= 1 - lr*wd;  m, v updated with g*grad_scale;  p -= lr * (m/(1-b1^t)) / (sqrt(v)/sqrt(1-b2^t) + eps). */
PAN_API int32_t pan_adamw(pan_context *ctx, float *p, const float *g, float *m, float *v, int64_t n, float grad_scale, float lr, float beta1, float beta2, float eps,
                          float weight_decay, int64_t step);
/* The same with both moments in 8 bits, as bitsandbytes' blockwise AdamW: blocks of 256 values, m = m_levels[m_code] * m_absmax and likewise v; 256
   ascending levels each (the signed and the unsigned dynamic map). p is updated with the moments before they are coded again; weight decay comes last:
   p += -lr * (m/(1-b1^t)) / (sqrt(v)/sqrt(1-b2^t) + eps), then p *= 1 - lr*wd. */
PAN_API int32_t pan_adamw8bit(pan_context *ctx, float *p, const float *g, uint8_t *m_code, uint8_t *v_code, float *m_absmax, float *v_absmax, const float *m_levels,
                              const float *v_levels, int64_t n, float grad_scale, float lr, float beta1, float beta2, float eps, float weight_decay, int64_t step);
/* *out = sum of squares, in double, in an order that depends on n alone. */
PAN_API int32_t pan_sum_of_squares(pan_context *ctx, const void *x, int32_t type, int64_t n, double *out);
/* y = x (+ y), converted. */
PAN_API int32_t pan_copy(pan_context *ctx, const void *x, int32_t xtype, void *y, int32_t ytype, int64_t n, int32_t accumulate);

#if defined(__cplusplus)
}
#endif
#endif
