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

// ---- 8-bit moments -------------------------------------------------------------------------------------------------------
// The blockwise 8-bit Adam of bitsandbytes (Dettmers et al., "8-bit Optimizers via Block-wise Quantization"): each moment is
// a code of 8 bits, m = m_levels[code] * m_absmax[i / 256] and likewise v.
//
//   h = g * grad_scale;   m = beta1 m + (1 - beta1) h;   v = beta2 v + (1 - beta2) h^2
//   p = (p - lr c2/c1 * (m / (sqrt(v) + c2 eps))) * (1 - lr * weight_decay),   c1 = 1 - beta1^t, c2 = sqrt(1 - beta2^t)
//   absmax = max |m| of the block;  code of m * (1 / absmax)
//
// p is updated with the moments as they were before coding. An element whose h^2 is not finite keeps its p, and its moments
// become 0. The largest of a block may be so small that its reciprocal is not finite: all of the block is 0 then.
// No multiplication is fused with an addition, so that every tier makes the same bits.
//
// A task is a range of whole blocks. A block's new moments wait in a buffer until its absmax is known.

// The levels of the next W codes.
PAN_INLINE VF decode(const DynamicMap &map, const uint8_t *codes) {
#if PAN_LEVEL >= 2
  return _mm512_i32gather_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)codes)), map.levels, 4);
#elif PAN_LEVEL == 1
  return _mm256_i32gather_ps(map.levels, _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)codes)), 4);
#else
  VF v;
  for (int j = 0; j < W; j++) v[j] = map.levels[codes[j]];
  return v;
#endif
}

// The larger of each two integers that are not negative. Without AVX, compilers take comparisons of vectors apart.
PAN_INLINE VI larger(VI a, VI b) {
#if PAN_LEVEL >= 2
  return (VI)_mm512_max_epi32((__m512i)a, (__m512i)b);
#elif PAN_LEVEL == 1
  return (VI)_mm256_max_epi32((__m256i)a, (__m256i)b);
#else
  VI difference = a - b;
  return a - (difference & (difference >> 31));
#endif
}

// The codes of x[256] * scale, numbers within [-1, 1]; others take the code at the end, NaN any.
static void encode_block(const DynamicMap &map, const float *x, float scale, uint8_t *codes) {
  const VI least = VI{} + (DynamicMap::first_bin << 16), most = VI{} + (DynamicMap::last_bin << 16 | 0xffff);
  for (int i = 0; i < 256; i += W) {
    VI bits = (VI)(vload(x + i) * vset(scale)), sign = bits >> 31;
    VI magnitude = larger(bits & 0x7fffffff, least);
    magnitude = most - larger(most - magnitude, VI{});
    VI index = (magnitude >> 16) - DynamicMap::first_bin + (sign & DynamicMap::bins), low = (magnitude ^ sign) & 0xffff;
#if PAN_LEVEL >= 2
    VU entry = (VU)_mm512_i32gather_epi32((__m512i)index, map.codes, 4);
#elif PAN_LEVEL == 1
    VU entry = (VU)_mm256_i32gather_epi32((const int *)map.codes, (__m256i)index, 4);
#else
    VU entry;
    for (int j = 0; j < W; j++) entry[j] = map.codes[index[j]];
#endif
    VI code = (VI)(entry & 255) - (((VI)(entry >> 16) - low) >> 31);
#if PAN_LEVEL >= 2
    _mm_storeu_si128((__m128i *)(codes + i), _mm512_cvtepi32_epi8((__m512i)code));
#elif PAN_LEVEL == 1
    __m128i pairs = _mm_packus_epi32(_mm256_castsi256_si128((__m256i)code), _mm256_extracti128_si256((__m256i)code, 1));
    _mm_storel_epi64((__m128i *)(codes + i), _mm_packus_epi16(pairs, pairs));
#else
    for (int j = 0; j < W; j++) codes[i + j] = (uint8_t)code[j];
#endif
  }
}

PAN_INLINE float reciprocal(float absmax) { return absmax >= 0x1p-126f ? 1.0f / absmax : 0.0f; }

struct Update8bit {
  float grad_scale, beta1, rest1, beta2, rest2, step_size, eps, keep;
};

// The 256 elements of a block.
static void adamw_block(const Update8bit &u, const DynamicMaps &maps, float *p, const float *g, uint8_t *m_code, uint8_t *v_code, float *m_absmax, float *v_absmax) {
  alignas(64) float m[256], v[256];
  const VF old_m = vset(*m_absmax), old_v = vset(*v_absmax);
  const VI infinity = (VI)vset(__builtin_inff());
  VI largest_m = {}, largest_v = {};
  for (int i = 0; i < 256; i += W) {
    VF h = vload(g + i) * vset(u.grad_scale);
    VF square = h * h;
    VI good = ((VI)square - infinity) >> 31;  // a square has no sign; what is not finite is not below infinity
    VF first_moment = vset(u.beta1) * (decode(maps.m, m_code + i) * old_m) + vset(u.rest1) * h;
    VF second_moment = vset(u.beta2) * (decode(maps.v, v_code + i) * old_v) + vset(u.rest2) * square;
    first_moment = (VF)((VI)first_moment & good);
    second_moment = (VF)((VI)second_moment & good);
    VF old = vload(p + i);
    VF changed = (old - vset(u.step_size) * (first_moment / (vsqrt(second_moment) + vset(u.eps)))) * vset(u.keep);
    vstore(p + i, (VF)(((VI)changed & good) | ((VI)old & ~good)));
    vstore(m + i, first_moment);
    vstore(v + i, second_moment);
    largest_m = larger(largest_m, (VI)first_moment & 0x7fffffff);
    largest_v = larger(largest_v, (VI)second_moment & 0x7fffffff);
  }
  *m_absmax = vhmax((VF)largest_m);
  *v_absmax = vhmax((VF)largest_v);
  encode_block(maps.m, m, reciprocal(*m_absmax), m_code);
  encode_block(maps.v, v, reciprocal(*v_absmax), v_code);
}

// The first n elements of a block that has no more: the others are there for the time of the update, with gradients that are
// not finite, so that they neither change nor count.
static void adamw_part(const Update8bit &u, const DynamicMaps &maps, float *p, const float *g, uint8_t *m_code, uint8_t *v_code, float *m_absmax, float *v_absmax, size_t n) {
  alignas(64) float whole_p[256] = {}, whole_g[256];
  uint8_t whole_m[256] = {}, whole_v[256] = {};
  for (int i = 0; i < 256; i++) whole_g[i] = __builtin_inff();
  memcpy(whole_p, p, 4 * n);
  memcpy(whole_g, g, 4 * n);
  memcpy(whole_m, m_code, n);
  memcpy(whole_v, v_code, n);
  adamw_block(u, maps, whole_p, whole_g, whole_m, whole_v, m_absmax, v_absmax);
  memcpy(p, whole_p, 4 * n);
  memcpy(m_code, whole_m, n);
  memcpy(v_code, whole_v, n);
}

static int32_t adamw8bit(pan_context *ctx, float *p, const float *g, uint8_t *m_code, uint8_t *v_code, float *m_absmax, float *v_absmax, const float *, const float *, int64_t n,
                         float grad_scale, float lr, float beta1, float beta2, float eps, float weight_decay, int64_t step) {
  const double correction1 = 1 - power(double(beta1), step), correction2 = __builtin_sqrt(1 - power(double(beta2), step));
  const Update8bit u = {grad_scale, beta1, float(1 - double(beta1)), beta2, float(1 - double(beta2)), float(double(lr) * correction2 / correction1), float(correction2 * double(eps)),
                        float(1 - double(lr) * double(weight_decay))};
  const DynamicMaps &maps = *ctx->maps;
  ranges(ctx, n, element_range, [&](int64_t begin, int64_t end) {
    int64_t i = begin, block = i / 256;
    for (; i + 256 <= end; i += 256, block++) adamw_block(u, maps, p + i, g + i, m_code + i, v_code + i, m_absmax + block, v_absmax + block);
    if (i < end) adamw_part(u, maps, p + i, g + i, m_code + i, v_code + i, m_absmax + block, v_absmax + block, size_t(end - i));
  });
  return 0;
}
