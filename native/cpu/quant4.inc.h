// quant4.inc.h: 4-bit weights (NF4 and FP4 of bitsandbytes): decoding and quantizing.
//
// Layout. The matrix is flattened row-major; element 2j is the high nibble of byte j. Every `block` elements share one
// absmax; blocks are counted along the flattened matrix, so that they run across row ends when cols % block != 0, and a
// row may start in the middle of a byte when cols is odd.
//
// Mathematics. value = levels[code] * absmax, in f32, rounded once to the output type. A nested absmax is
// code_levels[c] * scale, rounded, + offset, rounded (no fused multiply-add: bitsandbytes has none, and decoded bytes
// must agree in every bit; the build therefore forbids contraction).
//
// Why a table per block. All elements of a block share absmax, so the 16 possible values are multiplied (and, where
// asked, rounded to bf16) once per block, and an element costs one look-up in registers: one VPERMPS with 512-bit
// vectors (it reads only the low four bits of an index, so the nibbles need no masking), two and a blend with AVX2.

// f32 bits rounded to the nearest bf16 (ties to even), still as f32 bits. Finite and infinite values only.
PAN_INLINE VU round_bf16(VU v) { return (v + 0x7fffu + ((v >> 16) & 1u)) & 0xffff0000u; }

template <typename From, typename To>
static void convert(const From *x, int64_t n, To *y) {
  int64_t i = 0;
  for (; i + W <= n; i += W) vstore(y + i, vload(x + i));
  if (i < n) vstore_n(y + i, vload_n(x + i, n - i), n - i);
}

static void load_floats(const void *x, int32_t type, int64_t at, int64_t count, float *out) {
  if (type == PAN_BF16) convert((const bf16 *)x + at, count, out);
  else memcpy(out, (const float *)x + at, (size_t)count * 4);
}

// ---- decoding ----------------------------------------------------------------------------------------------------------

PAN_INLINE float block_scale(const pan_weight *w, int64_t block) {
  if (w->absmax) return w->absmax[block];
  float scaled = w->code_levels[w->absmax_code[block]] * w->absmax_scale[block / 256];
  return scaled + w->absmax_offset;
}

// The 16 values of a block (or the 16 levels themselves, with scale 1), for look-ups by vectors of codes.
struct Levels {
#if PAN_LEVEL >= 2
  VF all;
#elif PAN_LEVEL == 1
  VF low, high;
#else
  float all[16];
#endif
};

PAN_INLINE Levels make_levels(const float *levels, float scale, bool round) {
  Levels t;
#if PAN_LEVEL >= 2
  t.all = vload(levels) * vset(scale);
  if (round) t.all = (VF)round_bf16((VU)t.all);
#elif PAN_LEVEL == 1
  t.low = vload(levels) * vset(scale);
  t.high = vload(levels + 8) * vset(scale);
  if (round) t.low = (VF)round_bf16((VU)t.low), t.high = (VF)round_bf16((VU)t.high);
#else
  for (int i = 0; i < 16; i += W) {
    VF v = vload(levels + i) * vset(scale);
    vstore(t.all + i, round ? (VF)round_bf16((VU)v) : v);
  }
#endif
  return t;
}

// The values of the codes in the low four bits of each lane; higher bits are ignored.
PAN_INLINE VF look_up(const Levels &t, VU codes) {
#if PAN_LEVEL >= 2
  return _mm512_permutexvar_ps((__m512i)codes, t.all);
#elif PAN_LEVEL == 1
  __m256 low = _mm256_permutevar8x32_ps(t.low, (__m256i)codes), high = _mm256_permutevar8x32_ps(t.high, (__m256i)codes);
  return _mm256_blendv_ps(low, high, (__m256)(codes << 28));
#else
  VF v;
  for (int i = 0; i < W; i++) v[i] = t.all[codes[i] & 15];
  return v;
#endif
}

// out[0 .. 2*bytes) = the values of `bytes` bytes.
PAN_INLINE void decode_bytes(const Levels &t, const uint8_t *p, int64_t bytes, float *out) {
#if PAN_LEVEL >= 2
  // 16 bytes, one per lane: the low nibbles are the odd elements, the high ones the even ones. The bytes are first put
  // in the order in which the interleaving within 128-bit lanes (VUNPCKLPS, VUNPCKHPS) gives 32 elements in sequence.
  const __m128i order = _mm_setr_epi8(0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7, 14, 15);
  for (; bytes > 0; bytes -= 16, p += 16, out += 32) {
    bool whole = bytes >= 16;
    __m128i packed = whole ? _mm_loadu_si128((const __m128i *)p) : _mm_maskz_loadu_epi8((__mmask16)((1u << bytes) - 1), p);
    VU codes = (VU)_mm512_cvtepu8_epi32(_mm_shuffle_epi8(packed, order));
    __m512 even = look_up(t, codes >> 4), odd = look_up(t, codes);
    __m512 first = _mm512_unpacklo_ps(even, odd), second = _mm512_unpackhi_ps(even, odd);
    if (whole) {
      _mm512_storeu_ps(out, first);
      _mm512_storeu_ps(out + 16, second);
    } else {
      uint32_t mask = (1u << 2 * bytes) - 1;
      _mm512_mask_storeu_ps(out, (__mmask16)mask, first);
      _mm512_mask_storeu_ps(out + 16, (__mmask16)(mask >> 16), second);
    }
  }
#elif PAN_LEVEL == 1
  const __m128i order = _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, -1, -1, -1, -1, -1, -1, -1, -1);
  for (; bytes > 0; bytes -= 8, p += 8, out += 16) {
    uint64_t packed = 0;
    if (bytes >= 8) memcpy(&packed, p, 8);
    else for (int i = 0; i < (int)bytes; i++) packed |= (uint64_t)p[i] << 8 * i;
    VU codes = (VU)_mm256_cvtepu8_epi32(_mm_shuffle_epi8(_mm_cvtsi64_si128((int64_t)packed), order));
    __m256 even = look_up(t, codes >> 4), odd = look_up(t, codes);
    __m256 first = _mm256_unpacklo_ps(even, odd), second = _mm256_unpackhi_ps(even, odd);
    if (bytes >= 8) {
      _mm256_storeu_ps(out, first);
      _mm256_storeu_ps(out + 8, second);
    } else {
      float last[16];
      _mm256_storeu_ps(last, first);
      _mm256_storeu_ps(last + 8, second);
      for (int i = 0; i < 2 * (int)bytes; i++) out[i] = last[i];
    }
  }
#else
  for (int64_t i = 0; i < bytes; i++) {
    out[2 * i] = t.all[p[i] >> 4];
    out[2 * i + 1] = t.all[p[i] & 15];
  }
#endif
}

PAN_INLINE float decode_one(const Levels &t, uint32_t code) {
#if PAN_LEVEL >= 1
  VU codes = (VU)vzero() + code;
  return look_up(t, codes)[0];
#else
  return t.all[code & 15];
#endif
}

// out[0 .. count) = the values of the flattened elements from `start` on, in f32, rounded to bf16 values if `round`.
static void decode_4bit(const pan_weight *w, int64_t start, int64_t count, float *out, bool round) {
  const uint8_t *data = (const uint8_t *)w->data;
  int64_t i = start, end = start + count;
  for (int64_t block = i / w->block; i < end; block++) {
    int64_t stop = (block + 1) * w->block;
    if (stop > end) stop = end;
    Levels t = make_levels(w->levels, block_scale(w, block), round);
    if (i & 1) {
      *out++ = decode_one(t, data[i >> 1] & 15);
      i++;
    }
    int64_t bytes = (stop - i) / 2;
    if (bytes > 0) {
      decode_bytes(t, data + (i >> 1), bytes, out);
      out += 2 * bytes;
      i += 2 * bytes;
    }
    if (i < stop) {
      *out++ = decode_one(t, data[i >> 1] >> 4);
      i++;
    }
  }
}

// ---- pan_quantize4 ---------------------------------------------------------------------------------------------------
// absmax = max |x| of the block; v = x * (1/absmax); then the nearest value: with the 16 values in ascending order, the
// number of midpoints strictly below v. This is what bitsandbytes does on a CPU, midpoints computed in f32 included; its
// CUDA kernel has them as decimal constants, some of which differ in the last bit. A block of zeros takes v = 0: NF4
// code 7, FP4 code 0.

struct Midpoints {
  float at[15];
};

constexpr Midpoints midpoints(const float *ascending) {
  Midpoints m = {};
  for (int i = 0; i < 15; i++) m.at[i] = (ascending[i] + ascending[i + 1]) / 2;
  return m;
}

constexpr float kNf4Values[16] = {-1.0f,
                                  -0.6961928009986877f,
                                  -0.5250730514526367f,
                                  -0.39491748809814453f,
                                  -0.28444138169288635f,
                                  -0.18477343022823334f,
                                  -0.09105003625154495f,
                                  0.0f,
                                  0.07958029955625534f,
                                  0.16093020141124725f,
                                  0.24611230194568634f,
                                  0.33791524171829224f,
                                  0.44070982933044434f,
                                  0.5626170039176941f,
                                  0.7229568362236023f,
                                  1.0f};
// FP4 has 0 twice, as codes 0 and 8; bitsandbytes sorts 0 first.
constexpr float kFp4Values[16] = {-1.0f, -8 / 12.0f,     -6 / 12.0f, -4 / 12.0f, -3 / 12.0f, -2 / 12.0f, -0.0625f / 12, 0.0f,
                                  0.0f,  0.0625f / 12,   2 / 12.0f,  3 / 12.0f,  4 / 12.0f,  6 / 12.0f,  8 / 12.0f,     1.0f};
constexpr uint8_t kNf4Codes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
constexpr uint8_t kFp4Codes[16] = {11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3};
constexpr Midpoints kNf4Midpoints = midpoints(kNf4Values), kFp4Midpoints = midpoints(kFp4Values);

constexpr int64_t kConvertChunk = 1 << 15;  // elements per task; even, so that tasks share no byte of 4-bit codes
constexpr int64_t kQuantBuffer = 256;  // elements coded at a time; even

struct Quantization {
  const void *x;
  int32_t type, fp4;
  int64_t n, block, blocks_per_task;
  uint8_t *packed;
  float *absmax;
};

static void quantize_task(void *arg, int64_t task, int32_t) {
  const Quantization *q = (const Quantization *)arg;
  float v[kQuantBuffer];
  int32_t code[kQuantBuffer];
  const float *midpoint = q->fp4 ? kFp4Midpoints.at : kNf4Midpoints.at;
  const uint8_t *codes = q->fp4 ? kFp4Codes : kNf4Codes;
  int64_t first = task * q->blocks_per_task, last = first + q->blocks_per_task, blocks = (q->n + q->block - 1) / q->block;
  if (last > blocks) last = blocks;
  for (int64_t b = first; b < last; b++) {
    int64_t start = b * q->block, end = start + q->block < q->n ? start + q->block : q->n;
    float largest = 0;
    for (int64_t i = start; i < end; i += kQuantBuffer) {
      int64_t n = end - i < kQuantBuffer ? end - i : kQuantBuffer;
      load_floats(q->x, q->type, i, n, v);
      for (int64_t j = 0; j < n; j++) {
        float a = v[j] < 0 ? -v[j] : v[j];
        largest = a > largest ? a : largest;
      }
    }
    q->absmax[b] = largest;
    float inverse = largest > 0 ? 1.0f / largest : 0.0f;
    for (int64_t i = start; i < end; i += kQuantBuffer) {
      int64_t n = end - i < kQuantBuffer ? end - i : kQuantBuffer;
      if (end - start > kQuantBuffer) load_floats(q->x, q->type, i, n, v);  // else v still holds the block
      for (int64_t j = 0; j < n; j++) v[j] *= inverse;
      if (n & 1) v[n] = 0;  // the partner of the last element; n < kQuantBuffer, which is even
      int64_t even = n + (n & 1);
      for (int64_t j = 0; j < even; j++) code[j] = 0;
      for (int p = 0; p < 15; p++)
        for (int64_t j = 0; j < even; j++) code[j] += v[j] > midpoint[p];
      for (int64_t j = 0; j < even; j += 2) q->packed[(i + j) >> 1] = (uint8_t)(codes[code[j]] << 4 | codes[code[j + 1]]);
    }
  }
}

static int32_t quantize4(pan_context *ctx, const void *x, int32_t type, int64_t n, int32_t block, int32_t fp4, uint8_t *packed, float *absmax) {
  if (block < 2 || block % 2 != 0) return fail(PAN_ERROR_ARGUMENT, "a block of %d elements is not a positive even number", (int)block);
  if (n == 0) return 0;
  int64_t blocks = (n + block - 1) / block, per_task = 1 + kConvertChunk / block;
  Quantization q = {x, type, fp4, n, block, per_task, packed, absmax};
  parallel(ctx, (blocks + per_task - 1) / per_task, quantize_task, &q);
  return 0;
}
