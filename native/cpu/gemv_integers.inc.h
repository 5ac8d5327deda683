// gemv_integers.inc.h: products of few rows of bf16 with codes, of 4-bit weights or of ggml's blocks, in 16-bit integers.
//
// VPMADDWD multiplies 2 W pairs of 16-bit integers and adds neighbours, exactly; decoding to 16 bits takes half the
// instructions that decoding to f32 takes. So a value of W is a code times a scale, a value of x an integer times a scale:
//
//   sum over a group of columns of w x  =  scale of w * scale of x * (integer sum)   [+ minimum of w * sum of x]
//
// Steps. A row of W is read in steps of 8 W columns, whose codes are decoded into 4 vectors ("parts") of 2 W integers. The
// columns of one 128-bit lane, two runs of 16 columns, are a group: they share a scale of x, and (but for the sub-blocks of
// the K formats, whose small integer scales are multiplied into the codes) a scale of W. The four dot products of a
// step go into one vector of sums, which becomes f32 once per step: sums += float(integers) * scale of x * scale of w.
//
//   integers of W                                       largest     columns of lane L of the row, the lanes being numbered through
//   4-bit            level / largest level * 2^14       2^14        32 L ..
//   Q4_0 ... Q5_1    code, without its offset           31          32 L .., which is a block
//   Q8_0             code + 128                         255         the same
//   Q4_K, Q5_K       code * scale of 32                 31 * 63     64 (L / 2) + 16 (L % 2) .., and the 16 that come 32 later
//   Q6_K             (code - 32) * scale of 16          32 * 128    128 (L / 4) + 16 (L % 4) .., and the 16 that come 64 later
// Offsets (-8 d, -16 d, -128 d) are minima of their blocks like those that the formats store.
//
// x. The scale of a group is a power of two, 2^(e-13) where its largest value is in [2^e, 2^(e+1)): bf16 values that are less
// than 2^6 times smaller than that are represented exactly, smaller ones rounded to 2^-14 of 2^e. So an outlier costs its own 31
// neighbours bits, and nobody else. A group with a value that is not finite has scale NaN. The sums of x are those of the rounded
// values: the result is the product with rounded x, up to f32 roundings of the scales and sums, and of the levels of 4-bit weights.
//
// No sum overflows: integers of x are at most 255 * 2^6 (bf16 has 8 significant bits), and a lane adds 8 products:
// 8 * 2^14 * 255 * 2^6 = 2 139 095 040 < 2^31.
#include "gemv_codes.inc.h"

#if PAN_LEVEL >= 1

// ---- rows of x -----------------------------------------------------------------------------------------------------------

// The columns of a step of one row of x, in the order in which the codes are decoded; an array [steps][rows].
struct XStep {
  int16_t value[4][2 * W];
  float scale[W];
};

// Which of the 32 columns of a lane stand in word j of part p, at [8 p + j].
struct Order {
  uint16_t at[32];
};
constexpr Order column_order(bool nibbles) {
  Order o = {};
  for (int j = 0; j < 8; j++) {
    if (!nibbles) {  // low and high bytes of the words of the first run and the second
      o.at[j] = 2 * j, o.at[8 + j] = 2 * j + 1, o.at[16 + j] = 16 + 2 * j, o.at[24 + j] = 17 + 2 * j;
    } else if (W == 16) {  // bits 0, 4, 8, 12 of the words
      o.at[j] = 4 * j + 1, o.at[8 + j] = 4 * j, o.at[16 + j] = 4 * j + 3, o.at[24 + j] = 4 * j + 2;
    } else {  // low halves of the first 8 bytes and the last; high halves of them
      o.at[j] = 2 * j + 1, o.at[8 + j] = 17 + 2 * j, o.at[16 + j] = 2 * j, o.at[24 + j] = 16 + 2 * j;
    }
  }
  return o;
}
alignas(64) static constexpr Order kNibbleOrder = column_order(true), kByteOrder = column_order(false);

PAN_INLINE int32_t largest(VI v) {
#if PAN_LEVEL >= 2
  return _mm512_reduce_max_epi32((__m512i)v);
#else
  __m128i m = _mm_max_epi32(_mm256_castsi256_si128((__m256i)v), _mm256_extracti128_si256((__m256i)v, 1));
  m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1)));
#endif
}
PAN_INLINE VI to_integers(VF v) {
#if PAN_LEVEL >= 2
  return (VI)_mm512_cvtps_epi32(v);
#else
  return (VI)_mm256_cvtps_epi32(v);
#endif
}
PAN_INLINE void store_shorts(int16_t *p, VI v) {
#if PAN_LEVEL >= 2
  _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16((__m512i)v));
#else
  _mm_storeu_si128((__m128i *)p, _mm_packs_epi32(_mm256_castsi256_si128((__m256i)v), _mm256_extracti128_si256((__m256i)v, 1)));
#endif
}

// One row of x, steps `stride` apart, scales times `unit`; sums[] of every 16 columns, for as many as the steps have.
static void integer_row(const bf16 *x, int64_t cols, int32_t format, float unit, int64_t steps, XStep *out, int64_t stride, float *sums) {
  constexpr int kRunVectors = 16 / W;  // of a run
  int64_t apart = format == PAN_Q6_K ? 64 : format == PAN_Q4_K || format == PAN_Q5_K ? 32 : 16;  // columns between the two runs
  const Order &order = format == PAN_Q4 ? kNibbleOrder : kByteOrder;
  for (int64_t lane = 0; lane < steps * kLanes128; lane++) {
    int64_t period = apart / 16, run0 = lane / period * period * 32 + lane % period * 16;
    VF v[2][kRunVectors];
    VI bits = {};
    for (int run = 0; run < 2; run++)
      for (int i = 0; i < kRunVectors; i++) {
        int64_t at = run0 + run * apart + i * W;
        v[run][i] = at + W <= cols ? vload(x + at) : vload_n(x + at, max64(cols - at, 0));
        VI magnitude = (VI)v[run][i] & 0x7fffffff;
        bits = magnitude > bits ? magnitude : bits;
      }
    uint32_t exponent = (uint32_t)largest(bits) >> 23;
    if (exponent < 14) exponent = 14;  // the scale stays a normal number; so do only values below 2^-113 lose precision
    float scale = exponent == 255 ? as_float(0x7fc00000) : as_float((exponent - 13) << 23);
    VF inverse = vset(as_float((267 - exponent) << 23));
    int16_t q[32];
    for (int run = 0; run < 2; run++) {
      VF sum = vzero();
      for (int i = 0; i < kRunVectors; i++) {
        VI integers = to_integers(v[run][i] * inverse);
        sum += to_floats(integers);  // exact
        store_shorts(q + run * 16 + i * W, integers);
      }
      sums[(run0 + run * apart) / 16] = scale * vsum(sum);
    }
    XStep *step = out + lane / kLanes128 * stride;
    int64_t at = lane % kLanes128;
#if PAN_LEVEL >= 2
    VB ordered = _mm512_permutexvar_epi16(load_vector(order.at), load_vector(q));
    _mm_store_si128((__m128i *)(step->value[0] + 8 * at), _mm512_castsi512_si128(ordered));
    _mm_store_si128((__m128i *)(step->value[1] + 8 * at), _mm512_extracti32x4_epi32(ordered, 1));
    _mm_store_si128((__m128i *)(step->value[2] + 8 * at), _mm512_extracti32x4_epi32(ordered, 2));
    _mm_store_si128((__m128i *)(step->value[3] + 8 * at), _mm512_extracti32x4_epi32(ordered, 3));
#else
    for (int i = 0; i < 32; i++) step->value[i / 8][8 * at + i % 8] = q[order.at[i]];
#endif
    _mm_store_ps(step->scale + 4 * at, _mm_set1_ps(scale * unit));
  }
}

// ---- the product ----------------------------------------------------------------------------------------------------------

// sum[kWide][kRows] += the products of a step of kWide rows of W, decoded to part[] with its scale[], with kRows rows of x.
template <int kRows, int kWide, bool kVnni>
PAN_INLINE void multiply_step(const VW (*part)[4], const VF *scale, const XStep *x, VF (*sum)[kRows]) {
#pragma GCC unroll 8
  for (int r = 0; r < kRows; r++) {
    VB integers[kWide];
#pragma GCC unroll 4
    for (int p = 0; p < 4; p++) {
      VB v = shared_load<kWide>(x[r].value[p]);
#pragma GCC unroll 2
      for (int i = 0; i < kWide; i++) integers[i] = p == 0 ? dot(part[i][p], v) : dot_add<kVnni>(integers[i], part[i][p], v);
    }
    VF x_scale = (VF)shared_load<kWide>(x[r].scale);
#pragma GCC unroll 2
    for (int i = 0; i < kWide; i++) sum[i][r] = vfma(to_floats((VI)integers[i]) * x_scale, scale[i], sum[i][r]);
  }
}

// Steps `begin` to `end` of 4-bit weights. The last step of a row that is not whole stands apart, so that the pointers of the loop have registers.
template <int kRows, int kWide, bool kVnni>
PAN_INLINE void multiply_q4(const IntegerLevels &levels, const WeightRow *row, int64_t cols, int block_bits, const XStep *x, int64_t begin, int64_t end,
                            VF (*sum)[kRows]) {
  constexpr int64_t kBytes = 4 * W;
  auto step = [&](int64_t c, int64_t at, const char *const *data) __attribute__((always_inline)) {
    VW part[kWide][4];
    VF scale[kWide];
#pragma GCC unroll 2
    for (int i = 0; i < kWide; i++) {
      decode_step<PAN_Q4>(levels, Scales(), nullptr, data[i] + at, 0, part[i]);
      scale[i] = q4_scales(row[i].scales, c, block_bits);
    }
    multiply_step<kRows, kWide, kVnni>(part, scale, x, sum);
    x += kRows;
  };
  const char *data[kWide], *ahead[kWide];
  for (int i = 0; i < kWide; i++) data[i] = row[i].data, ahead[i] = kRows == 1 ? row[i].data + kPrefetch : row[i].ahead;
  int64_t whole = min64(end, cols / kStepColumns);
  for (int64_t c = begin; c < whole; c++) {
#pragma GCC unroll 2
    for (int i = 0; i < kWide; i++) __builtin_prefetch(ahead[i] + c * kBytes);
    step(c, c * kBytes, data);
  }
  if (whole == end) return;
  alignas(64) char last[kWide][kBytes] = {};  // zero beyond the row
  for (int i = 0; i < kWide; i++) {
    memcpy(last[i], data[i] + whole * kBytes, (size_t)(cols % kStepColumns / 2));
    data[i] = last[i];
  }
  step(whole, 0, data);
}

// Steps `begin` (of a whole segment) to `end` of ggml's blocks.
template <int32_t kFormat, int kRows, int kWide, bool kVnni>
PAN_INLINE void multiply_blocks(const WeightRow *row, int64_t cols, const XStep *x, const float *group_sums, int64_t groups, int64_t begin, int64_t end,
                                VF (*sum)[kRows]) {
  constexpr BlockShape kShape = block_shape(kFormat);
  constexpr bool kBlocks32 = kShape.elements == 32, kBlocks256 = kShape.elements == 256;
  constexpr int64_t kBytes = kShape.bytes * kStepColumns / kShape.elements;  // of a step, on average
  constexpr int kPerBlock = kBlocks256 ? 256 / kStepColumns : kSegmentSteps;
  int64_t whole = cols / kStepColumns, blocks = cols / kShape.elements;
  alignas(64) char last[kWide][kBytes];
  alignas(64) Segment segments[2][kWide];
  Scales scales[kWide];
  int64_t s = begin / kSegmentSteps;
  if (kBlocks32)
    for (int i = 0; i < kWide; i++) load_segment<kFormat>(row[i].data + s * W * kShape.bytes, blocks - s * W, segments[s % 2] + i);
  for (int64_t first = begin; first < end; first += kSegmentSteps, s++) {
    if constexpr (kBlocks32) {
      int64_t next = (s + 1) * W;
#pragma GCC unroll 2
      for (int i = 0; i < kWide; i++) {
        if (first + kSegmentSteps < end) load_segment<kFormat>(row[i].data + next * kShape.bytes, blocks - next, segments[(s + 1) % 2] + i);
        segment_scales<kFormat>(segments[s % 2][i], scales + i);
      }
    } else if constexpr (has_minimum(kFormat)) {
#pragma GCC unroll 2
      for (int i = 0; i < kWide; i++) scales[i].minimum = segment_minima<kFormat>(row[i].data + s * W / 8 * kShape.bytes, blocks - s * W / 8);
    }
    if (kBlocks32 || has_minimum(kFormat))
#pragma GCC unroll 8
      for (int r = 0; r < kRows; r++)
#pragma GCC unroll 2
        for (int i = 0; i < kWide; i++) sum[i][r] = vfma(scales[i].minimum, vload(group_sums + r * groups + s * W), sum[i][r]);
    int count = (int)min64(kSegmentSteps, end - first);
    for (int k = 0; k < count; k++, x += kRows) {
      int64_t c = first + k;
      VW part[kWide][4];
      VF scale[kWide];
#pragma GCC unroll 2
      for (int i = 0; i < kWide; i++) {
        const char *data = row[i].data + (kBlocks256 ? c / kPerBlock * kShape.bytes : c * kBytes);
        for (int64_t ahead = 0; ahead < kBytes; ahead += 64) __builtin_prefetch(row[i].ahead + c * kBytes + ahead);
        if (!kBlocks256 && c == whole) {  // zero beyond the row
          memset(last[i], 0, kBytes);
          memcpy(last[i], data, (size_t)(cols % kStepColumns / 32 * kShape.bytes));
          data = last[i];
        }
        if (kBlocks256 && k % kPerBlock == 0) block_scales<kFormat>(data, scales + i);
        decode_step<kFormat>(IntegerLevels(), scales[i], segments[s % 2][i].fifths + k * kLanes128, data, k % kPerBlock, part[i]);
        scale[i] = kBlocks32 ? permute(scales[i].scale, load_control(kStepScale.at[k])) : scales[i].scale;
      }
      multiply_step<kRows, kWide, kVnni>(part, scale, x, sum);
    }
  }
}

// sums[kWide][kRows] += the products of steps `begin` (of a whole segment) to `end` of kWide rows of W with kRows rows of x.
// group_sums[kRows][groups]: sums of x.
template <int32_t kFormat, int kRows, int kWide, bool kVnni>
PAN_INLINE void integer_products(const IntegerLevels &levels, const WeightRow *row, int64_t cols, int block_bits, const XStep *x,
                                 const float *group_sums, int64_t groups, int64_t begin, int64_t end, VF *sums) {
  VF sum[kWide][kRows];
#pragma GCC unroll 2
  for (int i = 0; i < kWide; i++)
#pragma GCC unroll 8
    for (int r = 0; r < kRows; r++) sum[i][r] = sums[i * kRows + r];
  if constexpr (kFormat == PAN_Q4) multiply_q4<kRows, kWide, kVnni>(levels, row, cols, block_bits, x + begin * kRows, begin, end, sum);
  else multiply_blocks<kFormat, kRows, kWide, kVnni>(row, cols, x + begin * kRows, group_sums, groups, begin, end, sum);
#pragma GCC unroll 2
  for (int i = 0; i < kWide; i++)
#pragma GCC unroll 8
    for (int r = 0; r < kRows; r++) sums[i * kRows + r] = sum[i][r];
}

#endif
