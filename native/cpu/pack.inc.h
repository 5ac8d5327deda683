// pack.inc.h: operands of the matrix product, brought into the order in which the micro-kernel (gemm.inc.h) reads them.
//
// The product is C[M, N] = A[M, S] B[S, N]; its reduction index counts *steps*. A step is one 32-bit word of A and one of
// every column of B: an f32 value ("single"), or two bf16 values that follow each other in the reduction (a "pair", the
// operand of VDPBF16PS; the last pair of an odd length is filled up with 0).
//
//   packed B: panels of kNR columns, each [steps][kNR] words, so that a step is two aligned vector loads;
//   packed A: panels of h <= kMR rows, each [h][kLda] words. kLda is a constant: all rows of a panel are then reached by
//             one pointer and a displacement. It is an odd number of cache lines, so that rows do not compete for the
//             same sets of L1, as rows of 4096 f32 in place would.
//
// B is a weight W of any format, read in one of two ways:
//   by columns (forward, C = X W^T): a column of B is a row of W. Four vectors at a time are transposed: 16 bytes of each of
//             W rows of W become 4 vectors of 32-bit words with one lane per row. Only then is a word taken apart: into
//             1 f32, 2 bf16 or 8 codes, whose look-up, scaling by the absmax of the lane's row and rounding are vector
//             operations over the columns of the panel. So the transposition is paid per word, not per weight.
//   by rows (gradients, C = dY W): a step is a row of W; rows are decoded as they lie and cut into panels.
// 4-bit weights that are not whole blocks of 32 in every row are decoded row by row into f32 first (rare shapes).
//
// Numerics: with bf16 activations all weights but F32 are rounded to bf16 in decoding, as bitsandbytes dequantizes its
// codes, on every tier; with f32 activations they stay f32.

constexpr int kNR = 2 * W;
constexpr int64_t kStepBlock = 768;  // steps per block of the reduction: a multiple of 64, so that 4-bit blocks stay whole
constexpr int64_t kLda = kStepBlock + 16;
constexpr int kMaxPanels = 192 / kNR;  // column panels of a task: 192 columns, 4 * 192 * 768 bytes, fit an L2 of 1 MB
#if PAN_LEVEL >= 2
constexpr int kMR = 14;  // 28 accumulators, 2 vectors of B and one of A in 32 registers
#elif PAN_LEVEL == 1 || defined(__aarch64__)
constexpr int kMR = 6;  // 12 + 2 + 1 of 16; NEON: 24 + 4 + 1 of 32, VF being two registers
#else
constexpr int kMR = 2;  // 8 + 4 + 1 of 16, VF being two registers
#endif

PAN_INLINE void store_words(uint32_t *p, VU v) { memcpy(p, &v, sizeof v); }

// ---- pairs -----------------------------------------------------------------------------------------------------------

// bf16 pairs of two f32 vectors: lane i is (low[i], high[i] << 16), both rounded to nearest even. Finite values only,
// unless the CPU has the instruction.
PAN_INLINE VU make_pairs(VF low, VF high) {
#if PAN_LEVEL >= 3
  const __m512i interleave = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2,
                                              17, 1, 16, 0);
  return (VU)_mm512_permutexvar_epi16(interleave, (__m512i)_mm512_cvtne2ps_pbh(high, low));
#else
  return round_bf16((VU)low) >> 16 | round_bf16((VU)high);
#endif
}

// ---- transposition ---------------------------------------------------------------------------------------------------

// out[j] = word j of the 16 bytes at row[i] + offset, one lane per row i.
PAN_INLINE void transpose_words(const char *const *row, int64_t offset, VU out[4]) {
#if PAN_LEVEL >= 2
  __m512i t[4];
  for (int i = 0; i < 4; i++) {
    __m512i v = _mm512_castsi128_si512(_mm_loadu_si128((const __m128i *)(row[i] + offset)));
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(row[i + 4] + offset)), 1);
    v = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(row[i + 8] + offset)), 2);
    t[i] = _mm512_inserti32x4(v, _mm_loadu_si128((const __m128i *)(row[i + 12] + offset)), 3);
  }
  __m512i a = _mm512_unpacklo_epi32(t[0], t[1]), b = _mm512_unpacklo_epi32(t[2], t[3]);
  __m512i c = _mm512_unpackhi_epi32(t[0], t[1]), d = _mm512_unpackhi_epi32(t[2], t[3]);
  out[0] = (VU)_mm512_unpacklo_epi64(a, b);
  out[1] = (VU)_mm512_unpackhi_epi64(a, b);
  out[2] = (VU)_mm512_unpacklo_epi64(c, d);
  out[3] = (VU)_mm512_unpackhi_epi64(c, d);
#elif PAN_LEVEL == 1
  __m256i t[4];
  for (int i = 0; i < 4; i++)
    t[i] = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(row[i] + offset))),
                                   _mm_loadu_si128((const __m128i *)(row[i + 4] + offset)), 1);
  __m256i a = _mm256_unpacklo_epi32(t[0], t[1]), b = _mm256_unpacklo_epi32(t[2], t[3]);
  __m256i c = _mm256_unpackhi_epi32(t[0], t[1]), d = _mm256_unpackhi_epi32(t[2], t[3]);
  out[0] = (VU)_mm256_unpacklo_epi64(a, b);
  out[1] = (VU)_mm256_unpackhi_epi64(a, b);
  out[2] = (VU)_mm256_unpacklo_epi64(c, d);
  out[3] = (VU)_mm256_unpackhi_epi64(c, d);
#else
  for (int i = 0; i < W; i++) {
    uint32_t words[4];
    memcpy(words, row[i] + offset, 16);
    for (int j = 0; j < 4; j++) out[j][i] = words[j];
  }
#endif
}

// ---- B by columns ------------------------------------------------------------------------------------------------------

// Stores the vector of reduction index `i`: singles one by one, pairs when the second of them is there.
template <bool kPairs>
struct StepWriter {
  uint32_t *out;
  VF pending;
  inline void put(int64_t i, VF v) {
    if (!kPairs) store_words(out + i * kNR, (VU)v);
    else if (i & 1) store_words(out + (i >> 1) * kNR, make_pairs(pending, v));
    else pending = v;
  }
  // After an odd number of values.
  inline void finish(int64_t count) {
    if (kPairs && (count & 1)) store_words(out + (count >> 1) * kNR, make_pairs(pending, vzero()));
  }
};

// A copy of the last `bytes` < 16 bytes of each row, zero-filled to 16, so that nothing beyond the matrix is read.
struct RowTails {
  char bytes[W][16];
  const char *row[W];
  inline void fill(const char *const *from, int64_t offset, int64_t count) {
    for (int i = 0; i < W; i++) {
      memset(bytes[i], 0, 16);
      memcpy(bytes[i], from[i] + offset, (size_t)count);
      row[i] = bytes[i];
    }
  }
};

// f32 rows: values [0, count) of each into steps of `out`.
template <bool kPairs>
PAN_INLINE void pack_float_rows(const char *const *row, int64_t count, uint32_t *out) {
  StepWriter<kPairs> writer = {out, vzero()};
  VU word[4];
  int64_t i = 0;
  for (; i + 4 <= count; i += 4) {
    transpose_words(row, i * 4, word);
    for (int j = 0; j < 4; j++) writer.put(i + j, (VF)word[j]);
  }
  if (i < count) {
    RowTails tails;
    tails.fill(row, i * 4, (count - i) * 4);
    transpose_words(tails.row, 0, word);
    for (int j = 0; i + j < count; j++) writer.put(i + j, (VF)word[j]);
  }
  writer.finish(count);
}

template <bool kPairs>
PAN_INLINE void put_bf16_words(const VU word[4], int64_t i, int64_t count, uint32_t *out) {
  for (int j = 0; j < 4 && i + 2 * j < count; j++) {
    if (kPairs) {
      store_words(out + (i / 2 + j) * kNR, word[j]);  // the high half of an odd end is 0
    } else {
      store_words(out + (i + 2 * j) * kNR, word[j] << 16);
      if (i + 2 * j + 1 < count) store_words(out + (i + 2 * j + 1) * kNR, word[j] & 0xffff0000u);
    }
  }
}

template <bool kPairs>
PAN_INLINE void pack_bf16_rows(const char *const *row, int64_t count, uint32_t *out) {
  VU word[4];
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    transpose_words(row, i * 2, word);
    put_bf16_words<kPairs>(word, i, i + 8, out);
  }
  if (i < count) {
    RowTails tails;
    tails.fill(row, i * 2, (count - i) * 2);
    transpose_words(tails.row, 0, word);
    put_bf16_words<kPairs>(word, i, count, out);
  }
}

// 4-bit rows that consist of whole blocks, themselves of whole groups of 32: `count` (a multiple of 32) values of each
// row, of which the first is in block first_block[lane].
template <bool kPairs>
PAN_INLINE void pack_4bit_rows(const pan_weight *w, const char *const *row, const int64_t *first, int64_t count, bool round, uint32_t *out) {
  Levels levels = make_levels(w->levels, 1.0f, false);
  VF scale = vzero();
  int64_t block[W], left = 0;  // left: values up to the end of the present block, the same in all rows
  for (int i = 0; i < W; i++) block[i] = first[i] / w->block;
  if (count > 0) left = (block[0] + 1) * w->block - first[0];
  bool fresh = true;
  for (int64_t i = 0; i < count; i += 32) {
    if (fresh) {
      float scales[W];
      for (int lane = 0; lane < W; lane++) scales[lane] = block_scale(w, block[lane]++);
      scale = vload(scales);
    }
    VU word[4];
    transpose_words(row, i / 2, word);
    for (int j = 0; j < 4; j++)
      for (int b = 0; b < 4; b++) {
        VF even = look_up(levels, word[j] >> (8 * b + 4)) * scale, odd = look_up(levels, word[j] >> (8 * b)) * scale;
        uint32_t *to = out + (kPairs ? i / 2 + 4 * j + b : i + 8 * j + 2 * b) * kNR;
        if (kPairs) {
          store_words(to, make_pairs(even, odd));
        } else {
          store_words(to, round ? round_bf16((VU)even) : (VU)even);
          store_words(to + kNR, round ? round_bf16((VU)odd) : (VU)odd);
        }
      }
    left -= 32;
    fresh = left == 0;
    if (fresh) left = w->block;
  }
}

// F16 and ggml's blocks: pack_ggml.inc.h.
template <bool kPairs, bool kRound>
static void pack_ggml_rows(const pan_weight *w, const int64_t *start, int64_t count, uint32_t *out);

// Steps of columns [n0, n0 + W) for the reduction range [k0, k0 + count). Columns beyond the matrix repeat its last one:
// what they give is never stored.
template <bool kPairs>
static void pack_by_columns(const pan_weight *w, bool round, int64_t n0, int64_t k0, int64_t count, uint32_t *out) {
  const char *row[W];
  int64_t start[W];
  for (int i = 0; i < W; i++) {
    start[i] = row_start(w, min64(n0 + i, w->rows - 1)) + k0;
  }
  const char *data = (const char *)w->data;
  if (w->format == PAN_F32) {
    for (int i = 0; i < W; i++) row[i] = data + start[i] * 4;
    pack_float_rows<kPairs>(row, count, out);
  } else if (w->format == PAN_BF16) {
    for (int i = 0; i < W; i++) row[i] = data + start[i] * 2;
    pack_bf16_rows<kPairs>(row, count, out);
  } else if (w->format == PAN_F16 || has_blocks(w->format)) {
    if (round) pack_ggml_rows<kPairs, true>(w, start, count, out);
    else pack_ggml_rows<kPairs, false>(w, start, count, out);
  } else if (w->cols % w->block == 0 && w->block % 32 == 0) {  // then k0 and count are multiples of 32, too
    for (int i = 0; i < W; i++) row[i] = data + start[i] / 2;
    if (round) pack_4bit_rows<kPairs>(w, row, start, count, true, out);
    else pack_4bit_rows<kPairs>(w, row, start, count, false, out);
  } else {
    float rows[W][64];
    for (int i = 0; i < W; i++) row[i] = (const char *)rows[i];
    for (int64_t k = 0; k < count; k += 64) {
      int64_t n = count - k < 64 ? count - k : 64;
      for (int i = 0; i < W; i++) decode_range(w, start[i] + k, n, rows[i], round);
      pack_float_rows<kPairs>(row, n, out + (kPairs ? k / 2 : k) * kNR);
    }
  }
}

// ---- B by rows ---------------------------------------------------------------------------------------------------------

// Columns [n, n + kNR) of rows k and k + 1 (the second for pairs only; NULL: zeros), all of which exist, as one step.
template <bool kPairs, bool kRound, typename T>
PAN_INLINE void put_step(const T *row, const T *next, uint32_t *to) {
  for (int i = 0; i < kNR; i += W) {
    VF v = vload(row + i);
    store_words(to + i, kPairs ? make_pairs(v, next ? vload(next + i) : vzero()) : kRound ? round_bf16((VU)v) : (VU)v);
  }
}

// The same for several panels, of rows that lie in data at elements `at` and, if there is a second, `next`.
template <bool kPairs, bool kRound, typename T>
PAN_INLINE void put_steps(const void *data, int64_t at, bool second, int64_t next, int panels, uint32_t *to, int64_t stride) {
  const T *row = (const T *)data + at, *other = second ? (const T *)data + next : nullptr;
  for (int p = 0; p < panels; p++, to += stride) put_step<kPairs, kRound>(row + p * kNR, other ? other + p * kNR : nullptr, to);
}

// Steps of `panels` panels from column n0 on, for rows [k0, k0 + count) of the weight; panel p begins at out + p * stride.
template <bool kPairs>
static void pack_by_rows(const pan_weight *w, bool round, int64_t n0, int panels, int64_t k0, int64_t count, uint32_t *out, int64_t stride) {
  alignas(64) float values[2][kMaxPanels * kNR];
  int64_t cols = min64(w->cols - n0, panels * kNR);
  bool direct = w->format != PAN_Q4 && !has_blocks(w->format) && cols == panels * kNR;
  if (!direct) memset(values, 0, sizeof values);
  if (kPairs) round = false;  // making a pair rounds
  for (int64_t k = 0; k < count; k += kPairs ? 2 : 1) {
    uint32_t *to = out + (kPairs ? k / 2 : k) * kNR;
    bool second = kPairs && k + 1 < count;
    if (direct) {
      int64_t at = row_start(w, k0 + k) + n0, next = second ? row_start(w, k0 + k + 1) + n0 : 0;
      if (w->format == PAN_F32) put_steps<kPairs, false, float>(w->data, at, second, next, panels, to, stride);
      else if (w->format == PAN_BF16) put_steps<kPairs, false, bf16>(w->data, at, second, next, panels, to, stride);
      else if (round) put_steps<kPairs, true, half>(w->data, at, second, next, panels, to, stride);
      else put_steps<kPairs, false, half>(w->data, at, second, next, panels, to, stride);
    } else {
      row_to_floats(w, k0 + k, n0, cols, values[0], round);
      if (second) row_to_floats(w, k0 + k + 1, n0, cols, values[1], round);
      put_steps<kPairs, false, float>(values, 0, second, kMaxPanels * kNR, panels, to, stride);
    }
  }
}

// ---- A -----------------------------------------------------------------------------------------------------------------

// Values [0, count) of one row into words of packed A; the last pair of an odd count is filled up with 0.
template <bool kPairs>
PAN_INLINE void pack_a_row(const void *x, int32_t type, int64_t at, int64_t count, uint32_t *out) {
  if (kPairs) {
    bf16 *to = (bf16 *)out;
    if (type == PAN_BF16) memcpy(to, (const bf16 *)x + at, (size_t)count * 2);
    else convert((const float *)x + at, count, to);
    if (count & 1) to[count] = bf16{0};
  } else {
    load_floats(x, type, at, count, (float *)out);
  }
}

// Columns [n0, n0 + rows) of x[M, ld] as rows of packed A, for the reduction range [k0, k0 + count) of the rows of x;
// rows <= kMR.
template <bool kPairs>
static void pack_a_transposed(const void *x, int32_t type, int64_t ld, int64_t n0, int rows, int64_t k0, int64_t count, uint32_t *out) {
  constexpr int kMaxWide = 8;
  int size = type == PAN_F32 ? 4 : 2, wide = 16 / size;  // columns in 16 bytes
  for (int64_t k = 0; k < count; k += W) {
    int64_t lanes = count - k < W ? count - k : W;
    for (int c = 0; c < rows; c += wide) {
      const char *row[W];
      for (int i = 0; i < W; i++) row[i] = (const char *)x + ((k0 + k + (i < lanes ? i : 0)) * ld + n0 + c) * size;
      VU word[4];
      if (n0 + c + wide <= ld) {
        transpose_words(row, 0, word);
      } else {
        RowTails tails;
        tails.fill(row, 0, (ld - n0 - c) * size);
        transpose_words(tails.row, 0, word);
      }
      alignas(64) float column[kMaxWide][W];
      for (int j = 0; j < 4; j++)
        if (type == PAN_F32) {
          vstore(column[j], (VF)word[j]);
        } else {
          vstore(column[2 * j], (VF)(word[j] << 16));
          vstore(column[2 * j + 1], (VF)(word[j] & 0xffff0000u));
        }
      for (int j = 0; j < wide && c + j < rows; j++) {
        VF v = vload(column[j]);
        if (lanes < W) v = vkeep(v, lanes, 0);  // a pair is filled up with 0; the rest is not read
        uint32_t *to = out + (c + j) * kLda + (kPairs ? k / 2 : k);
        if (kPairs) vstore((bf16 *)to, v);
        else vstore((float *)to, v);
      }
    }
  }
}
