// loss.inc.h: cross-entropy of f32 logits[rows, vocab] and its gradient.
//
//   loss = log(sum_j e^(x_j - max)) + max - x_target;   gradient = (e^(x_j - max) / sum - [j = target]) * grad_scale
//
// A task is one row: the sum is found in one pass over the row, in runs of 1,024 logits with a running maximum, and the
// gradient in a second. Within a run the sum is f32, in vectors; the runs are added in double. A row of which all logits
// are -inf gives NaN, and so does a NaN.

struct SoftmaxRow {
  float max;
  double sum;
};

static SoftmaxRow softmax_row(const float *x, int64_t n) {
  const float lowest = -__builtin_inff();
  SoftmaxRow row = {lowest, 0};
  for (int64_t run = 0; run < n; run += 1024) {
    int64_t end = min64(run + 1024, n);
    VF largest = vset(lowest);
    for (int64_t j = run; j < end; j += W) largest = vmax(largest, vkeep(vload_n(x + j, end - j), min64(end - j, W), lowest));
    float max = vhmax(largest);
    if (!(max > row.max)) max = row.max;
    // Nothing but -inf so far: -inf - -inf would be NaN, so that nothing is subtracted.
    VF shift = vset(max == lowest ? 0.f : max), a = vzero(), b = vzero();
    int64_t j = run;
    for (; j + 2 * W <= end; j += 2 * W) {
      a = a + vexp(vload(x + j) - shift);
      b = b + vexp(vload(x + j + W) - shift);
    }
    for (; j < end; j += W) a = a + vkeep(vexp(vload_n(x + j, end - j) - shift), min64(end - j, W), 0.f);
    double factor = row.max == max ? 1.0 : __builtin_exp(double(row.max) - double(max));
    row.sum = row.sum * factor + double(vsum(a + b));
    row.max = max;
  }
  return row;
}

template <typename T> static void softmax_gradient(const float *x, int64_t n, int64_t target, SoftmaxRow row, float scale, T *gradient) {
  VF shift = vset(row.max), factor = vset(float(double(scale) / row.sum));
  float at_target = float((__builtin_exp(double(x[target]) - double(row.max)) / row.sum - 1) * double(scale));
  for (int64_t j = 0; j < n; j += W) vstore_n(gradient + j, vexp(vload_n(x + j, n - j) - shift) * factor, n - j);
  gradient[target] = from_float<T>(at_target);
}

static int32_t cross_entropy(pan_context *ctx, const float *logits, const int32_t *targets, int64_t rows, int64_t vocab, float grad_scale, float *losses, void *gradient,
                             int32_t gradient_type) {
  ranges(ctx, rows, max64(1, element_range / 8 / vocab), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      const float *x = logits + i * vocab;
      SoftmaxRow row = softmax_row(x, vocab);
      losses[i] = float(__builtin_log(row.sum) + double(row.max) - double(x[targets[i]]));
      if (!gradient) continue;
      if (gradient_type == PAN_F32)
        softmax_gradient(x, vocab, targets[i], row, grad_scale, static_cast<float *>(gradient) + i * vocab);
      else
        softmax_gradient(x, vocab, targets[i], row, grad_scale, static_cast<bf16 *>(gradient) + i * vocab);
    }
  });
  return 0;
}
