// gemv.inc.h: pan_linear for few rows of x, as in generation: y[M, N] = x[M, K] W^T with M <= 4.
//
// Every weight is used M times only, so that packing would cost more than the product: rows of W are read once, in place,
// decoded in registers and multiplied by x, 16 columns (8, AVX2) at a time; the aim is the speed of memory. Threads take
// rows of W.
//
// x is brought, once per call, into f32 and into the order in which decoding yields the columns, so that nothing is
// shuffled per weight. A vector of 32-bit words of a row holds W values (f32), 2 W (bf16) or 8 W (4-bit codes);
// part p of it is one shift (and one look-up) away:
//   bf16   part 0: columns 2 i (word << 16); part 1: 2 i + 1 (word & 0xffff0000), lane i
//   4-bit  part p: columns 8 i + p; the code is in bits 8 (p / 2) + (p even ? 4 : 0)
// The x of a chunk is stored part by part, and zero beyond K.
//
// Numerics: f32 multiply-adds; a chunk's sum over codes is multiplied by the absmax of each lane's block, so values are
// neither rounded to bf16 nor, singly, to f32: closer to the exact product than pan_linear for many rows. One rounding
// at the end. F16, ggml's blocks, 4-bit weights in other blocks than whole fractions or multiples of a chunk that end with the
// row, and all of those on the portable tier, are decoded into f32 rows first.

constexpr int64_t kFewRows = 4;
constexpr int64_t kPrefetch = 4096;  // bytes; codes are decoded more slowly than the hardware fetches them

struct FewRows {
  pan_context *ctx;
  const pan_weight *w;
  const void *x;
  int32_t xtype;
  int64_t m;
  void *y;
  int32_t ytype, accumulate;
  // Low-rank update: + scale * s[M, rank] b[N, rank]^T.
  const float *b, *s;
  int64_t rank;
  float scale;
  // Filled in by few_rows().
  int parts;         // values per word
  bool row_by_row;   // decoded into f32 rows
  int64_t chunks;    // of W words
  const float *ordered;  // [m][chunks][parts][W]
  int64_t task_rows;
};

// Words [at, at + W) of a row that has `bytes` bytes; zero beyond.
PAN_INLINE VU row_words(const char *row, int64_t at, int64_t bytes) {
  const char *from = row + at * 4;
  int64_t left = bytes - at * 4;
  if (left >= 4 * W) return (VU)vload((const float *)from);
  if (left % 4 == 0) return (VU)vload_n((const float *)from, left / 4);
  VU v = (VU)vzero();
  memcpy(&v, from, (size_t)left);
  return v;
}

#if PAN_LEVEL >= 1
// The absmax of the W lanes of chunk c; scales are those of the row's blocks, `blocks` of them; 0 beyond.
PAN_INLINE VF chunk_scales(const float *scales, int64_t blocks, int64_t block, int64_t c, VU lane_block) {
  if (block >= 8 * W) return vset(scales[c * 8 * W / block]);
  int64_t first_block = c * (8 * W / block);
  VF v = vload_n(scales + first_block, blocks - first_block);
#if PAN_LEVEL >= 2
  return _mm512_permutexvar_ps((__m512i)lane_block, v);
#else
  return _mm256_permutevar8x32_ps(v, (__m256i)lane_block);
#endif
}
#endif

// sums[r] = the product of one row of W with the rows r of x.
template <int kRows>
static void row_products(const FewRows &f, const char *row, const float *scales, const Levels &levels, VU lane_block, float *sums) {
  const float *x = f.ordered;
  VF even[kRows], odd[kRows];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; r++) even[r] = odd[r] = vzero();
  int64_t stride = f.chunks * f.parts * W, cols = f.w->cols;
  if (f.parts == 1) {
    int64_t c = 0;
    for (; c + 2 <= f.chunks; c += 2) {
      __builtin_prefetch(row + c * 4 * W + kPrefetch);
      __builtin_prefetch(row + (c + 1) * 4 * W + kPrefetch);
      VF v0 = (VF)row_words(row, c * W, cols * 4), v1 = (VF)row_words(row, (c + 1) * W, cols * 4);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; r++) {
        even[r] = vfma(v0, vload(x + r * stride + c * W), even[r]);
        odd[r] = vfma(v1, vload(x + r * stride + (c + 1) * W), odd[r]);
      }
    }
    if (c < f.chunks) {
      VF v = (VF)row_words(row, c * W, cols * 4);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; r++) even[r] = vfma(v, vload(x + r * stride + c * W), even[r]);
    }
  } else if (f.parts == 2) {
    for (int64_t c = 0; c < f.chunks; c++) {
      VU words = row_words(row, c * W, cols * 2);
      __builtin_prefetch(row + c * 4 * W + kPrefetch);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; r++) {
        const float *at = x + r * stride + c * 2 * W;
        even[r] = vfma((VF)(words << 16), vload(at), even[r]);
        odd[r] = vfma((VF)(words & 0xffff0000u), vload(at + W), odd[r]);
      }
    }
  } else {
#if PAN_LEVEL >= 1
    for (int64_t c = 0; c < f.chunks; c++) {
      VU words = row_words(row, c * W, cols / 2);
      VF part[kRows][2];
#pragma GCC unroll 4
      for (int r = 0; r < kRows; r++) part[r][0] = part[r][1] = vzero();
#pragma GCC unroll 8
      for (int p = 0; p < 8; p++) {
        VF v = look_up(levels, words >> (8 * (p / 2) + (p % 2 ? 0 : 4)));
#pragma GCC unroll 4
        for (int r = 0; r < kRows; r++) part[r][p & 1] = vfma(v, vload(x + r * stride + (c * 8 + p) * W), part[r][p & 1]);
      }
      VF scale = chunk_scales(scales, cols / f.w->block, f.w->block, c, lane_block);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; r++) even[r] = vfma(part[r][0] + part[r][1], scale, even[r]);
    }
#else
    (void)scales, (void)levels, (void)lane_block;  // rows are decoded first
#endif
  }
#pragma GCC unroll 4
  for (int r = 0; r < kRows; r++) sums[r] = vsum(even[r] + odd[r]);
}

static void few_rows_task(void *arg, int64_t task, int32_t worker) {
  const FewRows &f = *(const FewRows *)arg;
  const pan_weight *w = f.w;
  int64_t first = task * f.task_rows, last = min64(first + f.task_rows, w->rows);
  Levels levels = {};
  if (w->format == PAN_Q4) levels = make_levels(w->levels, 1.0f, false);
  float *decoded = f.row_by_row ? (float *)scratch(f.ctx, worker, 0) : nullptr;  // a row,
  float *nested = f.parts == 8 && !w->absmax ? (float *)scratch(f.ctx, worker, 0) : nullptr;  // or the absmax of a row
  const float *scales = nullptr;
  VU lane_block = (VU)vzero();
  if (f.parts == 8 && w->block < 8 * W)
    for (int i = 0; i < W; i++) lane_block[i] = (uint32_t)(8 * i / w->block);
  for (int64_t n = first; n < last; n++) {
    int64_t start = row_start(w, n);
    const char *row;
    if (f.row_by_row) {
      decode_range(w, start, w->cols, decoded, false);
      row = (const char *)decoded;
    } else {
      row = (const char *)w->data + (w->format == PAN_F32 ? start * 4 : w->format == PAN_BF16 ? start * 2 : start / 2);
      if (f.parts == 8) {
        int64_t blocks = w->cols / w->block;
        scales = nested ? nested : w->absmax + n * blocks;
        if (nested)
          for (int64_t i = 0; i < blocks; i++) nested[i] = block_scale(w, n * blocks + i);
      }
    }
    float sums[kFewRows];
    switch (f.m) {
      case 1: row_products<1>(f, row, scales, levels, lane_block, sums); break;
      case 2: row_products<2>(f, row, scales, levels, lane_block, sums); break;
      case 3: row_products<3>(f, row, scales, levels, lane_block, sums); break;
      default: row_products<4>(f, row, scales, levels, lane_block, sums);
    }
    for (int64_t r = 0; r < f.m; r++) {
      if (f.b) {
        float update = 0;
        for (int64_t j = 0; j < f.rank; j++) update += f.s[r * f.rank + j] * f.b[n * f.rank + j];
        sums[r] += f.scale * update;
      }
      int64_t at = r * w->rows + n;
      if (f.ytype == PAN_F32) {
        float *y = (float *)f.y + at;
        *y = f.accumulate ? *y + sums[r] : sums[r];
      } else {
        bf16 *y = (bf16 *)f.y + at;
        *y = to_bf16(f.accumulate ? to_float(*y) + sums[r] : sums[r]);
      }
    }
  }
}

static int32_t few_rows(FewRows &f) {
  const pan_weight *w = f.w;
  if (f.m == 0 || w->rows == 0) return 0;
  bool fits = PAN_LEVEL > 0 && w->format == PAN_Q4 && w->cols % w->block == 0 && w->block % 8 == 0 && (8 * W % w->block == 0 || w->block % (8 * W) == 0);
  f.row_by_row = w->format == PAN_Q4 ? !fits : w->format != PAN_F32 && w->format != PAN_BF16;
  f.parts = f.row_by_row || w->format == PAN_F32 ? 1 : w->format == PAN_BF16 ? 2 : 8;
  f.chunks = blocks_of(w->cols, W * f.parts);
  int64_t stride = f.chunks * f.parts * W;
  // One row of x as f32, then the ordered rows.
  float *shared = (float *)scratch(f.ctx, -1, (size_t)(stride * (f.m + 1)) * 4);
  bool complete = shared != nullptr;
  if (f.row_by_row || f.parts == 8)
    for (int32_t worker = 0; worker < thread_count(f.ctx); worker++) complete &= scratch(f.ctx, worker, (size_t)w->cols * 4) != nullptr;
  if (!complete) return fail(PAN_ERROR_MEMORY, "no memory for a product with %lld rows", (long long)f.m);
  float *ordered = shared + stride;
  for (int64_t r = 0; r < f.m; r++) {
    load_floats(f.x, f.xtype, r * w->cols, w->cols, shared);
    for (int64_t i = w->cols; i < stride; i++) shared[i] = 0;
    for (int64_t c = 0; c < f.chunks; c++)
      for (int p = 0; p < f.parts; p++)
        for (int lane = 0; lane < W; lane++) ordered[r * stride + (c * f.parts + p) * W + lane] = shared[(c * W + lane) * f.parts + p];
  }
  f.ordered = ordered;
  f.task_rows = max64(8, (1 << 16) / (w->cols + 1));
  parallel(f.ctx, blocks_of(w->rows, f.task_rows), few_rows_task, &f);
  return 0;
}
