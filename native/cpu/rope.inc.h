// rope.inc.h: rotary positions, in place on x[M, heads, d].
//
//   With c = cos[position, j], s = sin[position, j], j < d/2, every pair (a, b) = (x[j], x[j + d/2]) of every head
//   becomes (a c - b s, b c + a s); the inverse, which is also the gradient, has -s. Computed in f32, rounded once.
// A task is a range of rows.

template <typename T> static void rope_row(T *x, const float *cos, const float *sin, int64_t heads, int64_t half, bool inverse) {
  for (int64_t h = 0; h < heads; h++, x += 2 * half)
    for (int64_t j = 0; j < half; j += W) {
      int64_t n = half - j;
      VF c = vload_n(cos + j, n), s = vload_n(sin + j, n);
      if (inverse) s = -s;
      VF a = vload_n(x + j, n), b = vload_n(x + half + j, n);
      vstore_n(x + j, vfnma(b, s, a * c), n);
      vstore_n(x + half + j, vfma(a, s, b * c), n);
    }
}

static int32_t rope(pan_context *ctx, void *x, int32_t type, const int32_t *positions, const float *cos, const float *sin, int64_t, int64_t m, int32_t heads, int32_t head_dim,
                    int32_t inverse) {
  int64_t cols = int64_t(heads) * head_dim, half = head_dim / 2;
  ranges(ctx, m, row_range(cols), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      const float *c = cos + positions[i] * half, *s = sin + positions[i] * half;
      if (type == PAN_F32)
        rope_row(static_cast<float *>(x) + i * cols, c, s, heads, half, inverse != 0);
      else
        rope_row(static_cast<bf16 *>(x) + i * cols, c, s, heads, half, inverse != 0);
    }
  });
  return 0;
}
