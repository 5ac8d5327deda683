// norm.inc.h: RMS normalisation of x[M, N], its gradient, and the gradient of its weight[N].
//
//   inv[i] = 1 / sqrt(mean_j x[i,j]^2 + eps);   y = round(x * inv) * weight, rounded again (the order of the Hugging
//   Face Llama, which turns x * inv back into the model's type before it multiplies by the weight)
//   g = dy * weight, xhat = x * inv:   dx = inv * (g - xhat * mean_j(g * xhat)) (+ dx)
//   dweight[j] += sum_i dy[i,j] * xhat[i,j]
//
// A task is a range of rows, for the weight's gradient a range of columns. Sums are f32: along a row in two vectors,
// over rows in runs of 128 rows whose sums are then added, all in an order that depends on the shape only.
// Every vector is read before it is written, so y may be x, and dx may be x or dy.

template <typename T> static void rms_norm_row(const T *x, const float *weight, float eps, int64_t n, T *y, float *inv) {
  VF a = vzero(), b = vzero();
  int64_t j = 0;
  for (; j + 2 * W <= n; j += 2 * W) {
    VF u = vload(x + j), v = vload(x + j + W);
    a = vfma(u, u, a);
    b = vfma(v, v, b);
  }
  for (; j < n; j += W) {
    VF u = vload_n(x + j, n - j);
    a = vfma(u, u, a);
  }
  float r = 1.f / __builtin_sqrtf(vsum(a + b) / float(n) + eps);
  *inv = r;
  VF scale = vset(r);
  for (j = 0; j < n; j += W) vstore_n(y + j, vrounded<T>(vload_n(x + j, n - j) * scale) * vload_n(weight + j, n - j), n - j);
}

template <typename T> static void rms_norm_backward_row(const T *x, const float *weight, float inv, const T *dy, int64_t n, T *dx, bool accumulate) {
  VF scale = vset(inv), a = vzero(), b = vzero();
  int64_t j = 0;
  for (; j + 2 * W <= n; j += 2 * W) {
    a = vfma(vload(dy + j) * vload(weight + j), vload(x + j) * scale, a);
    b = vfma(vload(dy + j + W) * vload(weight + j + W), vload(x + j + W) * scale, b);
  }
  for (; j < n; j += W) a = vfma(vload_n(dy + j, n - j) * vload_n(weight + j, n - j), vload_n(x + j, n - j) * scale, a);
  VF mean = vset(vsum(a + b) / float(n));
  for (j = 0; j < n; j += W) {
    VF g = vload_n(dy + j, n - j) * vload_n(weight + j, n - j);
    VF d = scale * vfnma(vload_n(x + j, n - j) * scale, mean, g);
    if (accumulate) d = vload_n(dx + j, n - j) + d;
    vstore_n(dx + j, d, n - j);
  }
}

template <typename T> static void rms_norm_weight_columns(const T *x, const float *inv, const T *dy, int64_t m, int64_t n, int64_t begin, int64_t end, float *dweight) {
  for (int64_t j = begin; j < end; j += W) {
    VF total = vzero();
    for (int64_t run = 0; run < m; run += 128) {
      VF sum = vzero();
      for (int64_t i = run; i < min64(run + 128, m); i++) sum = vfma(vload_n(dy + i * n + j, end - j), vload_n(x + i * n + j, end - j) * vset(inv[i]), sum);
      total = total + sum;
    }
    vstore_n(dweight + j, vload_n(dweight + j, end - j) + total, end - j);
  }
}

static int32_t rms_norm(pan_context *ctx, const void *x, const float *weight, float eps, int64_t m, int64_t n, void *y, float *inv, int32_t type) {
  ranges(ctx, m, row_range(n), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      if (type == PAN_F32)
        rms_norm_row(static_cast<const float *>(x) + i * n, weight, eps, n, static_cast<float *>(y) + i * n, inv + i);
      else
        rms_norm_row(static_cast<const bf16 *>(x) + i * n, weight, eps, n, static_cast<bf16 *>(y) + i * n, inv + i);
    }
  });
  return 0;
}

static int32_t rms_norm_backward(pan_context *ctx, const void *x, const float *weight, const float *inv, const void *dy, int64_t m, int64_t n, void *dx, int32_t type,
                                 int32_t accumulate) {
  ranges(ctx, m, row_range(n), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      if (type == PAN_F32)
        rms_norm_backward_row(static_cast<const float *>(x) + i * n, weight, inv[i], static_cast<const float *>(dy) + i * n, n, static_cast<float *>(dx) + i * n,
                              accumulate != 0);
      else
        rms_norm_backward_row(static_cast<const bf16 *>(x) + i * n, weight, inv[i], static_cast<const bf16 *>(dy) + i * n, n, static_cast<bf16 *>(dx) + i * n,
                              accumulate != 0);
    }
  });
  return 0;
}

static int32_t rms_norm_weight_grad(pan_context *ctx, const void *x, const float *inv, const void *dy, int64_t m, int64_t n, float *dweight, int32_t type) {
  ranges(ctx, n, 64, [&](int64_t begin, int64_t end) {
    if (type == PAN_F32)
      rms_norm_weight_columns(static_cast<const float *>(x), inv, static_cast<const float *>(dy), m, n, begin, end, dweight);
    else
      rms_norm_weight_columns(static_cast<const bf16 *>(x), inv, static_cast<const bf16 *>(dy), m, n, begin, end, dweight);
  });
  return 0;
}
