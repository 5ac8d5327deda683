// simd.h: the vector type VF of W floats and its operations, one version per tier; included inside the tier's namespace.
//
//   W = 16 (AVX-512), 8 (AVX2), 8 (portable). VF is the compiler's vector type, so + - * / work on it as well.
//   Loads and stores take float* or bf16*; the n forms touch the first min(n, W) elements and no byte beyond them
//   (missing elements read as 0). bf16 is rounded to nearest even by integer arithmetic on every tier: the instruction
//   VCVTNEPS2BF16 flushes denormals, and the tiers are to agree bit for bit. NaN stays NaN.
//   vsum and vhmax add and compare in one fixed order: upper half to lower half, down to one element.

#define PAN_INLINE static inline __attribute__((always_inline, unused))

struct bf16 {
  uint16_t bits;
};

#if PAN_LEVEL >= 2
typedef __m512 VF;
static constexpr int W = 16;
#elif PAN_LEVEL == 1
typedef __m256 VF;
static constexpr int W = 8;
#else
typedef float VF __attribute__((vector_size(32)));
static constexpr int W = 8;
#endif
typedef int32_t VI __attribute__((vector_size(4 * W)));
typedef uint32_t VU __attribute__((vector_size(4 * W)));
typedef uint16_t VH __attribute__((vector_size(2 * W)));

// ---- scalars -------------------------------------------------------------------------------------------------------

PAN_INLINE float as_float(uint32_t bits) {
  float f;
  memcpy(&f, &bits, 4);
  return f;
}
PAN_INLINE uint32_t as_bits(float f) {
  uint32_t bits;
  memcpy(&bits, &f, 4);
  return bits;
}
PAN_INLINE float to_float(float x) { return x; }
PAN_INLINE float to_float(bf16 x) { return as_float(uint32_t(x.bits) << 16); }
PAN_INLINE bf16 to_bf16(float x) {
  uint32_t u = as_bits(x);
  if (x != x) return bf16{uint16_t(u >> 16 | 0x40)};
  return bf16{uint16_t((u + 0x7fff + (u >> 16 & 1)) >> 16)};
}
// from_float<T>(x): x as an element of type T; rounded<T>(x): what is left of x when it has been stored as T.
template <typename T> PAN_INLINE T from_float(float x) {
  if constexpr (sizeof(T) == sizeof(float))
    return x;
  else
    return to_bf16(x);
}
template <typename T> PAN_INLINE float rounded(float x) { return to_float(from_float<T>(x)); }

PAN_INLINE int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
PAN_INLINE int64_t max64(int64_t a, int64_t b) { return a > b ? a : b; }
PAN_INLINE int64_t blocks_of(int64_t n, int64_t block) { return (n + block - 1) / block; }

// ---- loads and stores ----------------------------------------------------------------------------------------------

PAN_INLINE VF vzero() { return VF{}; }

#if PAN_LEVEL >= 2

PAN_INLINE __mmask16 first(int64_t n) { return n >= 16 ? __mmask16(0xffff) : __mmask16((1u << n) - 1); }
PAN_INLINE VF vset(float x) { return _mm512_set1_ps(x); }
PAN_INLINE VF vload(const float *p) { return _mm512_loadu_ps(p); }
PAN_INLINE void vstore(float *p, VF v) { _mm512_storeu_ps(p, v); }
PAN_INLINE VF vload_n(const float *p, int64_t n) { return _mm512_maskz_loadu_ps(first(n), p); }
PAN_INLINE void vstore_n(float *p, VF v, int64_t n) { _mm512_mask_storeu_ps(p, first(n), v); }
PAN_INLINE VF widen(__m256i h) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16)); }
PAN_INLINE __m256i narrow(VF v) {
  __m512i u = _mm512_castps_si512(v);
  __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  __m512i r = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd);
  r = _mm512_mask_or_epi32(r, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), u, _mm512_set1_epi32(0x400000));
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(r, 16));
}
PAN_INLINE VF vload(const bf16 *p) { return widen(_mm256_loadu_si256((const __m256i *)p)); }
PAN_INLINE void vstore(bf16 *p, VF v) { _mm256_storeu_si256((__m256i *)p, narrow(v)); }
PAN_INLINE VF vload_n(const bf16 *p, int64_t n) { return widen(_mm256_maskz_loadu_epi16(first(n), p)); }
PAN_INLINE void vstore_n(bf16 *p, VF v, int64_t n) { _mm256_mask_storeu_epi16(p, first(n), narrow(v)); }

PAN_INLINE VF vfma(VF a, VF b, VF c) { return _mm512_fmadd_ps(a, b, c); }    //  a * b + c
PAN_INLINE VF vfnma(VF a, VF b, VF c) { return _mm512_fnmadd_ps(a, b, c); }  // -a * b + c
// NaN in b is kept.
PAN_INLINE VF vmax(VF a, VF b) { return _mm512_max_ps(a, b); }
PAN_INLINE VF vmin(VF a, VF b) { return _mm512_min_ps(a, b); }
PAN_INLINE VF vsqrt(VF a) { return _mm512_sqrt_ps(a); }
PAN_INLINE __m256 upper(VF v) { return _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(v), 1)); }
PAN_INLINE __m256 lower(VF v) { return _mm512_castps512_ps256(v); }

#elif PAN_LEVEL == 1

alignas(32) static const int32_t first_mask[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
PAN_INLINE __m256i first(int64_t n) { return _mm256_loadu_si256((const __m256i *)(first_mask + 8 - min64(n, 8))); }
PAN_INLINE VF vset(float x) { return _mm256_set1_ps(x); }
PAN_INLINE VF vload(const float *p) { return _mm256_loadu_ps(p); }
PAN_INLINE void vstore(float *p, VF v) { _mm256_storeu_ps(p, v); }
PAN_INLINE VF vload_n(const float *p, int64_t n) { return _mm256_maskload_ps(p, first(n)); }
PAN_INLINE void vstore_n(float *p, VF v, int64_t n) { _mm256_maskstore_ps(p, first(n), v); }
PAN_INLINE VF widen(__m128i h) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16)); }
PAN_INLINE __m128i narrow(VF v) {
  __m256i u = _mm256_castps_si256(v);
  __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  __m256i r = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
  __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
  r = _mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(r), _mm256_castsi256_ps(quiet), _mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
  r = _mm256_srli_epi32(r, 16);
  return _mm_packus_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
}
PAN_INLINE VF vload(const bf16 *p) { return widen(_mm_loadu_si128((const __m128i *)p)); }
PAN_INLINE void vstore(bf16 *p, VF v) { _mm_storeu_si128((__m128i *)p, narrow(v)); }
PAN_INLINE VF vload_n(const bf16 *p, int64_t n) {
  if (n >= 8) return vload(p);
  bf16 t[8] = {};
  for (int64_t i = 0; i < n; i++) t[i] = p[i];
  return vload(t);
}
PAN_INLINE void vstore_n(bf16 *p, VF v, int64_t n) {
  if (n >= 8) return vstore(p, v);
  bf16 t[8];
  vstore(t, v);
  for (int64_t i = 0; i < n; i++) p[i] = t[i];
}

PAN_INLINE VF vfma(VF a, VF b, VF c) { return _mm256_fmadd_ps(a, b, c); }
PAN_INLINE VF vfnma(VF a, VF b, VF c) { return _mm256_fnmadd_ps(a, b, c); }
PAN_INLINE VF vmax(VF a, VF b) { return _mm256_max_ps(a, b); }
PAN_INLINE VF vmin(VF a, VF b) { return _mm256_min_ps(a, b); }
PAN_INLINE VF vsqrt(VF a) { return _mm256_sqrt_ps(a); }

#else

PAN_INLINE VF vset(float x) { return VF{x, x, x, x, x, x, x, x}; }
PAN_INLINE VF vload(const float *p) {
  VF v;
  memcpy(&v, p, sizeof v);
  return v;
}
PAN_INLINE void vstore(float *p, VF v) { memcpy(p, &v, sizeof v); }
PAN_INLINE VF vload_n(const float *p, int64_t n) {
  if (n >= W) return vload(p);
  VF v = {};
  for (int64_t i = 0; i < n; i++) v[i] = p[i];
  return v;
}
PAN_INLINE void vstore_n(float *p, VF v, int64_t n) {
  if (n >= W) return vstore(p, v);
  for (int64_t i = 0; i < n; i++) p[i] = v[i];
}
PAN_INLINE VF vload(const bf16 *p) {
  VH h;
  memcpy(&h, p, sizeof h);
  return (VF)(__builtin_convertvector(h, VU) << 16);
}
PAN_INLINE void vstore(bf16 *p, VF v) {
  VU u = (VU)v;
  VU nan = (VU)(v != v);
  VU r = ((u + 0x7fff + (u >> 16 & 1)) & ~nan) | ((u | 0x400000) & nan);
  VH h = __builtin_convertvector(r >> 16, VH);
  memcpy(p, &h, sizeof h);
}
PAN_INLINE VF vload_n(const bf16 *p, int64_t n) {
  if (n >= W) return vload(p);
  VF v = {};
  for (int64_t i = 0; i < n; i++) v[i] = to_float(p[i]);
  return v;
}
PAN_INLINE void vstore_n(bf16 *p, VF v, int64_t n) {
  if (n >= W) return vstore(p, v);
  for (int64_t i = 0; i < n; i++) p[i] = to_bf16(v[i]);
}

PAN_INLINE VF vfma(VF a, VF b, VF c) { return a * b + c; }  // two roundings: a scalar fma() without the instruction is a slow call
PAN_INLINE VF vfnma(VF a, VF b, VF c) { return c - a * b; }
PAN_INLINE VF vmax(VF a, VF b) { return a > b ? a : b; }
PAN_INLINE VF vmin(VF a, VF b) { return a < b ? a : b; }
PAN_INLINE VF vsqrt(VF a) {
  for (int i = 0; i < W; i++) a[i] = __builtin_sqrtf(a[i]);
  return a;
}

#endif

// ---- the same on every tier ----------------------------------------------------------------------------------------

// What is left of v when it has been stored as T.
template <typename T> PAN_INLINE VF vrounded(VF v) {
  if constexpr (sizeof(T) == sizeof(float)) return v;
#if PAN_LEVEL > 0
  return widen(narrow(v));
#else
  bf16 t[W];
  vstore(t, v);
  return vload(t);
#endif
}

// The sum and the largest of the elements of v.
PAN_INLINE float vsum(VF v) {
#if PAN_LEVEL > 0
#if PAN_LEVEL >= 2
  __m256 y = _mm256_add_ps(lower(v), upper(v));
#else
  __m256 y = v;
#endif
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
#else
  float a = v[0] + v[4], b = v[1] + v[5], c = v[2] + v[6], d = v[3] + v[7];
  return (a + c) + (b + d);
#endif
}
PAN_INLINE float vhmax(VF v) {
#if PAN_LEVEL > 0
#if PAN_LEVEL >= 2
  __m256 y = _mm256_max_ps(lower(v), upper(v));
#else
  __m256 y = v;
#endif
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(y), _mm256_extractf128_ps(y, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
#else
  float m = v[0];
  for (int i = 1; i < W; i++) m = v[i] > m ? v[i] : m;
  return m;
#endif
}

// v with the elements from n on replaced by `filler`.
PAN_INLINE VF vkeep(VF v, int64_t n, float filler) {
#if PAN_LEVEL >= 2
  return _mm512_mask_mov_ps(vset(filler), first(n), v);
#elif PAN_LEVEL == 1
  return _mm256_blendv_ps(vset(filler), v, _mm256_castsi256_ps(first(n)));
#else
  for (int64_t i = n; i < W; i++) v[i] = filler;
  return v;
#endif
}

// e^x to about one unit in the last place: x = k ln 2 + r with |r| <= ln 2 / 2, and a polynomial of degree 6 for e^r
// (relative error 3e-9, fitted to the relative error on that interval). Results above the largest number are infinite, those
// below the smallest normal number 0 (denormal ones would cost a hundred cycles each); NaN stays.
PAN_INLINE VF vexp(VF argument) {
  const VF lowest = vset(-87.336540f);
  VF x = vmin(vset(90.f), vmax(lowest, argument));
  const VF magic = vset(12582912.f);  // 1.5 * 2^23: adding it rounds to an integer
  VF shifted = vfma(x, vset(1.44269504f), magic);
  VF k = shifted - magic;
  VF r = vfnma(k, vset(0.693359375f), x);
  r = vfnma(k, vset(-2.12194440e-4f), r);
  VF p = vset(0.00138145383f);
  p = vfma(p, r, vset(0.00836874545f));
  p = vfma(p, r, vset(0.041668389f));
  p = vfma(p, r, vset(0.166665211f));
  p = vfma(p, r, vset(0.49999994f));
  p = vfma(p * r, r, r) + vset(1.f);
#if PAN_LEVEL >= 2
  return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(argument, lowest, _CMP_NLT_UQ), p, k);
#else
  VI n = (VI)shifted - (VI)magic;  // k as an integer; 2^k in two factors, each of them a normal number
  VI half = n >> 1;
  VI rest = n - half;
  VF y = p * (VF)((half + 127) << 23) * (VF)((rest + 127) << 23);
  return (VF)((VI)y & ~(VI)(argument < lowest));
#endif
}
