// swiglu.inc.h: the gated activation of the MLP, element by element over n elements.
//
//   sigma = 1 / (1 + e^-gate), silu = gate * sigma:   y = round(silu) * up, rounded again (the activation is a tensor of
//   the model's type of its own in Hugging Face's Llama)
//   dup = dy * round(silu);   dgate = dy * up * sigma * (1 + gate * (1 - sigma))
//
// A task is a range of elements. Arithmetic is f32. Every vector is read before it is written.

template <typename T> static void swiglu_range(const T *gate, const T *up, T *y, int64_t n) {
  for (int64_t i = 0; i < n; i += W) {
    VF g = vload_n(gate + i, n - i);
    VF silu = g / (vset(1.f) + vexp(-g));
    vstore_n(y + i, vrounded<T>(silu) * vload_n(up + i, n - i), n - i);
  }
}

template <typename T> static void swiglu_backward_range(const T *gate, const T *up, const T *dy, T *dgate, T *dup, int64_t n) {
  const VF one = vset(1.f);
  for (int64_t i = 0; i < n; i += W) {
    VF g = vload_n(gate + i, n - i), u = vload_n(up + i, n - i), d = vload_n(dy + i, n - i);
    VF e = one + vexp(-g);
    VF sigma = one / e;
    vstore_n(dup + i, d * vrounded<T>(g / e), n - i);
    vstore_n(dgate + i, d * u * sigma * vfma(g, one - sigma, one), n - i);
  }
}

static int32_t swiglu(pan_context *ctx, const void *gate, const void *up, void *y, int64_t n, int32_t type) {
  ranges(ctx, n, element_range, [&](int64_t begin, int64_t end) {
    if (type == PAN_F32)
      swiglu_range(static_cast<const float *>(gate) + begin, static_cast<const float *>(up) + begin, static_cast<float *>(y) + begin, end - begin);
    else
      swiglu_range(static_cast<const bf16 *>(gate) + begin, static_cast<const bf16 *>(up) + begin, static_cast<bf16 *>(y) + begin, end - begin);
  });
  return 0;
}

static int32_t swiglu_backward(pan_context *ctx, const void *gate, const void *up, const void *dy, void *dgate, void *dup, int64_t n, int32_t type) {
  ranges(ctx, n, element_range, [&](int64_t begin, int64_t end) {
    if (type == PAN_F32)
      swiglu_backward_range(static_cast<const float *>(gate) + begin, static_cast<const float *>(up) + begin, static_cast<const float *>(dy) + begin,
                            static_cast<float *>(dgate) + begin, static_cast<float *>(dup) + begin, end - begin);
    else
      swiglu_backward_range(static_cast<const bf16 *>(gate) + begin, static_cast<const bf16 *>(up) + begin, static_cast<const bf16 *>(dy) + begin,
                            static_cast<bf16 *>(dgate) + begin, static_cast<bf16 *>(dup) + begin, end - begin);
  });
  return 0;
}
