// api.cpp: the C functions of panacea.h: they check what they are given and hand over to the tier of the context.
//
// Everything that can be wrong is found before anything is written: indices, positions and targets are looked through
// here, so that the kernels need no way to fail but for lack of scratch memory.
#include "context.h"
#include "cores.h"
#include "pool.h"
#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace pan {

namespace {

thread_local char error_text[512] = "";

const Tier *tier_table(int32_t tier) {
#if defined(__x86_64__)
  switch (tier) {
    case PAN_TIER_AVX2: return &tier_avx2;
    case PAN_TIER_AVX512: return &tier_avx512;
    case PAN_TIER_AVX512BF16: return &tier_avx512bf16;
  }
#endif
  return tier == PAN_TIER_PORTABLE ? &tier_portable : nullptr;
}

// The checks return false after setting the error text.

bool argument(bool good, const char *function, const char *what) {
  if (!good) fail(PAN_ERROR_ARGUMENT, "%s: %s", function, what);
  return good;
}

bool dense_type(int32_t type, const char *function, const char *name) {
  if (type == PAN_F32 || type == PAN_BF16) return true;
  fail(PAN_ERROR_ARGUMENT, "%s: %s is %d; it must be PAN_F32 (0) or PAN_BF16 (1)", function, name, type);
  return false;
}

bool size(int64_t n, int64_t least, const char *function, const char *name) {
  if (n >= least) return true;
  fail(PAN_ERROR_ARGUMENT, "%s: %s is %lld; it must be at least %lld", function, name, (long long)n, (long long)least);
  return false;
}

// a * b elements must be addressable: 8 bytes each are within 2^63.
bool area(int64_t a, int64_t b, const char *function) {
  int64_t product;
  if (!__builtin_mul_overflow(a, b, &product) && product <= INT64_MAX / 8) return true;
  fail(PAN_ERROR_ARGUMENT, "%s: a matrix of %lld x %lld is too large", function, (long long)a, (long long)b);
  return false;
}

bool indices(const int32_t *index, int64_t count, int64_t limit, const char *function, const char *name) {
  for (int64_t i = 0; i < count; i++) {
    if (index[i] >= 0 && index[i] < limit) continue;
    fail(PAN_ERROR_ARGUMENT, "%s: %s[%lld] is %d; it must be between 0 and %lld", function, name, (long long)i, index[i], (long long)(limit - 1));
    return false;
  }
  return true;
}

bool pairs_fit(const pan_weight *w, const char *function) {
  if (!argument(w->format != PAN_Q4, function, "a weight in PAN_Q4 (2) has its rows in order; pair_dim must be 0")) return false;
  if (w->pair_dim > 0 && w->pair_dim % 2 == 0 && w->rows % w->pair_dim == 0) return true;
  fail(PAN_ERROR_ARGUMENT, "%s: the weight's pair_dim is %d; it must be 0, or positive, even and a divisor of the rows, of which there are %lld", function,
       w->pair_dim, (long long)w->rows);
  return false;
}

bool weight(const pan_weight *w, const char *function) {
  if (!argument(w != nullptr, function, "the weight is NULL")) return false;
  if (!(w->format >= PAN_F32 && w->format <= PAN_F16) && !(w->format >= PAN_Q4_0 && w->format <= PAN_Q6_K)) {
    fail(PAN_ERROR_ARGUMENT, "%s: the weight's format is %d; it must be PAN_F32 (0), PAN_BF16 (1), PAN_Q4 (2), PAN_F16 (3), or PAN_Q4_0 (16) to PAN_Q6_K (23)",
         function, w->format);
    return false;
  }
  if (!size(w->rows, 1, function, "the weight's rows") || !size(w->cols, 1, function, "the weight's cols")) return false;
  if (!area(w->rows, w->cols, function) || !argument(w->data != nullptr, function, "the weight's data is NULL")) return false;
  if (w->pair_dim != 0 && !pairs_fit(w, function)) return false;
  int64_t elements = w->format >= PAN_Q4_K ? 256 : w->format >= PAN_Q4_0 ? 32 : 1;
  if (w->cols % elements != 0) {
    fail(PAN_ERROR_ARGUMENT, "%s: the weight has %lld cols; in format %d they must be a multiple of %lld, the elements of a block", function,
         (long long)w->cols, w->format, (long long)elements);
    return false;
  }
  if (w->format != PAN_Q4) return true;
  if (!size(w->block, 1, function, "the weight's block")) return false;
  if (!argument(w->levels != nullptr, function, "the weight's levels are NULL")) return false;
  return argument(w->absmax || (w->absmax_code && w->absmax_scale && w->code_levels), function,
                  "the weight has neither absmax nor all of absmax_code, absmax_scale and code_levels");
}

bool sequences_fit(const int32_t *sequences, int64_t count, const char *function) {
  for (int64_t i = 0; i < count; i++) {
    const int32_t *s = sequences + 4 * i;
    int64_t query_end = int64_t(s[0]) + s[1], key_end = int64_t(s[2]) + s[3];
    if (s[0] >= 0 && s[1] >= 0 && s[2] >= 0 && s[3] >= s[1] && query_end <= INT32_MAX && key_end <= INT32_MAX) continue;
    fail(PAN_ERROR_ARGUMENT,
         "%s: sequence %lld is (first query %d, queries %d, first key %d, keys %d); none may be negative, keys not fewer than queries, "
         "and no row may lie beyond 2^31 - 1",
         function, (long long)i, s[0], s[1], s[2], s[3]);
    return false;
  }
  return true;
}

bool attention_shape(int32_t type, int64_t count, int32_t heads, int32_t kv_heads, int32_t head_dim, const char *function) {
  if (!dense_type(type, function, "type") || !size(count, 0, function, "count") || !size(kv_heads, 1, function, "kv_heads")) return false;
  if (heads < 1 || heads % kv_heads != 0) {
    fail(PAN_ERROR_ARGUMENT, "%s: heads is %d; it must be a multiple of kv_heads, which is %d", function, heads, kv_heads);
    return false;
  }
  if (head_dim < 2 || head_dim > 256 || head_dim % 2 != 0) {
    fail(PAN_ERROR_ARGUMENT, "%s: head_dim is %d; it must be even and between 2 and 256", function, head_dim);
    return false;
  }
  return area(int64_t(heads) * head_dim, INT32_MAX, function);
}

}  // namespace

int32_t fail(int32_t code, const char *format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(error_text, sizeof error_text, format, args);
  va_end(args);
  return code;
}

}  // namespace pan

using namespace pan;

#define CHECK(...) \
  if (!(__VA_ARGS__)) return PAN_ERROR_ARGUMENT
#define CONTEXT() CHECK(argument(ctx != nullptr, __func__, "the context is NULL"))
#define POINTER(p) CHECK(argument((p) != nullptr, __func__, #p " is NULL"))
#define TYPE(t) CHECK(dense_type(t, __func__, #t))
#define SIZE(n, least) CHECK(size(n, least, __func__, #n))
#define AREA(a, b) CHECK(area(a, b, __func__))

// ---- life cycle ------------------------------------------------------------------------------------------------------

int32_t pan_abi_version(void) { return PAN_ABI_VERSION; }

const char *pan_last_error(void) { return error_text; }

int32_t pan_best_tier(void) { return best_tier(); }

int32_t pan_tier_supported(int32_t tier) { return tier_supported(tier) ? 1 : 0; }

int32_t pan_open(int32_t tier, int32_t threads, pan_context **out) {
  POINTER(out);
  *out = nullptr;
  if (tier < PAN_TIER_PORTABLE || tier > PAN_TIER_AVX512BF16) return fail(PAN_ERROR_ARGUMENT, "pan_open: there is no tier %d", tier);
  if (!tier_supported(tier)) return fail(PAN_ERROR_UNSUPPORTED, "pan_open: this machine cannot run tier %d (its highest is %d)", tier, best_tier());
  if (threads > 4096) return fail(PAN_ERROR_ARGUMENT, "pan_open: %d threads are too many; at most 4096", threads);
  if (threads <= 0) threads = usable_cores();
  pan_context *ctx = static_cast<pan_context *>(calloc(1, sizeof(pan_context)));
  if (ctx) ctx->pool = open_pool(threads);
  if (!ctx || !ctx->pool) {
    free(ctx);
    return fail(PAN_ERROR_MEMORY, "pan_open: cannot start %d threads", threads);
  }
  ctx->tier = tier_table(tier);
  *out = ctx;
  return 0;
}

void pan_close(pan_context *ctx) {
  if (!ctx) return;
  close_pool(ctx->pool);
  free(ctx->maps);
  free(ctx);
}

int32_t pan_threads(const pan_context *ctx) { return ctx ? thread_count(ctx) : 0; }

int64_t pan_scratch_bytes(const pan_context *ctx) {
  if (!ctx) return 0;
  Call call(ctx);
  return scratch_bytes(ctx);
}

// ---- what the machine can do -------------------------------------------------------------------------------------------

int32_t pan_probe_arithmetic(pan_context *ctx, int32_t type, int64_t rounds, double *flops) {
  CONTEXT();
  TYPE(type);
  SIZE(rounds, 1);
  CHECK(argument(rounds <= INT64_MAX / 1000000, __func__, "rounds are too many"));
  POINTER(flops);
  *flops = 0;
  Call call(ctx);
  return ctx->tier->probe_arithmetic(ctx, type, rounds, flops);
}

int32_t pan_probe_read(pan_context *ctx, const void *p, int64_t bytes, double *sum) {
  CONTEXT();
  SIZE(bytes, 0);
  CHECK(argument(bytes % 64 == 0, __func__, "bytes is not a multiple of 64"));
  POINTER(sum);
  *sum = 0;
  if (bytes == 0) return 0;
  POINTER(p);
  Call call(ctx);
  return ctx->tier->probe_read(ctx, p, bytes, sum);
}

// ---- linear layers -----------------------------------------------------------------------------------------------------

int32_t pan_linear(pan_context *ctx, const pan_weight *w, const void *x, int32_t xtype, int64_t m, void *y, int32_t ytype, int32_t accumulate) {
  CONTEXT();
  CHECK(weight(w, __func__));
  TYPE(xtype);
  TYPE(ytype);
  SIZE(m, 0);
  if (m == 0) return 0;
  AREA(m, w->rows);
  AREA(m, w->cols);
  POINTER(x);
  POINTER(y);
  Call call(ctx);
  return ctx->tier->linear(ctx, w, x, xtype, m, y, ytype, accumulate);
}

int32_t pan_linear_input_grad(pan_context *ctx, const pan_weight *w, const void *dy, int32_t dytype, int64_t m, void *dx, int32_t dxtype, int32_t accumulate) {
  CONTEXT();
  CHECK(weight(w, __func__));
  TYPE(dytype);
  TYPE(dxtype);
  SIZE(m, 0);
  if (m == 0) return 0;
  AREA(m, w->rows);
  AREA(m, w->cols);
  POINTER(dy);
  POINTER(dx);
  Call call(ctx);
  return ctx->tier->linear_input_grad(ctx, w, dy, dytype, m, dx, dxtype, accumulate);
}

int32_t pan_lora_linear(pan_context *ctx, const pan_weight *w, const float *a, const float *b, int64_t rank, float scaling, const void *x, int64_t m, float *s, void *y,
                        int32_t type, int32_t accumulate) {
  CONTEXT();
  CHECK(weight(w, __func__));
  TYPE(type);
  SIZE(rank, 1);
  AREA(rank, w->rows);
  AREA(rank, w->cols);
  SIZE(m, 0);
  if (m == 0) return 0;
  AREA(m, w->rows);
  AREA(m, w->cols);
  AREA(m, rank);
  POINTER(a);
  POINTER(b);
  POINTER(x);
  POINTER(s);
  POINTER(y);
  Call call(ctx);
  return ctx->tier->lora_linear(ctx, w, a, b, rank, scaling, x, m, s, y, type, accumulate);
}

int32_t pan_lora_linear_backward(pan_context *ctx, const pan_weight *w, const float *a, const float *b, int64_t rank, float scaling, const void *x, const float *s,
                                 const void *dy, int64_t m, float *da, float *db, void *dx, int32_t type, int32_t accumulate) {
  CONTEXT();
  CHECK(weight(w, __func__));
  TYPE(type);
  SIZE(rank, 1);
  AREA(rank, w->rows);
  AREA(rank, w->cols);
  SIZE(m, 0);
  if (m == 0) return 0;
  AREA(m, w->rows);
  AREA(m, w->cols);
  AREA(m, rank);
  POINTER(a);
  POINTER(b);
  POINTER(x);
  POINTER(s);
  POINTER(dy);
  POINTER(da);
  POINTER(db);
  POINTER(dx);
  Call call(ctx);
  return ctx->tier->lora_linear_backward(ctx, w, a, b, rank, scaling, x, s, dy, m, da, db, dx, type, accumulate);
}

int32_t pan_linear_weight_grad(pan_context *ctx, const void *dy, const void *x, int32_t type, int64_t m, int64_t n, int64_t k, float *dw) {
  CONTEXT();
  TYPE(type);
  SIZE(m, 0);
  SIZE(n, 1);
  SIZE(k, 1);
  AREA(n, k);
  if (m == 0) return 0;
  AREA(m, n);
  AREA(m, k);
  POINTER(dy);
  POINTER(x);
  POINTER(dw);
  Call call(ctx);
  return ctx->tier->linear_weight_grad(ctx, dy, x, type, m, n, k, dw);
}

// ---- 4-bit quantization --------------------------------------------------------------------------------------------------

int32_t pan_quantize4(pan_context *ctx, const void *x, int32_t type, int64_t n, int32_t block, int32_t fp4, uint8_t *packed, float *absmax) {
  CONTEXT();
  TYPE(type);
  SIZE(n, 0);
  SIZE(block, 1);
  if (n == 0) return 0;
  AREA(n, 1);
  POINTER(x);
  POINTER(packed);
  POINTER(absmax);
  Call call(ctx);
  return ctx->tier->quantize4(ctx, x, type, n, block, fp4, packed, absmax);
}

int32_t pan_dequantize(pan_context *ctx, const pan_weight *w, void *y, int32_t type) {
  CONTEXT();
  CHECK(weight(w, __func__));
  TYPE(type);
  POINTER(y);
  Call call(ctx);
  return ctx->tier->dequantize(ctx, w, y, type);
}

// ---- normalisation, positions, attention, MLP ----------------------------------------------------------------------------

int32_t pan_rms_norm(pan_context *ctx, const void *x, const float *weight, float eps, int64_t m, int64_t n, void *y, float *inv, int32_t type) {
  CONTEXT();
  TYPE(type);
  SIZE(m, 0);
  SIZE(n, 1);
  CHECK(argument(eps >= 0, __func__, "eps is negative or NaN"));
  if (m == 0) return 0;
  AREA(m, n);
  POINTER(x);
  POINTER(weight);
  POINTER(y);
  POINTER(inv);
  Call call(ctx);
  return ctx->tier->rms_norm(ctx, x, weight, eps, m, n, y, inv, type);
}

int32_t pan_rms_norm_backward(pan_context *ctx, const void *x, const float *weight, const float *inv, const void *dy, int64_t m, int64_t n, void *dx, int32_t type,
                              int32_t accumulate) {
  CONTEXT();
  TYPE(type);
  SIZE(m, 0);
  SIZE(n, 1);
  if (m == 0) return 0;
  AREA(m, n);
  POINTER(x);
  POINTER(weight);
  POINTER(inv);
  POINTER(dy);
  POINTER(dx);
  Call call(ctx);
  return ctx->tier->rms_norm_backward(ctx, x, weight, inv, dy, m, n, dx, type, accumulate);
}

int32_t pan_rms_norm_weight_grad(pan_context *ctx, const void *x, const float *inv, const void *dy, int64_t m, int64_t n, float *dweight, int32_t type) {
  CONTEXT();
  TYPE(type);
  SIZE(m, 0);
  SIZE(n, 1);
  if (m == 0) return 0;
  AREA(m, n);
  POINTER(x);
  POINTER(inv);
  POINTER(dy);
  POINTER(dweight);
  Call call(ctx);
  return ctx->tier->rms_norm_weight_grad(ctx, x, inv, dy, m, n, dweight, type);
}

int32_t pan_rope(pan_context *ctx, void *x, int32_t type, const int32_t *positions, const float *cos, const float *sin, int64_t table_rows, int64_t m, int32_t heads,
                 int32_t head_dim, int32_t inverse) {
  CONTEXT();
  TYPE(type);
  SIZE(m, 0);
  SIZE(heads, 1);
  SIZE(head_dim, 2);
  CHECK(argument(head_dim % 2 == 0, __func__, "head_dim is odd"));
  SIZE(table_rows, 0);
  if (m == 0) return 0;
  AREA(m, int64_t(heads) * head_dim);
  AREA(table_rows, head_dim);
  POINTER(x);
  POINTER(positions);
  POINTER(cos);
  POINTER(sin);
  CHECK(indices(positions, m, table_rows, __func__, "positions"));
  Call call(ctx);
  return ctx->tier->rope(ctx, x, type, positions, cos, sin, table_rows, m, heads, head_dim, inverse);
}

int32_t pan_attention(pan_context *ctx, const void *q, const void *k, const void *v, void *out, float *lse, int32_t type, const int32_t *sequences, int64_t count,
                      int32_t heads, int32_t kv_heads, int32_t head_dim, float scale) {
  CONTEXT();
  CHECK(attention_shape(type, count, heads, kv_heads, head_dim, __func__));
  if (count == 0) return 0;
  POINTER(sequences);
  CHECK(sequences_fit(sequences, count, __func__));
  POINTER(q);
  POINTER(k);
  POINTER(v);
  POINTER(out);
  POINTER(lse);
  Call call(ctx);
  return ctx->tier->attention(ctx, q, k, v, out, lse, type, sequences, count, heads, kv_heads, head_dim, scale);
}

int32_t pan_attention_backward(pan_context *ctx, const void *q, const void *k, const void *v, const void *out, const float *lse, const void *dout, void *dq, void *dk,
                               void *dv, int32_t type, const int32_t *sequences, int64_t count, int32_t heads, int32_t kv_heads, int32_t head_dim, float scale) {
  CONTEXT();
  CHECK(attention_shape(type, count, heads, kv_heads, head_dim, __func__));
  if (count == 0) return 0;
  POINTER(sequences);
  CHECK(sequences_fit(sequences, count, __func__));
  POINTER(q);
  POINTER(k);
  POINTER(v);
  POINTER(out);
  POINTER(lse);
  POINTER(dout);
  POINTER(dq);
  POINTER(dk);
  POINTER(dv);
  Call call(ctx);
  return ctx->tier->attention_backward(ctx, q, k, v, out, lse, dout, dq, dk, dv, type, sequences, count, heads, kv_heads, head_dim, scale);
}

int32_t pan_swiglu(pan_context *ctx, const void *gate, const void *up, void *y, int64_t n, int32_t type) {
  CONTEXT();
  TYPE(type);
  SIZE(n, 0);
  if (n == 0) return 0;
  AREA(n, 1);
  POINTER(gate);
  POINTER(up);
  POINTER(y);
  Call call(ctx);
  return ctx->tier->swiglu(ctx, gate, up, y, n, type);
}

int32_t pan_swiglu_backward(pan_context *ctx, const void *gate, const void *up, const void *dy, void *dgate, void *dup, int64_t n, int32_t type) {
  CONTEXT();
  TYPE(type);
  SIZE(n, 0);
  if (n == 0) return 0;
  AREA(n, 1);
  POINTER(gate);
  POINTER(up);
  POINTER(dy);
  POINTER(dgate);
  POINTER(dup);
  Call call(ctx);
  return ctx->tier->swiglu_backward(ctx, gate, up, dy, dgate, dup, n, type);
}

// ---- rows, loss, optimizer, sums -------------------------------------------------------------------------------------------

int32_t pan_gather_rows(pan_context *ctx, const pan_weight *w, const int32_t *index, int64_t m, void *y, int32_t ytype) {
  CONTEXT();
  CHECK(weight(w, __func__));
  TYPE(ytype);
  SIZE(m, 0);
  if (m == 0) return 0;
  AREA(m, w->cols);
  POINTER(index);
  POINTER(y);
  CHECK(indices(index, m, w->rows, __func__, "index"));
  Call call(ctx);
  return ctx->tier->gather_rows(ctx, w, index, m, y, ytype);
}

int32_t pan_scatter_rows(pan_context *ctx, const void *x, int32_t xtype, const int32_t *index, int64_t m, int64_t cols, void *y, int32_t ytype, int64_t y_rows,
                         int32_t accumulate) {
  CONTEXT();
  TYPE(xtype);
  TYPE(ytype);
  SIZE(m, 0);
  SIZE(cols, 1);
  SIZE(y_rows, 0);
  if (m == 0) return 0;
  AREA(m, cols);
  AREA(y_rows, cols);
  POINTER(x);
  POINTER(index);
  POINTER(y);
  CHECK(indices(index, m, y_rows, __func__, "index"));
  Call call(ctx);
  return ctx->tier->scatter_rows(ctx, x, xtype, index, m, cols, y, ytype, y_rows, accumulate);
}

int32_t pan_cross_entropy(pan_context *ctx, const float *logits, const int32_t *targets, int64_t rows, int64_t vocab, float grad_scale, float *losses, void *gradient,
                          int32_t gradient_type) {
  CONTEXT();
  if (gradient) TYPE(gradient_type);
  SIZE(rows, 0);
  SIZE(vocab, 1);
  if (rows == 0) return 0;
  AREA(rows, vocab);
  POINTER(logits);
  POINTER(targets);
  POINTER(losses);
  CHECK(argument(gradient != logits || gradient_type == PAN_F32, __func__, "the gradient may replace the logits only when it is f32"));
  CHECK(indices(targets, rows, vocab, __func__, "targets"));
  Call call(ctx);
  return ctx->tier->cross_entropy(ctx, logits, targets, rows, vocab, grad_scale, losses, gradient, gradient_type);
}

int32_t pan_adamw(pan_context *ctx, float *p, const float *g, float *m, float *v, int64_t n, float grad_scale, float lr, float beta1, float beta2, float eps,
                  float weight_decay, int64_t step) {
  CONTEXT();
  SIZE(n, 0);
  SIZE(step, 1);
  CHECK(argument(beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1, __func__, "beta1 and beta2 must be at least 0 and less than 1"));
  if (n == 0) return 0;
  AREA(n, 1);
  POINTER(p);
  POINTER(g);
  POINTER(m);
  POINTER(v);
  Call call(ctx);
  return ctx->tier->adamw(ctx, p, g, m, v, n, grad_scale, lr, beta1, beta2, eps, weight_decay, step);
}

int32_t pan_adamw8bit(pan_context *ctx, float *p, const float *g, uint8_t *m_code, uint8_t *v_code, float *m_absmax, float *v_absmax, const float *m_levels,
                      const float *v_levels, int64_t n, float grad_scale, float lr, float beta1, float beta2, float eps, float weight_decay, int64_t step) {
  CONTEXT();
  SIZE(n, 0);
  SIZE(step, 1);
  CHECK(argument(beta1 >= 0 && beta1 < 1 && beta2 >= 0 && beta2 < 1, __func__, "beta1 and beta2 must be at least 0 and less than 1"));
  if (n == 0) return 0;
  AREA(n, 1);
  POINTER(p);
  POINTER(g);
  POINTER(m_code);
  POINTER(v_code);
  POINTER(m_absmax);
  POINTER(v_absmax);
  POINTER(m_levels);
  POINTER(v_levels);
  Call call(ctx);
  if (!ctx->maps) ctx->maps = static_cast<DynamicMaps *>(calloc(1, sizeof(DynamicMaps)));
  if (!ctx->maps) return fail(PAN_ERROR_MEMORY, "%s: no memory for the tables of its 8-bit codes", __func__);
  CHECK(argument(make_dynamic_map(m_levels, &ctx->maps->m), __func__, "m_levels do not ascend, or are too close to each other for a dynamic map"));
  CHECK(argument(make_dynamic_map(v_levels, &ctx->maps->v), __func__, "v_levels do not ascend, or are too close to each other for a dynamic map"));
  return ctx->tier->adamw8bit(ctx, p, g, m_code, v_code, m_absmax, v_absmax, m_levels, v_levels, n, grad_scale, lr, beta1, beta2, eps, weight_decay, step);
}

int32_t pan_sum_of_squares(pan_context *ctx, const void *x, int32_t type, int64_t n, double *out) {
  CONTEXT();
  TYPE(type);
  SIZE(n, 0);
  POINTER(out);
  *out = 0;
  if (n == 0) return 0;
  AREA(n, 1);
  POINTER(x);
  Call call(ctx);
  return ctx->tier->sum_of_squares(ctx, x, type, n, out);
}

int32_t pan_copy(pan_context *ctx, const void *x, int32_t xtype, void *y, int32_t ytype, int64_t n, int32_t accumulate) {
  CONTEXT();
  TYPE(xtype);
  TYPE(ytype);
  SIZE(n, 0);
  if (n == 0) return 0;
  AREA(n, 1);
  POINTER(x);
  POINTER(y);
  Call call(ctx);
  return ctx->tier->copy(ctx, x, xtype, y, ytype, n, accumulate);
}
