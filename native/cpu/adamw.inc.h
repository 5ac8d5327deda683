// adamw.inc.h: one step of AdamW (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", algorithm 2, in the order
// in which PyTorch computes it) over n parameters p with gradients g and moments m, v.
//
//   p *= 1 - lr * weight_decay;   h = g * grad_scale;   m = beta1 m + (1 - beta1) h;   v = beta2 v + (1 - beta2) h^2
//   p -= lr * (m / (1 - beta1^t)) / (sqrt(v) / sqrt(1 - beta2^t) + eps)
//
// A task is a range of elements, each of which is read and written once. f32; the factors that are the same for all
// elements are computed in double and rounded once.

// base^exponent for exponent >= 0, by squaring: the same on every C library.
static double power(double base, int64_t exponent) {
  double result = 1;
  for (; exponent > 0; exponent >>= 1, base *= base)
    if (exponent & 1) result *= base;
  return result;
}

static int32_t adamw(pan_context *ctx, float *p, const float *g, float *m, float *v, int64_t n, float grad_scale, float lr, float beta1, float beta2, float eps,
                     float weight_decay, int64_t step) {
  const float keep = float(1 - double(lr) * double(weight_decay));
  const float correction1 = float(1 - power(double(beta1), step));
  const float correction2 = float(__builtin_sqrt(1 - power(double(beta2), step)));
  const float rest1 = float(1 - double(beta1)), rest2 = float(1 - double(beta2));
  ranges(ctx, n, element_range, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += W) {
      int64_t k = end - i;
      VF h = vload_n(g + i, k) * vset(grad_scale);
      VF first_moment = vfma(vset(rest1), h, vset(beta1) * vload_n(m + i, k));
      VF second_moment = vfma(vset(rest2), h * h, vset(beta2) * vload_n(v + i, k));
      VF divisor = vsqrt(second_moment) / vset(correction2) + vset(eps);
      VF change = vset(lr) * (first_moment / vset(correction1)) / divisor;
      vstore_n(m + i, first_moment, k);
      vstore_n(v + i, second_moment, k);
      vstore_n(p + i, vload_n(p + i, k) * vset(keep) - change, k);
    }
  });
  return 0;
}
