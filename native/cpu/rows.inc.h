// rows.inc.h: moving and summing elements: copy, scatter_rows, sum_of_squares; and `ranges`, the loop that the
// element-by-element kernels share.
//
//   copy              y[n] = x (+ y), converted; a task is a range of elements
//   scatter_rows      y[index[i], :] (+)= x[i, :]; a task is a range of columns, and walks over all rows in ascending
//                     order, so repeated indices need no atomics. A bf16 y is rounded at every row that is added.
//   sum_of_squares    in double; ranges of 65,536 elements, eight running sums in each, the ranges added in order

// Calls body(begin, end) for the ranges of n elements on the pool. The ranges are multiples of W long.
template <typename Body> struct RangeLoop {
  const Body *body;
  int64_t n, step;
  static void run(void *arg, int64_t task, int32_t) {
    const RangeLoop *loop = static_cast<const RangeLoop *>(arg);
    int64_t begin = task * loop->step;
    (*loop->body)(begin, min64(begin + loop->step, loop->n));
  }
};
template <typename Body> static void ranges(pan_context *ctx, int64_t n, int64_t step, const Body &body) {
  RangeLoop<Body> loop = {&body, n, step};
  parallel(ctx, blocks_of(n, step), RangeLoop<Body>::run, &loop);
}

// Elements per task of a loop that reads and writes each element once: below it, waking a thread costs more.
static constexpr int64_t element_range = 32768;

// Rows per task for rows of n elements.
static inline int64_t row_range(int64_t n) { return max64(1, element_range / 2 / n); }

template <typename X, typename Y> static void copy_range(const X *x, Y *y, int64_t n, bool accumulate) {
  for (int64_t i = 0; i < n; i += W) {
    VF v = vload_n(x + i, n - i);
    if (accumulate) v = vload_n(y + i, n - i) + v;
    vstore_n(y + i, v, n - i);
  }
}

static void copy_typed(const void *x, int32_t xtype, void *y, int32_t ytype, int64_t from_x, int64_t from_y, int64_t n, bool accumulate) {
  const float *xf = static_cast<const float *>(x) + from_x;
  const bf16 *xh = static_cast<const bf16 *>(x) + from_x;
  float *yf = static_cast<float *>(y) + from_y;
  bf16 *yh = static_cast<bf16 *>(y) + from_y;
  if (!accumulate && xtype == ytype)
    memmove(ytype == PAN_F32 ? static_cast<void *>(yf) : yh, xtype == PAN_F32 ? static_cast<const void *>(xf) : xh, size_t(n) * (xtype == PAN_F32 ? 4 : 2));
  else if (xtype == PAN_F32 && ytype == PAN_F32)
    copy_range(xf, yf, n, accumulate);
  else if (xtype == PAN_F32)
    copy_range(xf, yh, n, accumulate);
  else if (ytype == PAN_F32)
    copy_range(xh, yf, n, accumulate);
  else
    copy_range(xh, yh, n, accumulate);
}

static int32_t copy(pan_context *ctx, const void *x, int32_t xtype, void *y, int32_t ytype, int64_t n, int32_t accumulate) {
  ranges(ctx, n, element_range, [&](int64_t begin, int64_t end) { copy_typed(x, xtype, y, ytype, begin, begin, end - begin, accumulate != 0); });
  return 0;
}

static int32_t scatter_rows(pan_context *ctx, const void *x, int32_t xtype, const int32_t *index, int64_t m, int64_t cols, void *y, int32_t ytype, int64_t,
                            int32_t accumulate) {
  ranges(ctx, cols, 256, [&](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < m; i++) copy_typed(x, xtype, y, ytype, i * cols + begin, index[i] * cols + begin, end - begin, accumulate != 0);
  });
  return 0;
}

template <typename T> static double squares(const T *x, int64_t n) {
  double sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int64_t j = 0; j < 8; j++) {
      double v = to_float(x[i + j]);
      sums[j] += v * v;
    }
  for (int64_t j = 0; i + j < n; j++) {
    double v = to_float(x[i + j]);
    sums[j] += v * v;
  }
  return ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]));
}

static int32_t sum_of_squares(pan_context *ctx, const void *x, int32_t type, int64_t n, double *out) {
  const int64_t range = 65536;
  int64_t count = blocks_of(n, range);
  double *sums = static_cast<double *>(scratch(ctx, -1, size_t(count) * sizeof(double)));
  if (!sums) return PAN_ERROR_MEMORY;
  ranges(ctx, n, range, [&](int64_t begin, int64_t end) {
    sums[begin / range] = type == PAN_F32 ? squares(static_cast<const float *>(x) + begin, end - begin) : squares(static_cast<const bf16 *>(x) + begin, end - begin);
  });
  double total = 0;
  for (int64_t i = 0; i < count; i++) total += sums[i];
  *out = total;
  return 0;
}
