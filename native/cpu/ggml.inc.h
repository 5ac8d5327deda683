// ggml.inc.h: weights in ggml's block formats, as GGUF files hold them: decoding of whole groups of 32 elements.
//
// Layout. A row is cols / elements blocks, one after another, without alignment; numbers are little-endian, d and m (dmin)
// are IEEE half precision. "nibbles" are 16 bytes with element j in the low half of byte j and element 16 + j in the high.
//   Q4_0  32   d, nibbles                                   (q - 8) * d
//   Q4_1  32   d, m, nibbles                                q * d + m
//   Q5_0  32   d, fifth bits (bit j: element j), nibbles    (q - 16) * d
//   Q5_1  32   d, m, fifth bits, nibbles                    q * d + m
//   Q8_0  32   d, 32 signed bytes                           q * d
//   Q4_K  256  d, dmin, 12 bytes of scales, 128 bytes       (d * scale) * q - dmin * minimum
//   Q5_K  256  d, dmin, 12 bytes of scales, 32 bytes of fifth bits, 128 bytes; the same
//   Q6_K  256  128 bytes, 64 bytes of two high bits, 16 signed scales, d     (d * scale) * (q - 32)
// Q4_K, Q5_K: group g of 32 elements has its low 4 bits in bytes 32 (g / 2) ..., in the low halves if g is even; the fifth bit
// of its element j is bit g of byte j. Scales and minima have 6 bits, whose upper two, for groups 4 to 7, stand
// above those of groups 0 to 3. Q6_K: group g is quarter q = g % 4 of half h = g / 4; its low 4 bits are in bytes 64 h + 32 (q % 2) ...,
// in the low halves if q < 2; its high bits are bits 2 q, 2 q + 1 of bytes 32 h ...; every 16 elements have a scale.
//
// Numerics. The operations above in f32, each rounded: the values of ggml's dequantize_row_* bit for bit. So the multiplication
// and the addition of Q4_1 and its like must not be fused, and -minimum is added (the same as subtracting it).
//
// Speed. Where codes have 4 bits and vectors 16 lanes, the 16 values of a group are computed (and rounded) once and looked up,
// as for bitsandbytes' codes (quant4.inc.h); else codes become numbers by integer operations and a conversion.

// ---- half precision ------------------------------------------------------------------------------------------------------

struct half {
  uint16_t bits;
};

PAN_INLINE float to_float(half x) {
#if PAN_LEVEL >= 1
  return _cvtsh_ss(x.bits);
#else
  uint32_t magnitude = (uint32_t)(x.bits & 0x7fff) << 13, sign = (uint32_t)(x.bits & 0x8000) << 16;
  if (magnitude >= 0x0f800000u) return as_float(sign | 0x70000000u | magnitude);  // infinite, NaN
  if (magnitude < 0x00800000u) return as_float(sign | as_bits(as_float(magnitude + 0x38800000u) - as_float(0x38800000u)));
  return as_float(sign | (magnitude + 0x38000000u));
#endif
}

PAN_INLINE VF vload(const half *p) {
#if PAN_LEVEL >= 2
  return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
#elif PAN_LEVEL == 1
  return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
#else
  VF v;
  for (int i = 0; i < W; i++) v[i] = to_float(p[i]);
  return v;
#endif
}
PAN_INLINE VF vload_n(const half *p, int64_t n) {
  if (n >= W) return vload(p);
  half t[W] = {};
  memcpy(t, p, (size_t)n * sizeof(half));
  return vload(t);
}

// The halves in the lower 16 bits of each lane; the upper bits are ignored.
PAN_INLINE VF halves_to_floats(VU v) {
#if PAN_LEVEL >= 2
  return _mm512_cvtph_ps(_mm512_cvtepi32_epi16((__m512i)v));
#elif PAN_LEVEL == 1
  __m256i low = (__m256i)(v & 0xffffu);
  return _mm256_cvtph_ps(_mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1)));
#else
  VF r;
  for (int i = 0; i < W; i++) r[i] = to_float(half{(uint16_t)v[i]});
  return r;
#endif
}

PAN_INLINE float half_at(const uint8_t *p) {
  half x;
  memcpy(&x, p, sizeof x);
  return to_float(x);
}

// ---- the formats -----------------------------------------------------------------------------------------------------------

struct BlockShape {
  int64_t elements, bytes;
};

// Elements and bytes of a block; {0, 0} for what is none of ggml's block formats.
constexpr BlockShape block_shape(int32_t format) {
  switch (format) {
    case PAN_Q4_0: return {32, 18};
    case PAN_Q4_1: return {32, 20};
    case PAN_Q5_0: return {32, 22};
    case PAN_Q5_1: return {32, 24};
    case PAN_Q8_0: return {32, 34};
    case PAN_Q4_K: return {256, 144};
    case PAN_Q5_K: return {256, 176};
    case PAN_Q6_K: return {256, 210};
    default: return {0, 0};
  }
}
PAN_INLINE bool has_blocks(int32_t format) { return format >= PAN_Q4_0 && format <= PAN_Q6_K; }

// Whether a value is q * scale + minimum, not q * scale.
constexpr bool has_minimum(int32_t format) { return format == PAN_Q4_1 || format == PAN_Q5_1 || format == PAN_Q4_K || format == PAN_Q5_K; }

// ---- decoding along a row ----------------------------------------------------------------------------------------------------

PAN_INLINE VF to_floats(VI v) {
#if PAN_LEVEL >= 2
  return _mm512_cvtepi32_ps((__m512i)v);
#elif PAN_LEVEL == 1
  return _mm256_cvtepi32_ps((__m256i)v);
#else
  return __builtin_convertvector(v, VF);
#endif
}

// W bytes, one per lane.
PAN_INLINE VU load_bytes(const uint8_t *p) {
#if PAN_LEVEL >= 2
  return (VU)_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)p));
#elif PAN_LEVEL == 1
  return (VU)_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
#else
  VU v;
  for (int i = 0; i < W; i++) v[i] = p[i];
  return v;
#endif
}

constexpr float kCodes[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
constexpr float kCentredCodes[16] = {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7};

// code * scale + minimum, the latter where the format has one, rounded to bf16 values if kRound.
template <int32_t kFormat, bool kRound>
PAN_INLINE VF scaled(VF code, VF scale, VF minimum) {
  VF v = code * scale;
  if (has_minimum(kFormat)) v = v + minimum;
  return kRound ? (VF)round_bf16((VU)v) : v;
}

// Scales and minima (to be added) of a block: one of each, or one for each group, or (Q6_K) a scale for each half of a group.
template <int32_t kFormat>
struct BlockScales {
  alignas(64) float d[16], m[16];
  inline void load(const uint8_t *block);
  inline float scale(int group, int i) const { return d[kFormat == PAN_Q6_K ? 2 * group + i / 16 : group]; }
  inline float minimum(int group) const { return has_minimum(kFormat) ? m[kFormat == PAN_Q4_K || kFormat == PAN_Q5_K ? 8 + group : 0] : 0; }
};

template <int32_t kFormat>
inline void BlockScales<kFormat>::load(const uint8_t *block) {
  if constexpr (kFormat == PAN_Q6_K) {
    for (int i = 0; i < 16; i += W) vstore(d + i, to_floats((VI)(load_bytes(block + 192 + i) << 24) >> 24) * vset(half_at(block + 208)));
  } else if constexpr (kFormat == PAN_Q4_K || kFormat == PAN_Q5_K) {
    uint32_t packed[3], bytes[4];  // bytes: scales 0 to 3, 4 to 7, minima 0 to 3, 4 to 7
    memcpy(packed, block + 4, 12);
    for (int i = 0; i < 2; i++) {
      bytes[2 * i] = packed[i] & 0x3f3f3f3fu;
      bytes[2 * i + 1] = (packed[2] >> 4 * i & 0x0f0f0f0fu) | (packed[i] >> 2 & 0x30303030u);
    }
    for (int i = 0; i < 16; i += W) {
      VF v = to_floats((VI)load_bytes((const uint8_t *)bytes + i));
      vstore(d + i, v * vset(half_at(block)));
      vstore(m + i, v * vset(-half_at(block + 2)));
    }
  } else {
    d[0] = half_at(block);
    if (has_minimum(kFormat)) m[0] = half_at(block + 2);
  }
}

// The codes of elements i to i + W of a group, less their offset; not for the formats of 4 bits.
template <int32_t kFormat>
PAN_INLINE VI group_codes(const uint8_t *block, int group, int i) {
  if constexpr (kFormat == PAN_Q5_0 || kFormat == PAN_Q5_1) {
    constexpr int kBits = kFormat == PAN_Q5_0 ? 2 : 4;
    uint32_t bits;
    memcpy(&bits, block + kBits, 4);
    VU low = load_bytes(block + kBits + 4 + i % 16) >> (i / 16 * 4) & 15;
#if PAN_LEVEL >= 2
    VI code = (VI)_mm512_mask_add_epi32((__m512i)low, (__mmask16)(bits >> i), (__m512i)low, _mm512_set1_epi32(16));
#else
    const VU lane_bit = {1, 2, 4, 8, 16, 32, 64, 128};
    VI code = (VI)(low + ((VU)((((VU){} + (bits >> i)) & lane_bit) != 0) & 16));
#endif
    return kFormat == PAN_Q5_0 ? code - 16 : code;
  } else if constexpr (kFormat == PAN_Q8_0) {
#if PAN_LEVEL >= 2
    return (VI)_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(block + 2 + i)));
#else
    return (VI)(load_bytes(block + 2 + i) << 24) >> 24;
#endif
  } else if constexpr (kFormat == PAN_Q5_K) {
    VU high = load_bytes(block + 16 + i) >> group << 4 & 16;
    return (VI)((load_bytes(block + 48 + group / 2 * 32 + i) >> group % 2 * 4 & 15) | high);
  } else {
    static_assert(kFormat == PAN_Q6_K);
    int part = group / 4, quarter = group % 4;
    VU high = load_bytes(block + 128 + part * 32 + i) >> 2 * quarter << 4 & 48;
    return (VI)((load_bytes(block + part * 64 + quarter % 2 * 32 + i) >> quarter / 2 * 4 & 15) | high) - 32;
  }
}

// out[0 .. 32) = the group's values as T, rounded to bf16 values if kRound.
template <int32_t kFormat, bool kRound, typename T>
PAN_INLINE void decode_group(const uint8_t *block, const BlockScales<kFormat> &scales, int group, T *out) {
  VF m = vset(scales.minimum(group));
  if constexpr (kFormat == PAN_Q4_0 || kFormat == PAN_Q4_1 || kFormat == PAN_Q4_K) {
    constexpr bool kSplit = kFormat != PAN_Q4_K;  // elements 16 to 31 are the high halves of the bytes of 0 to 15
    const uint8_t *p = block + (kFormat == PAN_Q4_0 ? 2 : kFormat == PAN_Q4_1 ? 4 : 16 + group / 2 * 32);
    VF d = vset(scales.scale(group, 0));
#if PAN_LEVEL >= 2
    Levels values;
    values.all = scaled<kFormat, kRound>(vload(kFormat == PAN_Q4_0 ? kCentredCodes : kCodes), d, m);
#endif
    for (int i = 0; i < 32; i += W) {
      VU codes = load_bytes(p + (kSplit ? i % 16 : i)) >> (kSplit ? i / 16 * 4 : group % 2 * 4);
#if PAN_LEVEL >= 2
      vstore(out + i, look_up(values, codes));
#else
      vstore(out + i, scaled<kFormat, kRound>(to_floats((VI)(codes & 15) - (kFormat == PAN_Q4_0 ? 8 : 0)), d, m));
#endif
    }
  } else {
    for (int i = 0; i < 32; i += W)
      vstore(out + i, scaled<kFormat, kRound>(to_floats(group_codes<kFormat>(block, group, i)), vset(scales.scale(group, i)), m));
  }
}

// Elements [from, to) of a group, not all of it.
template <int32_t kFormat, bool kRound, typename T>
static __attribute__((noinline)) void decode_part(const uint8_t *block, const BlockScales<kFormat> &scales, int group, int64_t from, int64_t to, T *out) {
  T values[32];
  decode_group<kFormat, kRound>(block, scales, group, values);
  memcpy(out, values + from, (size_t)(to - from) * sizeof(T));
}

template <int32_t kFormat, bool kRound, typename T>
static void decode_format(const uint8_t *data, int64_t start, int64_t count, T *out) {
  constexpr BlockShape kShape = block_shape(kFormat);
  const uint8_t *block = data + start / kShape.elements * kShape.bytes;
  // The range [from, to), counted from the beginning of the present block, which it may begin before and end after.
  int64_t from = start % kShape.elements, to = from + count;
  for (; to > 0; from -= kShape.elements, to -= kShape.elements, block += kShape.bytes) {
    BlockScales<kFormat> scales;
    scales.load(block);
#pragma GCC unroll 8
    for (int group = 0; group < kShape.elements / 32; group++) {
      int64_t first = max64(from - 32 * group, 0), last = min64(to - 32 * group, 32);
      if (first >= last) continue;
      T *to_out = out + (32 * group + first - from);
      if (last - first == 32) decode_group<kFormat, kRound>(block, scales, group, to_out);
      else decode_part<kFormat, kRound>(block, scales, group, first, last, to_out);
    }
  }
}

// out[0 .. count) = the values of the flattened elements, as they are stored, from `start` on; rounded to bf16 values if kRound.
template <bool kRound, typename T>
static void decode_blocks(const pan_weight *w, int64_t start, int64_t count, T *out) {
  const uint8_t *data = (const uint8_t *)w->data;
  switch (w->format) {
    case PAN_Q4_0: return decode_format<PAN_Q4_0, kRound>(data, start, count, out);
    case PAN_Q4_1: return decode_format<PAN_Q4_1, kRound>(data, start, count, out);
    case PAN_Q5_0: return decode_format<PAN_Q5_0, kRound>(data, start, count, out);
    case PAN_Q5_1: return decode_format<PAN_Q5_1, kRound>(data, start, count, out);
    case PAN_Q8_0: return decode_format<PAN_Q8_0, kRound>(data, start, count, out);
    case PAN_Q4_K: return decode_format<PAN_Q4_K, kRound>(data, start, count, out);
    case PAN_Q5_K: return decode_format<PAN_Q5_K, kRound>(data, start, count, out);
    default: return decode_format<PAN_Q6_K, kRound>(data, start, count, out);
  }
}
