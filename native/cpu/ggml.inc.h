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

// The codes of elements i to i + W of group `group` of the block, less their offset.
template <int32_t kFormat>
PAN_INLINE VI group_codes(const uint8_t *block, int group, int i) {
  int nibble = i / 16 * 4;
  if constexpr (kFormat == PAN_Q4_0) {
    return (VI)(load_bytes(block + 2 + i % 16) >> nibble & 15) - 8;
  } else if constexpr (kFormat == PAN_Q4_1) {
    return (VI)(load_bytes(block + 4 + i % 16) >> nibble & 15);
  } else if constexpr (kFormat == PAN_Q5_0 || kFormat == PAN_Q5_1) {
    constexpr int kBits = kFormat == PAN_Q5_0 ? 2 : 4;
    uint32_t bits;
    memcpy(&bits, block + kBits, 4);
    VU lane;
    for (int j = 0; j < W; j++) lane[j] = (uint32_t)j;
    VU high = ((VU){} + (bits >> i)) >> lane & 1;
    VI code = (VI)((load_bytes(block + kBits + 4 + i % 16) >> nibble & 15) | high << 4);
    return kFormat == PAN_Q5_0 ? code - 16 : code;
  } else if constexpr (kFormat == PAN_Q8_0) {
    return (VI)(load_bytes(block + 2 + i) << 24) >> 24;
  } else if constexpr (kFormat == PAN_Q4_K) {
    return (VI)(load_bytes(block + 16 + group / 2 * 32 + i) >> group % 2 * 4 & 15);
  } else if constexpr (kFormat == PAN_Q5_K) {
    VU high = load_bytes(block + 16 + i) >> group & 1;
    return (VI)((load_bytes(block + 48 + group / 2 * 32 + i) >> group % 2 * 4 & 15) | high << 4);
  } else {
    int part = group / 4, quarter = group % 4;
    VU high = load_bytes(block + 128 + part * 32 + i) >> 2 * quarter & 3;
    return (VI)((load_bytes(block + part * 64 + quarter % 2 * 32 + i) >> quarter / 2 * 4 & 15) | high << 4) - 32;
  }
}

struct Scale {
  float d, m;
};

// Scale and minimum (to be added) of elements i ... of the group.
template <int32_t kFormat>
PAN_INLINE Scale group_scale(const uint8_t *block, int group, int i) {
  if constexpr (kFormat == PAN_Q4_0 || kFormat == PAN_Q5_0 || kFormat == PAN_Q8_0) {
    return {half_at(block), 0};
  } else if constexpr (kFormat == PAN_Q4_1 || kFormat == PAN_Q5_1) {
    return {half_at(block), half_at(block + 2)};
  } else if constexpr (kFormat == PAN_Q4_K || kFormat == PAN_Q5_K) {
    const uint8_t *s = block + 4 + group % 4;
    int scale = group < 4 ? s[0] & 63 : (s[8] & 15) | s[0] >> 6 << 4;
    int minimum = group < 4 ? s[4] & 63 : s[8] >> 4 | s[4] >> 6 << 4;
    return {half_at(block) * (float)scale, -(half_at(block + 2) * (float)minimum)};
  } else {
    return {half_at(block + 208) * (float)(int8_t)block[192 + group * 2 + i / 16], 0};
  }
}

template <int32_t kFormat>
static void decode_group(const uint8_t *block, int group, float *out, bool round) {
  for (int i = 0; i < 32; i += W) {
    Scale scale = group_scale<kFormat>(block, group, i);
    VF v = to_floats(group_codes<kFormat>(block, group, i)) * vset(scale.d);
    if (has_minimum(kFormat)) v = v + vset(scale.m);
    vstore(out + i, round ? (VF)round_bf16((VU)v) : v);
  }
}

template <int32_t kFormat>
static void decode_groups(const uint8_t *data, int64_t start, int64_t count, float *out, bool round) {
  constexpr BlockShape kShape = block_shape(kFormat);
  constexpr int64_t kGroups = kShape.elements / 32;
  int64_t end = start + count;
  for (int64_t i = start; i < end;) {
    int64_t group = i / 32, skip = i % 32, n = min64(32 - skip, end - i);
    const uint8_t *block = data + group / kGroups * kShape.bytes;
    if (n == 32) {
      decode_group<kFormat>(block, (int)(group % kGroups), out, round);
    } else {
      float values[32];
      decode_group<kFormat>(block, (int)(group % kGroups), values, round);
      memcpy(out, values + skip, (size_t)n * 4);
    }
    i += n;
    out += n;
  }
}

// out[0 .. count) = the values of the flattened elements, as they are stored, from `start` on; rounded to bf16 values if `round`.
static void decode_blocks(const pan_weight *w, int64_t start, int64_t count, float *out, bool round) {
  const uint8_t *data = (const uint8_t *)w->data;
  switch (w->format) {
    case PAN_Q4_0: return decode_groups<PAN_Q4_0>(data, start, count, out, round);
    case PAN_Q4_1: return decode_groups<PAN_Q4_1>(data, start, count, out, round);
    case PAN_Q5_0: return decode_groups<PAN_Q5_0>(data, start, count, out, round);
    case PAN_Q5_1: return decode_groups<PAN_Q5_1>(data, start, count, out, round);
    case PAN_Q8_0: return decode_groups<PAN_Q8_0>(data, start, count, out, round);
    case PAN_Q4_K: return decode_groups<PAN_Q4_K>(data, start, count, out, round);
    case PAN_Q5_K: return decode_groups<PAN_Q5_K>(data, start, count, out, round);
    default: return decode_groups<PAN_Q6_K>(data, start, count, out, round);
  }
}
