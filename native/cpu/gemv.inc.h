// gemv.inc.h: pan_linear for few rows of x, as in generation: y[M, N] = x[M, K] W^T with M <= 8.
//
// Every weight is used M times only, so that packing would cost more than the product: rows of W are read once, in place,
// decoded in registers and multiplied by all rows of x; the aim is the speed of memory. Threads take rows of W. Two rows of
// W at a time share the loads of x. M is rounded up to 1, 2, 3, 4, 6 or 8 rows of x, the further ones zero.
//
// Which arithmetic:
//   bf16 x, codes (4-bit, ggml's)     16-bit integers: gemv_integers.inc.h
//   f32, bf16, f16 weights; f32 x     f32 multiply-adds; below
//   f32 x with ggml's blocks, 4-bit weights whose blocks are not 2^n >= 32 elements that end with the row, and all codes on
//   the portable tier                 rows are decoded into f32 first
//
// In f32, x is brought, once per call, into the order in which decoding yields the columns, so that nothing is shuffled
// per weight. A chunk of a row of W is W 32-bit words (W halves, f16); a word holds 1 value (f32), 2 (bf16) or 8 (4-bit codes);
// part p of it is one shift (and one look-up) away:
//   bf16   part 0: columns 2 i (word << 16); part 1: 2 i + 1 (word & 0xffff0000), lane i
//   4-bit  part p: columns 8 i + p; the code is in bits 8 (p / 2) + (p even ? 4 : 0)
// x is stored by chunks, rows and parts, and is zero beyond K.
//
// Numerics: f32 multiply-adds; a chunk's sum over codes is multiplied by the absmax of each lane's block, so values are
// neither rounded to bf16 nor, singly, to f32: closer to the exact product than pan_linear for many rows. One rounding
// at the end.

constexpr int64_t kFewRows = 8;
constexpr int64_t kPrefetch = 4096;  // bytes
constexpr int kMaxWide = 2;          // rows of W at a time
constexpr int64_t kBlockRows = 16;   // rows of W that a block of columns of x is multiplied by; even

#include "gemv_integers.inc.h"

// ---- a call ------------------------------------------------------------------------------------------------------------------

struct FewRows;
// sums[wide][rows] += the chunks `first` to `last` of the products.
typedef void (*FewRowsKernel)(const FewRows &f, const WeightRow *row, int64_t first, int64_t last, VF *sums);

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
  FewRowsKernel kernel;
  int rows, wide;         // of x and W, of the kernel
  bool decoded;           // rows of W become f32 first
  bool integers;
  int parts;              // values per word
  int64_t chunks;         // or steps
  const float *ordered;   // [chunks][rows][parts][W]
  const float *update;    // scale * s, [rows][rank rounded up to W]
  int64_t row_floats;     // scratch of a worker for a row of W
  int64_t task_rows;
  int64_t block_chunks, block_rows;  // of x, and the rows of W that they are multiplied by in turn
#if PAN_LEVEL >= 1
  IntegerLevels levels;
  int block_bits;
  XStep *steps;           // [chunks][rows]
  float *run_sums;        // of x, of every 16 columns, [rows][columns of the steps / 16]
  float *group_sums;      // of every 32 columns, [rows][groups]
  int64_t runs, groups;   // groups: a multiple of W
#endif
};

// ---- f32 -----------------------------------------------------------------------------------------------------------------

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

template <int32_t kFormat, int kRows, int kWide>
static void float_products(const FewRows &f, const WeightRow *row, int64_t first, int64_t last, VF *sums) {
  constexpr int kParts = kFormat == PAN_BF16 ? 2 : kFormat == PAN_Q4 ? 8 : 1;
  constexpr int kBytes = kFormat == PAN_F16 ? 2 * W : 4 * W;  // of a chunk
  constexpr int kChains = kRows * kWide == 1 ? 2 : 1;         // sums of alternating chunks, where one would wait for itself
  VF sum[kChains][kWide][kRows];
#pragma GCC unroll 2
  for (int i = 0; i < kWide; i++)
#pragma GCC unroll 8
    for (int r = 0; r < kRows; r++) sum[0][i][r] = sums[i * kRows + r], sum[kChains - 1][i][r] = kChains > 1 ? vzero() : sum[0][i][r];
  int64_t cols = f.w->cols;
  const float *x = f.ordered + first * kRows * kParts * W;
#if PAN_LEVEL >= 1
  Levels levels = {};
  if (kFormat == PAN_Q4) levels = make_levels(f.w->levels, 1.0f, false);
#endif
  auto multiply_chunk = [&](int64_t c, VF (*s)[kRows]) __attribute__((always_inline)) {
#pragma GCC unroll 2
    for (int i = 0; i < kWide; i++) __builtin_prefetch(row[i].ahead + c * kBytes);
    if constexpr (kFormat == PAN_Q4) {
#if PAN_LEVEL >= 1
#pragma GCC unroll 2
      for (int i = 0; i < kWide; i++) {
        VU codes = row_words(row[i].data, c * W, cols / 2);
        VF scale = q4_scales(row[i].scales, c, f.block_bits), part[kRows];
#pragma GCC unroll 8
        for (int r = 0; r < kRows; r++) part[r] = vzero();
#pragma GCC unroll 8
        for (int p = 0; p < 8; p++) {
          VF v = look_up(levels, codes >> (8 * (p / 2) + (p % 2 ? 0 : 4)));
#pragma GCC unroll 8
          for (int r = 0; r < kRows; r++) part[r] = vfma(v, vload(x + (r * 8 + p) * W), part[r]);
        }
#pragma GCC unroll 8
        for (int r = 0; r < kRows; r++) s[i][r] = vfma(part[r], scale, s[i][r]);
      }
#endif
    } else {
      VF v[kWide][kParts];
#pragma GCC unroll 2
      for (int i = 0; i < kWide; i++) {
        if constexpr (kFormat == PAN_F16) {
          v[i][0] = vload_n((const half *)row[i].data + c * W, cols - c * W);
        } else {
          VU word = row_words(row[i].data, c * W, cols * (kFormat == PAN_F32 ? 4 : 2));
          v[i][0] = (VF)(kParts == 2 ? word << 16 : word);
          if (kParts == 2) v[i][kParts - 1] = (VF)(word & 0xffff0000u);
        }
      }
#pragma GCC unroll 8
      for (int r = 0; r < kRows; r++)
#pragma GCC unroll 2
        for (int p = 0; p < kParts; p++) {
#if PAN_LEVEL >= 1
          VF at = (VF)shared_load<kWide>(x + (r * kParts + p) * W);
#else
          VF at = vload(x + (r * kParts + p) * W);
#endif
#pragma GCC unroll 2
          for (int i = 0; i < kWide; i++) s[i][r] = vfma(v[i][p], at, s[i][r]);
        }
    }
    x += kRows * kParts * W;
  };
  int64_t c = first;
  for (; c + kChains <= last; c += kChains) {
    multiply_chunk(c, sum[0]);
    if (kChains > 1) multiply_chunk(c + 1, sum[kChains - 1]);
  }
  if (c < last) multiply_chunk(c, sum[0]);
#pragma GCC unroll 2
  for (int i = 0; i < kWide; i++)
#pragma GCC unroll 8
    for (int r = 0; r < kRows; r++) sums[i * kRows + r] = kChains > 1 ? sum[0][i][r] + sum[kChains - 1][i][r] : sum[0][i][r];
}

// Row r of x, in order.
static void order_row(const FewRows &f, int64_t r, float *out) {
  int64_t cols = f.w->cols, stride = f.rows * f.parts * W, at = 0;
  const float *xf = (const float *)f.x + r * cols;
  const bf16 *xh = (const bf16 *)f.x + r * cols;
  for (int64_t c = 0; c < f.chunks; c++, out += stride) {
    if (f.parts == 1) {
      int64_t n = cols - c * W;
      vstore(out, f.xtype == PAN_F32 ? vload_n(xf + c * W, n) : vload_n(xh + c * W, n));
    } else if (f.parts == 2 && f.xtype == PAN_BF16) {
      VU pairs = row_words((const char *)xh, c * W, cols * 2);
      vstore(out, (VF)(pairs << 16));
      vstore(out + W, (VF)(pairs & 0xffff0000u));
    } else {
      for (int lane = 0; lane < W; lane++)
        for (int p = 0; p < f.parts; p++, at++) out[p * W + lane] = at < cols ? f.xtype == PAN_F32 ? xf[at] : to_float(xh[at]) : 0;
    }
  }
}

// ---- which kernel ----------------------------------------------------------------------------------------------------------

// How many rows of W at a time: two share the loads of x as far as there are registers (AVX-512: 16 sums, 8 parts and temporaries of 32). With one row
// of x see two_streams(); formats with minima have no pointers left for a second row.
#if PAN_LEVEL >= 2
constexpr int wide_of(int rows, bool integers, bool minimum) { return rows > 1 || (integers && !minimum) ? 2 : 1; }
#else
constexpr int wide_of(int rows, bool integers, bool) { return integers || rows == 1 || rows > 4 ? 1 : 2; }
#endif

template <int32_t kFormat, int kRows>
static void float_kernel(FewRows &f) {
  constexpr int kWide = wide_of(kRows, false, false);
  f.kernel = float_products<kFormat, kRows, kWide>;
  f.rows = kRows, f.wide = kWide;
}

#if PAN_LEVEL >= 1
template <int32_t kFormat, int kRows, int kWide, bool kVnni>
static void integer_kernel_products(const FewRows &f, const WeightRow *row, int64_t first, int64_t last, VF *sums) {
  integer_products<kFormat, kRows, kWide, kVnni>(f.levels, row, f.w->cols, f.block_bits, f.steps, f.group_sums, f.groups, first, last, sums);
}
template <int32_t kFormat, int kRows>
static void integer_kernel(FewRows &f) {
  constexpr int kWide = wide_of(kRows, true, has_minimum(kFormat));
#if PAN_LEVEL == 2
  f.kernel = __builtin_cpu_supports("avx512vnni") ? integer_kernel_products<kFormat, kRows, kWide, true> : integer_kernel_products<kFormat, kRows, kWide, false>;
#else
  f.kernel = integer_kernel_products<kFormat, kRows, kWide, (PAN_LEVEL > 2)>;
#endif
  f.rows = kRows, f.wide = kWide;
}
#endif

#define PAN_FOR_ROWS(kernel, format)              \
  switch (f.m) {                                  \
    case 1: return kernel<format, 1>(f);          \
    case 2: return kernel<format, 2>(f);          \
    case 3: return kernel<format, 3>(f);          \
    case 4: return kernel<format, 4>(f);          \
    case 5: case 6: return kernel<format, 6>(f);  \
    default: return kernel<format, 8>(f);         \
  }

static void choose_kernel(FewRows &f) {
#if PAN_LEVEL >= 1
  if (f.integers) {
    switch (f.w->format) {
      case PAN_Q4: PAN_FOR_ROWS(integer_kernel, PAN_Q4)
      case PAN_Q4_0: PAN_FOR_ROWS(integer_kernel, PAN_Q4_0)
      case PAN_Q4_1: PAN_FOR_ROWS(integer_kernel, PAN_Q4_1)
      case PAN_Q5_0: PAN_FOR_ROWS(integer_kernel, PAN_Q5_0)
      case PAN_Q5_1: PAN_FOR_ROWS(integer_kernel, PAN_Q5_1)
      case PAN_Q8_0: PAN_FOR_ROWS(integer_kernel, PAN_Q8_0)
      case PAN_Q4_K: PAN_FOR_ROWS(integer_kernel, PAN_Q4_K)
      case PAN_Q5_K: PAN_FOR_ROWS(integer_kernel, PAN_Q5_K)
      default: PAN_FOR_ROWS(integer_kernel, PAN_Q6_K)
    }
  }
  if (f.w->format == PAN_Q4 && !f.decoded) PAN_FOR_ROWS(float_kernel, PAN_Q4)
#endif
  if (f.w->format == PAN_BF16) PAN_FOR_ROWS(float_kernel, PAN_BF16)
  if (f.w->format == PAN_F16) PAN_FOR_ROWS(float_kernel, PAN_F16)
  PAN_FOR_ROWS(float_kernel, PAN_F32)
}

static int64_t row_bytes(const pan_weight *w) {
  switch (w->format) {
    case PAN_F32: return w->cols * 4;
    case PAN_BF16:
    case PAN_F16: return w->cols * 2;
    case PAN_Q4: return w->cols / 2 + 1;  // at most
    default: return w->cols / block_shape(w->format).elements * block_shape(w->format).bytes;
  }
}

// What the kernel reads of row n.
static void prepare_weight_row(const FewRows &f, int64_t n, float *memory, WeightRow *row) {
  const pan_weight *w = f.w;
  *row = {};
  if (f.decoded) {
    decode_range(w, row_start(w, n), w->cols, memory, false);
    row->data = row->ahead = (const char *)memory;
    return;
  }
  n = stored_row(w, n);
#if PAN_LEVEL >= 1
  if (w->format == PAN_Q4) {
    prepare_q4_row(w, n, memory, row);
    row->ahead = row->data + kPrefetch;
    return;
  }
#endif
  row->data = (const char *)w->data + n * row_bytes(w);
  row->ahead = row->data + kPrefetch;
}

// What the kernel reads of rows n to n + rows.
static void prepare_weight_rows(const FewRows &f, int64_t n, int64_t rows, float *memory, WeightRow *row) {
#if PAN_LEVEL >= 1
  if (f.w->format == PAN_Q4 && !f.decoded && scales_in_a_run(f.w)) {
    int64_t blocks = f.w->cols / f.w->block;
    nested_scales(f.w, n * blocks, rows * blocks, memory);
    for (int64_t i = 0; i < rows; i++) {
      row[i].data = (const char *)f.w->data + (n + i) * f.w->cols / 2;
      row[i].scales = memory + i * blocks;
      row[i].ahead = row[i].data + kPrefetch;
    }
    return;
  }
#endif
  for (int64_t i = 0; i < rows; i++) prepare_weight_row(f, n + i, memory + i * f.row_floats, row + i);
}

// ---- tasks -------------------------------------------------------------------------------------------------------------------

// Row r of x for the kernel.
static void prepare_x_task(void *arg, int64_t r, int32_t) {
  const FewRows &f = *(const FewRows *)arg;
#if PAN_LEVEL >= 1
  if (f.integers) {
    float *runs = f.run_sums + r * f.runs, *groups = f.group_sums + r * f.groups;
    if (r < f.m) {
      integer_row((const bf16 *)f.x + r * f.w->cols, f.w->cols, f.w->format, f.w->format == PAN_Q4 ? f.levels.unit : 1, f.chunks, f.steps + r, f.rows, runs);
      for (int64_t g = 0; g < f.groups; g++) groups[g] = 2 * g < f.runs ? runs[2 * g] + runs[2 * g + 1] : 0;
    } else {
      for (int64_t c = 0; c < f.chunks; c++) memset(f.steps + c * f.rows + r, 0, sizeof(XStep));
      memset(groups, 0, (size_t)f.groups * 4);
    }
    return;
  }
#endif
  float *out = (float *)f.ordered + r * f.parts * W;
  if (r < f.m) order_row(f, r, out);
  else
    for (int64_t c = 0; c < f.chunks; c++) memset(out + c * f.rows * f.parts * W, 0, (size_t)f.parts * W * 4);
}

// y[r, n] of all r, their products being sums[].
static void finish_row(const FewRows &f, int64_t n, const VF *sums) {
  int64_t rank = f.b ? f.rank : 0, padded = blocks_of(rank, W) * W;
  for (int64_t r = 0; r < f.m; r++) {
    VF sum = sums[r];
    for (int64_t j = 0; j < rank; j += W) sum = vfma(vload_n(f.b + n * rank + j, rank - j), vload(f.update + r * padded + j), sum);
    float v = vsum(sum);
    int64_t at = r * f.w->rows + n;
    if (f.ytype == PAN_F32) {
      float *y = (float *)f.y + at;
      *y = f.accumulate ? *y + v : v;
    } else {
      bf16 *y = (bf16 *)f.y + at;
      *y = to_bf16(f.accumulate ? to_float(*y) + v : v);
    }
  }
}

// Rows first to last times one row of x, from the first half and the second in turn: what the CPU fetches ahead by itself ends with a page, so two
// streams of memory are faster than one.
static void two_streams(const FewRows &f, int64_t first, int64_t last, float *memory, WeightRow *row) {
  constexpr int64_t kRun = kBlockRows / 2;
  int64_t half = (last - first + 1) / 2;
  for (int64_t at = 0; at < half; at += kRun) {
    int64_t rows = min64(kRun, half - at), others = min64(rows, last - first - half - at);
    prepare_weight_rows(f, first + at, rows, memory, row);
    if (others > 0) prepare_weight_rows(f, first + half + at, others, memory + rows * f.row_floats, row + rows);
    for (int64_t i = 0; i < rows; i++) {
      WeightRow pair[2] = {row[i], row[i < others ? rows + i : i]};
      VF sums[2] = {vzero(), vzero()};
      f.kernel(f, pair, 0, f.chunks, sums);
      finish_row(f, first + at + i, sums);
      if (i < others) finish_row(f, first + half + at + i, sums + 1);
    }
  }
}

static void few_rows_task(void *arg, int64_t task, int32_t worker) {
  const FewRows &f = *(const FewRows *)arg;
  int64_t last = min64((task + 1) * f.task_rows, f.w->rows);
  float *memory = f.row_floats ? (float *)scratch(f.ctx, worker, 0) : nullptr;
  WeightRow row[kBlockRows + kMaxWide];
  VF sums[kBlockRows * kFewRows];
  int64_t bytes = row_bytes(f.w), block_bytes = f.block_chunks * bytes / f.chunks;
  if (f.rows == 1 && f.wide == 2) return two_streams(f, task * f.task_rows, last, memory, row);
  for (int64_t n0 = task * f.task_rows; n0 < last; n0 += f.block_rows) {
    int64_t rows = min64(f.block_rows, last - n0), padded = blocks_of(rows, f.wide) * f.wide;
    prepare_weight_rows(f, n0, rows, memory, row);
    for (int64_t i = rows; i < padded; i++) row[i] = row[0];  // the partner of a last row
    for (int64_t i = 0; i < padded * f.rows; i++) sums[i] = vzero();
    for (int64_t c = 0; c < f.chunks; c += f.block_chunks) {
      // Blocks of rows are read down, then right; whole rows as they come.
      if (f.block_chunks < f.chunks)
        for (int64_t i = 0; i < padded; i++) {
          bool right = c + f.block_chunks < f.chunks;
          row[i].ahead = i + f.wide < padded ? row[i + f.wide].data
                         : right           ? row[i + f.wide - padded].data + block_bytes
                                           : row[padded - 1].data + (i % f.wide + 1) * bytes - c / f.block_chunks * block_bytes;
        }
      for (int64_t i = 0; i < rows; i += f.wide) f.kernel(f, row + i, c, min64(c + f.block_chunks, f.chunks), sums + i * f.rows);
    }
    for (int64_t i = 0; i < rows; i++) finish_row(f, n0 + i, sums + i * f.rows);
  }
}

// ---- the call ------------------------------------------------------------------------------------------------------------------

// Bytes of `count` T, so that what follows is aligned.
template <typename T> constexpr int64_t room(int64_t count) { return blocks_of(count * (int64_t)sizeof(T), 64) * 64; }

// The logarithm of a block of 4-bit codes that the kernels decode in registers, or -1.
static int fitting_block(const pan_weight *w) {
  if (PAN_LEVEL == 0 || w->block < 32 || (w->block & (w->block - 1)) || w->cols % w->block) return -1;
  for (int i = 0; i < 16; i++)
    if (!(w->levels[i] - w->levels[i] == 0)) return -1;  // not finite
  int bits = 5;
  while (1 << bits < w->block) bits++;
  return bits;
}

static int32_t few_rows(FewRows &f) {
  const pan_weight *w = f.w;
  if (f.m == 0 || w->rows == 0) return 0;
  bool codes = w->format == PAN_Q4 || has_blocks(w->format);
  int block_bits = w->format == PAN_Q4 ? fitting_block(w) : 0;
  f.integers = PAN_LEVEL > 0 && codes && f.xtype == PAN_BF16 && block_bits >= 0;
  f.decoded = codes && !f.integers && (PAN_LEVEL == 0 || w->format != PAN_Q4 || block_bits < 0);
  choose_kernel(f);
  f.parts = f.decoded || !codes ? w->format == PAN_BF16 ? 2 : 1 : 8;
  f.chunks = blocks_of(w->cols, W * f.parts);
  // Where x is larger than L1, blocks of its columns are multiplied by several rows of W before the next.
  constexpr int64_t kBlockBytes = 24 << 10;
#if PAN_LEVEL >= 1
  int64_t chunk_bytes = f.rows * (f.integers ? (int64_t)sizeof(XStep) : f.parts * W * 4), unit = f.integers ? kSegmentSteps : 1;
#else
  int64_t chunk_bytes = f.rows * f.parts * W * 4, unit = 1;
#endif
  bool blocked = !f.decoded && f.rows > 1 && f.chunks * chunk_bytes > kBlockBytes * 3 / 2;
  f.block_chunks = blocked ? max64(1, kBlockBytes / (chunk_bytes * unit)) * unit : f.chunks;
  f.block_rows = blocked || f.integers ? kBlockRows : kMaxWide;
  int64_t update = f.b ? f.rows * blocks_of(f.rank, W) * W : 0;
  int64_t ordered = f.integers ? 0 : f.chunks * f.rows * f.parts * W, shared = room<float>(update) + room<float>(ordered);
  f.row_floats = f.decoded ? blocks_of(w->cols, 16) * 16 : 0;
#if PAN_LEVEL >= 1
  f.block_bits = block_bits;
  if (w->format == PAN_Q4 && !f.decoded) f.row_floats = q4_row_memory(w);
  if (f.integers) {
    if (w->format == PAN_Q4) f.levels = integer_levels(w->levels);
    f.runs = f.chunks * (kStepColumns / 16);
    f.groups = blocks_of(f.runs, 2 * W) * W;
    shared += room<XStep>(f.chunks * f.rows) + room<float>(f.rows * f.runs) + room<float>(f.rows * f.groups);
  }
#endif
  char *memory = (char *)scratch(f.ctx, -1, (size_t)shared);
  bool complete = memory != nullptr;
  if (f.row_floats)
    for (int32_t worker = 0; worker < thread_count(f.ctx); worker++) complete &= scratch(f.ctx, worker, (size_t)(f.row_floats * f.block_rows) * 4) != nullptr;
  if (!complete) return fail(PAN_ERROR_MEMORY, "no memory for a product with %lld rows", (long long)f.m);
  float *updates = (float *)memory;
  f.update = updates;
  memory += room<float>(update);
  f.ordered = (float *)memory;
#if PAN_LEVEL >= 1
  if (f.integers) {
    f.steps = (XStep *)memory;
    f.run_sums = (float *)(memory + room<XStep>(f.chunks * f.rows));
    f.group_sums = f.run_sums + room<float>(f.rows * f.runs) / 4;
  }
#endif
  if (f.b) {
    int64_t padded = blocks_of(f.rank, W) * W;
    for (int64_t r = 0; r < f.m; r++)
      for (int64_t j = 0; j < padded; j++) updates[r * padded + j] = j < f.rank ? f.scale * f.s[r * f.rank + j] : 0;
  }
  constexpr int64_t kAlone = 16384;  // elements of x that are not worth waking anyone
  if (f.m * w->cols < kAlone)
    for (int64_t r = 0; r < f.rows; r++) prepare_x_task(&f, r, 0);
  else
    parallel(f.ctx, f.rows, prepare_x_task, &f);
  // Tasks are long, as every one breaks off a stream of memory, but enough for threads that are not equally fast.
  constexpr int64_t kLeastBytes = 1 << 14, kMostBytes = 1 << 19;
  int64_t bytes = row_bytes(w), share = w->rows * bytes / (8 * thread_count(f.ctx));
  f.task_rows = blocks_of(min64(max64(share, kLeastBytes), kMostBytes), bytes * kMaxWide) * kMaxWide;
  parallel(f.ctx, blocks_of(w->rows, f.task_rows), few_rows_task, &f);
  return 0;
}
