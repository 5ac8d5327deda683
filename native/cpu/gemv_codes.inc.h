// gemv_codes.inc.h: codes, of 4-bit weights or of ggml's blocks, as 16-bit integers and scales, for gemv_integers.inc.h, which
// says what the integers of each format are: a row of W, the numbers of its blocks, and the decoding of a step of 8 W columns
// into four vectors.

// A row of W, where it lies or decoded; with the absmax of its blocks, 0 beyond the row up to a whole step (4-bit).
struct WeightRow {
  const char *data;
  const float *scales;
  const char *ahead;  // what is fetched when `data` is read at the same offset
};

#if PAN_LEVEL >= 1

#if PAN_LEVEL >= 2
typedef __m512i VB;  // of bytes
#else
typedef __m256i VB;
#endif
typedef uint16_t VW __attribute__((vector_size(4 * W)));  // of 16-bit words
constexpr int kLanes128 = W / 4;
constexpr int kStepColumns = 8 * W;

// ---- vectors -----------------------------------------------------------------------------------------------------------

PAN_INLINE VB load_vector(const void *p) {
  VB v;
  memcpy(&v, p, sizeof v);
  return v;
}
// The same, for kUses instructions: a compiler that made it an operand of each would load it as often, and loads are what bounds a
// product with many rows of x.
template <int kUses>
PAN_INLINE VB shared_load(const void *p) {
  VB v = load_vector(p);
  if (kUses > 1) __asm__("" : "+v"(v));
  return v;
}
PAN_INLINE VW words(VB v) { return (VW)v; }
PAN_INLINE VW word_mask(uint16_t x) { return (VW){} + x; }

#if PAN_LEVEL >= 2
PAN_INLINE VB shuffle_bytes(VB v, VB control) { return _mm512_shuffle_epi8(v, control); }
PAN_INLINE VB broadcast_lane(const void *p) { return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)p)); }
// W / 4 times 16 bytes.
PAN_INLINE VB load_lanes(const char *p, int64_t stride) {
  VB v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)p));
  v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(p + stride)), 1);
  v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(p + 2 * stride)), 2);
  return _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(p + 3 * stride)), 3);
}
PAN_INLINE VB dot(VW a, VB b) { return _mm512_madd_epi16((VB)a, b); }
// kVnni: by one instruction, which every CPU of the BF16 tier has and most of the tier below; the sums are exact, so the same. Written out, as
// this file is compiled for CPUs without it too.
template <bool kVnni>
PAN_INLINE VB dot_add(VB sum, VW a, VB b) {
  if (!kVnni) return _mm512_add_epi32(sum, dot(a, b));
  __asm__("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
  return sum;
}
// 2 or 4 scales that follow each other, each for its share of the lanes.
PAN_INLINE VF expand_two(const float *p) {
  double both;
  memcpy(&both, p, 8);
  return _mm512_permutevar_ps(_mm512_castpd_ps(_mm512_set1_pd(both)), _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0));
}
PAN_INLINE VF expand_four(const float *p) {
  return _mm512_permutevar_ps(_mm512_broadcast_f32x4(_mm_loadu_ps(p)), _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0));
}
PAN_INLINE VF permute(VF v, VB control) { return _mm512_permutexvar_ps(control, v); }
// The 16 words of v's lower half, or the 8 of its lower quarter, as `control` says.
PAN_INLINE VW permute_words(VB v, VB control) { return (VW)_mm512_permutexvar_epi16(control, v); }
// v with `flag`, which no byte of it has, set in the bytes whose bits of `bits` are not all 0.
PAN_INLINE VB flag_bytes(VB v, VB bits, uint8_t flag) {
  return _mm512_mask_add_epi8(v, _mm512_test_epi8_mask(bits, bits), v, _mm512_set1_epi8((char)flag));
}
#else
PAN_INLINE VB shuffle_bytes(VB v, VB control) { return _mm256_shuffle_epi8(v, control); }
PAN_INLINE VB broadcast_lane(const void *p) { return _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p)); }
PAN_INLINE VB load_lanes(const char *p, int64_t stride) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)p)), _mm_loadu_si128((const __m128i *)(p + stride)), 1);
}
PAN_INLINE VB dot(VW a, VB b) { return _mm256_madd_epi16((VB)a, b); }
template <bool>
PAN_INLINE VB dot_add(VB sum, VW a, VB b) { return _mm256_add_epi32(sum, dot(a, b)); }
PAN_INLINE VF expand_two(const float *p) {
  double both;
  memcpy(&both, p, 8);
  return _mm256_permutevar_ps(_mm256_castpd_ps(_mm256_set1_pd(both)), _mm256_set_epi32(1, 1, 1, 1, 0, 0, 0, 0));
}
PAN_INLINE VF permute(VF v, VB control) { return _mm256_permutevar8x32_ps(v, control); }
PAN_INLINE VW permute_words(VB v, VB control) { return (VW)_mm256_shuffle_epi8(v, control); }
PAN_INLINE VB flag_bytes(VB v, VB bits, uint8_t flag) {
  VB none = _mm256_cmpeq_epi8(bits, _mm256_setzero_si256());
  return _mm256_or_si256(v, _mm256_andnot_si256(none, _mm256_set1_epi8((char)flag)));
}
#endif

// Bytes of shuffle controls: f(lane, byte of the lane).
struct alignas(4 * W) Control {
  uint8_t at[4 * W];
};
template <typename F>
constexpr Control control(F f) {
  Control c = {};
  for (int i = 0; i < 4 * W; i++) c.at[i] = (uint8_t)f(i / 16, i % 16);
  return c;
}
PAN_INLINE VB load_control(const Control &c) { return load_vector(c.at); }

// ---- rows of W -----------------------------------------------------------------------------------------------------------

// The absmax of blocks `first` to first + count, of those that are quantized themselves.
static void nested_scales(const pan_weight *w, int64_t first, int64_t count, float *out) {
  int64_t i = 0;
  const VF offset = vset(w->absmax_offset);
  while (i < count) {
    int64_t block = first + i, n = min64(count - i, 256 - block % 256);  // they share a scale
    const VF scale = vset(w->absmax_scale[block / 256]);
    const uint8_t *codes = w->absmax_code + block;
    int64_t j = 0;
    for (; j + W <= n; j += W) {
      VU code = load_bytes(codes + j);
#if PAN_LEVEL >= 2
      VF level = _mm512_i32gather_ps((VB)code, w->code_levels, 4);
#else
      VF level = _mm256_i32gather_ps(w->code_levels, (VB)code, 4);
#endif
      vstore(out + i + j, level * scale + offset);
    }
    for (; j < n; j++) out[i + j] = block_scale(w, block + j);
    i += n;
  }
}

// Whether the scales of rows that follow each other can be decoded together: no step reads beyond its row.
PAN_INLINE bool scales_in_a_run(const pan_weight *w) { return !w->absmax && w->cols % kStepColumns == 0; }

// Floats that prepare_q4_row() may need.
PAN_INLINE int64_t q4_row_memory(const pan_weight *w) { return blocks_of(w->cols / w->block + 4, 16) * 16; }

// Row n of a 4-bit weight whose blocks end with the row.
static void prepare_q4_row(const pan_weight *w, int64_t n, float *memory, WeightRow *row) {
  int64_t blocks = w->cols / w->block;
  row->data = (const char *)w->data + n * w->cols / 2;
  if (w->absmax && w->cols % kStepColumns == 0) {
    row->scales = w->absmax + n * blocks;
    return;
  }
  row->scales = memory;
  if (w->absmax) memcpy(memory, w->absmax + n * blocks, (size_t)blocks * 4);
  else nested_scales(w, n * blocks, blocks, memory);
  for (int i = 0; i < 4; i++) memory[blocks + i] = 0;
}

// ---- decoding of a step ----------------------------------------------------------------------------------------------------

// The 16 levels as integers, 2^14 being the largest, which is `unit` * 2^14.
struct IntegerLevels {
#if PAN_LEVEL >= 2
  VB all;
#else
  VB low, high;  // bytes
#endif
  float unit;
};

static IntegerLevels integer_levels(const float *levels) {
  float largest_level = 0;
  for (int i = 0; i < 16; i++) {
    float magnitude = levels[i] < 0 ? -levels[i] : levels[i];
    if (magnitude > largest_level) largest_level = magnitude;
  }
  IntegerLevels t;
  t.unit = largest_level * (1.f / 16384);
  int16_t q[16];
  for (int i = 0; i < 16; i++) {
    float v = largest_level > 0 ? levels[i] / largest_level * 16384 : 0;
    q[i] = (int16_t)(v < 0 ? v - 0.5f : v + 0.5f);
  }
#if PAN_LEVEL >= 2
  t.all = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)q));
#else
  uint8_t low[16], high[16];
  for (int i = 0; i < 16; i++) low[i] = (uint8_t)q[i], high[i] = (uint8_t)(q[i] >> 8);
  t.low = broadcast_lane(low), t.high = broadcast_lane(high);
#endif
  return t;
}

// Words of the low and the high bytes: parts 0 and 1 of `low`, 2 and 3 of `high`.
PAN_INLINE void split_bytes(VB low, VB high, VW *part) {
  part[0] = words(low) & word_mask(0xff), part[1] = words(low) >> 8;
  part[2] = words(high) & word_mask(0xff), part[3] = words(high) >> 8;
}

// Codes of 4 bits: the low halves of the bytes, and the high ones.
PAN_INLINE void split_nibbles(VB v, VB *low, VB *high) {
  *low = (VB)(words(v) & word_mask(0x0f0f)), *high = (VB)(words(v) >> 4 & word_mask(0x0f0f));
}

// Fifth bits of the lane's block: byte `byte` / 8 of the dword of the lane, first for elements 0 .. 16, then for the others.
alignas(64) static constexpr Control kFifthLow = control([](int lane, int byte) { return 4 * lane + byte / 8; }),
                                     kFifthHigh = control([](int lane, int byte) { return 4 * lane + 2 + byte / 8; }),
                                     kFifthBit = control([](int, int byte) { return 1 << byte % 8; });

// Scales of a segment to lanes: which of W the 32-bit lanes of a step take.
struct SegmentControls {
  Control at[4];
};
constexpr SegmentControls segment_controls() {
  SegmentControls s = {};
  for (int step = 0; step < 4; step++) s.at[step] = control([step](int lane, int byte) { return byte % 4 ? 0 : step * kLanes128 + lane; });
  return s;
}
alignas(64) static constexpr SegmentControls kStepScale = segment_controls();

// Integer scales of the K formats to words: [step of the block][low, high].
struct SubControls {
  Control at[256 / kStepColumns][2];
};
constexpr SubControls sub_controls(bool k6) {
  SubControls s = {};
  for (int step = 0; step < 256 / kStepColumns; step++)
    for (int high = 0; high < 2; high++)
      s.at[step][high] = control([=](int lane, int byte) {
        // Of the words that permute_words() sees: all of the block's with AVX-512; with AVX2 the 8 of Q4_K, or those of a half of Q6_K.
        int word = k6 ? (W == 16 ? 8 * step : 2 * (step % 2)) + 4 * high + lane : step * (kStepColumns / 32) + 2 * (lane / 2) + high;
        return W == 16 ? byte % 2 ? 0 : word : 2 * word + byte % 2;
      });
  return s;
}
alignas(64) static constexpr SubControls kSubsK4 = sub_controls(false), kSubsK6 = sub_controls(true);

// Bits shift, shift + 1, ... of 32 bytes, in every byte's lowest ones; with AVX-512 the second 32 bytes are those bits plus 2.
PAN_INLINE VW high_bits(const char *p, int shift) {
#if PAN_LEVEL >= 2
  VB v = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)p));
  return (VW)_mm512_srlv_epi64(v, _mm512_add_epi64(_mm512_set_epi64(2, 2, 2, 2, 0, 0, 0, 0), _mm512_set1_epi64(shift)));
#else
  return (VW)_mm256_srl_epi16(load_vector(p), _mm_cvtsi32_si128(shift));
#endif
}

// ---- segments -------------------------------------------------------------------------------------------------------------
// Four steps, W times 32 columns: what ggml's blocks hold besides codes is gathered for so many at once.

constexpr int kSegmentSteps = 4;

// The numbers of W blocks of 32, in sequence. A segment is loaded while the one before it is multiplied: a vector load cannot get its
// bytes from several stores that are under way.
struct Segment {
  half d[W], m[W];
  uint32_t fifths[W];
};

template <int32_t kFormat>
PAN_INLINE void load_segment(const char *data, int64_t count, Segment *s) {
  constexpr BlockShape kShape = block_shape(kFormat);
  constexpr bool kStored = has_minimum(kFormat);
  auto load = [&](int64_t i) {
    const char *p = data + i * kShape.bytes;
    memcpy(s->d + i, p, 2);
    if (kStored) memcpy(s->m + i, p + 2, 2);
    if (kFormat == PAN_Q5_0 || kFormat == PAN_Q5_1) memcpy(s->fifths + i, p + kShape.bytes - 20, 4);
  };
  if (count < W) {
    memset(s, 0, sizeof *s);
    for (int64_t i = 0; i < count; i++) load(i);
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < W; i++) load(i);
  }
}

// What is the same for the steps of a segment, or of a block of 256.
struct Scales {
  VF scale;    // of W blocks of 32, or of the present block of 256 in every lane
  VF minimum;  // of W groups of 32 columns
  VB subs[2];  // K formats: integer scales; with AVX2 and Q6_K, those of a half each
};

template <int32_t kFormat>
PAN_INLINE void segment_scales(const Segment &s, Scales *scales) {
  scales->scale = vload(s.d);
  scales->minimum = has_minimum(kFormat) ? vload(s.m) : scales->scale * vset(kFormat == PAN_Q4_0 ? -8.f : kFormat == PAN_Q5_0 ? -16.f : -128.f);
}

// The minima of up to W groups of the K formats, from the block at `data` on.
template <int32_t kFormat>
PAN_INLINE __m256 block_minima(const char *data) {
  uint32_t s[3];
  memcpy(s, data + 4, 12);
  uint64_t codes = (uint64_t)((s[2] >> 4 & 0x0f0f0f0f) | (s[1] >> 6 & 0x03030303) << 4) << 32 | (s[1] & 0x3f3f3f3f);
  __m256 m = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((int64_t)codes)));
  return _mm256_mul_ps(m, _mm256_set1_ps(-half_at((const uint8_t *)data + 2)));
}
template <int32_t kFormat>
PAN_INLINE VF segment_minima(const char *data, int64_t blocks) {
#if PAN_LEVEL >= 2
  __m256 second = blocks > 1 ? block_minima<kFormat>(data + block_shape(kFormat).bytes) : _mm256_setzero_ps();
  return _mm512_insertf32x8(_mm512_castps256_ps512(block_minima<kFormat>(data)), second, 1);
#else
  (void)blocks;
  return block_minima<kFormat>(data);
#endif
}

template <int32_t kFormat>
PAN_INLINE void block_scales(const char *data, Scales *scales) {
  const uint8_t *block = (const uint8_t *)data;
  if constexpr (kFormat == PAN_Q6_K) {
    scales->scale = vset(half_at(block + 208));
    __m256i subs = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)(data + 192)));
#if PAN_LEVEL >= 2
    scales->subs[0] = _mm512_castsi256_si512(subs);
#else
    scales->subs[0] = _mm256_permute4x64_epi64(subs, 0x44), scales->subs[1] = _mm256_permute4x64_epi64(subs, 0xee);
#endif
  } else {
    scales->scale = vset(half_at(block));
    uint32_t s[3];
    memcpy(s, block + 4, 12);
    uint64_t codes = (uint64_t)((s[2] & 0x0f0f0f0f) | (s[0] >> 6 & 0x03030303) << 4) << 32 | (s[0] & 0x3f3f3f3f);
    __m128i subs = _mm_cvtepu8_epi16(_mm_cvtsi64_si128((int64_t)codes));
#if PAN_LEVEL >= 2
    scales->subs[0] = _mm512_castsi128_si512(subs);
#else
    scales->subs[0] = _mm256_broadcastsi128_si256(subs);
#endif
  }
}

// ---- steps ----------------------------------------------------------------------------------------------------------------

// The four parts of a step. `data`: its codes; for the K formats its block, of which it is step `sub`.
template <int32_t kFormat>
PAN_INLINE void decode_step(const IntegerLevels &levels, const Scales &scales, const uint32_t *fifths, const char *data, int sub, VW *part) {
  (void)levels, (void)scales, (void)fifths, (void)sub;
  VB low, high;
  if constexpr (kFormat == PAN_Q4) {
    VB v = load_vector(data);
#if PAN_LEVEL >= 2
    // VPERMW reads five bits of an index; the table is there twice.
#pragma GCC unroll 4
    for (int p = 0; p < 4; p++) part[p] = (VW)_mm512_permutexvar_epi16((VB)(words(v) >> 4 * p), levels.all);
#else
    split_nibbles(v, &low, &high);
    VB l0 = shuffle_bytes(levels.low, low), h0 = shuffle_bytes(levels.high, low);
    VB l1 = shuffle_bytes(levels.low, high), h1 = shuffle_bytes(levels.high, high);
    part[0] = (VW)_mm256_unpacklo_epi8(l0, h0), part[1] = (VW)_mm256_unpackhi_epi8(l0, h0);
    part[2] = (VW)_mm256_unpacklo_epi8(l1, h1), part[3] = (VW)_mm256_unpackhi_epi8(l1, h1);
#endif
  } else if constexpr (kFormat == PAN_Q8_0) {
    low = load_lanes(data + 2, 34), high = load_lanes(data + 18, 34);
    split_bytes((VB)(words(low) ^ word_mask(0x8080)), (VB)(words(high) ^ word_mask(0x8080)), part);
  } else if constexpr (block_shape(kFormat).elements == 32) {
    constexpr BlockShape kShape = block_shape(kFormat);
    split_nibbles(load_lanes(data + kShape.bytes - 16, kShape.bytes), &low, &high);
    if constexpr (kFormat == PAN_Q5_0 || kFormat == PAN_Q5_1) {
      VB lanes = broadcast_lane(fifths), bit = load_control(kFifthBit);
      low = flag_bytes(low, (VB)(words(shuffle_bytes(lanes, load_control(kFifthLow))) & words(bit)), 16);
      high = flag_bytes(high, (VB)(words(shuffle_bytes(lanes, load_control(kFifthHigh))) & words(bit)), 16);
    }
    split_bytes(low, high, part);
  } else {
    constexpr bool k6 = kFormat == PAN_Q6_K;
    split_nibbles(load_vector(data + (k6 ? 0 : kFormat == PAN_Q4_K ? 16 : 48) + sub * 4 * W), &low, &high);
    if constexpr (k6) {
      int half_block = sub * kStepColumns / 128, quarter = sub * kStepColumns % 128 / 64;  // quarter: 0 with AVX-512
      VW bits = high_bits(data + 128 + 32 * half_block, 2 * quarter);
      low = (VB)(words(low) | (bits << 4 & word_mask(0x3030)));
      high = (VB)(words(high) | (bits & word_mask(0x3030)));
    } else if constexpr (kFormat == PAN_Q5_K) {
      VW bits = high_bits(data + 16, sub * (kStepColumns / 32));
      low = (VB)(words(low) | (bits << 4 & word_mask(0x1010)));
      high = (VB)(words(high) | (bits << 3 & word_mask(0x1010)));
    }
    const SubControls &controls = k6 ? kSubsK6 : kSubsK4;
    VB subs = W == 8 && k6 && sub >= 2 ? scales.subs[1] : scales.subs[0];
    VW sub_low = permute_words(subs, load_control(controls.at[sub][0])), sub_high = permute_words(subs, load_control(controls.at[sub][1]));
    split_bytes(low, high, part);
    if (k6)
#pragma GCC unroll 4
      for (int p = 0; p < 4; p++) part[p] = part[p] - word_mask(32);
    part[0] = part[0] * sub_low, part[1] = part[1] * sub_low, part[2] = part[2] * sub_high, part[3] = part[3] * sub_high;
  }
}

// The absmax of the lanes of step c; block_bits: the binary logarithm of the block.
PAN_INLINE VF q4_scales(const float *scales, int64_t c, int block_bits) {
  constexpr int kStepBits = W == 16 ? 7 : 6;
  if (block_bits >= kStepBits) return vset(scales[c >> (block_bits - kStepBits)]);
#if PAN_LEVEL >= 2
  if (block_bits == kStepBits - 2) return expand_four(scales + c * 4);
#endif
  return expand_two(scales + c * 2);
}

#endif
