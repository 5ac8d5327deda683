// gemm.inc.h: the blocked matrix product behind every linear layer: Y[M, N] (+)= A[M, S] B[S, N], B being a weight of any
// format (pack.inc.h), optionally with `rank` further reduction steps for the low-rank update of LoRA.
//
// Blocking, after Goto and van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008):
//   - A task owns up to 256 columns and a range of the rows, chosen by the number of threads. Block by block of the reduction,
//     it packs its part of B, decoding every weight once, into its worker's scratch, where it stays in L2, and sweeps its rows:
//     the cost of decoding, about 0.3 cycles a weight, is spread over the rows of the product.
//   - Its rows of A are packed panel by panel, each just before it is multiplied by all columns of the task. A panel then lies in
//     L1, no memory is needed for more than one, and threads wait for nothing that others pack. Packing A anew for
//     every 256 columns costs about 1.5 %: an element takes 0.12 cycles and is used for 8.
//   - The reduction is cut into blocks of at most kStepBlock steps. Sums of later blocks start from those of earlier ones.
//   - The micro-kernel holds h x kNR sums in registers (14 x 32 with AVX-512), each step being 2 loads of B, h broadcasts
//     of A and 2 h multiply-adds. h is chosen so that the panels are equally high: 16 rows are two panels of 8.
//
// Numerics: every sum is one chain of f32 multiply-adds in ascending order of the reduction index, whatever task or
// panel it falls into; so results do not depend on the number of threads. It is rounded once, at the end, together with
// the old value when accumulating. VDPBF16PS (pairs) adds the two products of a pair, each as a multiply-add
// that flushes denormals.

struct Product {
  pan_context *ctx;
  // A: x[M, base], or, transposed, columns of x[base, M]; then scale * s[M, rank].
  const void *x;
  int32_t xtype;
  bool transposed;
  int64_t x_cols;  // of x as it lies
  const float *s;
  int64_t s_cols;   // of s as it lies
  float scale;
  // B: the weight, by rows or by columns, then the factor of the low-rank update, read in the same way.
  const pan_weight *w, *factor;
  bool by_rows, round;
  // Result.
  void *y;
  int32_t ytype, accumulate;
  int64_t m, n, base, rank;
  // Blocking, filled in by plan().
  int64_t base_steps, steps, block_steps, blocks;
  int height;  // rows of a panel of A
  int64_t panels;
  int64_t column_panels, task_columns, row_tasks, task_panels;
};

// ---- micro-kernel --------------------------------------------------------------------------------------------------------

typedef void (*TileKernel)(int64_t steps, const uint32_t *a, const uint32_t *b, float *sums, bool fresh);

// The kernel's vectors: those of the tier, or the four floats of one SSE or NEON register: GCC keeps sums in wider
// vectors than the machine has in memory.
#if PAN_LEVEL >= 1
typedef VF KV;
PAN_INLINE KV kernel_load(const void *p) { return vload((const float *)p); }
PAN_INLINE KV kernel_set(float x) { return vset(x); }
PAN_INLINE KV kernel_fma(KV a, KV b, KV c) { return vfma(a, b, c); }
#else
typedef float KV __attribute__((vector_size(16)));
PAN_INLINE KV kernel_load(const void *p) {
  KV v;
  memcpy(&v, p, sizeof v);
  return v;
}
PAN_INLINE KV kernel_set(float x) { return KV{x, x, x, x}; }
PAN_INLINE KV kernel_fma(KV a, KV b, KV c) { return a * b + c; }
#endif
constexpr int kLanes = sizeof(KV) / 4, kVectors = kNR / kLanes;

// sums[kRows][kNR] = (fresh ? 0 : sums) + a[kRows][kLda] b[steps][kNR].
template <bool kPairs, int kRows>
static void tile_kernel(int64_t steps, const uint32_t *a, const uint32_t *b, float *sums, bool fresh) {
  KV sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; i++)
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; j++) sum[i][j] = fresh ? KV{} : kernel_load(sums + i * kNR + j * kLanes);
  for (int64_t step = 0; step < steps; step++, b += kNR) {
#if PAN_LEVEL >= 3
    if (kPairs) {
      __m512bh b0 = (__m512bh)_mm512_loadu_si512(b), b1 = (__m512bh)_mm512_loadu_si512(b + W);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; i++) {
        __m512bh v = (__m512bh)_mm512_set1_epi32((int)a[i * kLda + step]);
        sum[i][0] = _mm512_dpbf16_ps(sum[i][0], v, b0);
        sum[i][1] = _mm512_dpbf16_ps(sum[i][1], v, b1);
      }
      continue;
    }
#endif
    KV row[kVectors];
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; j++) row[j] = kernel_load(b + j * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; i++) {
      KV v = kernel_set(as_float(a[i * kLda + step]));
#pragma GCC unroll 4
      for (int j = 0; j < kVectors; j++) sum[i][j] = kernel_fma(v, row[j], sum[i][j]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; i++)
#pragma GCC unroll 4
    for (int j = 0; j < kVectors; j++) memcpy(sums + i * kNR + j * kLanes, &sum[i][j], sizeof(KV));
}

// The kernel for `rows` rows, rounded up to an even number.
template <bool kPairs>
static TileKernel tile_kernel_for(int rows) {
  switch ((rows + 1) / 2) {
#if PAN_LEVEL >= 2
    case 7: return tile_kernel<kPairs, 14>;
    case 6: return tile_kernel<kPairs, 12>;
    case 5: return tile_kernel<kPairs, 10>;
    case 4: return tile_kernel<kPairs, 8>;
#endif
#if PAN_LEVEL >= 1 || defined(__aarch64__)
    case 3: return tile_kernel<kPairs, 6>;
    case 2: return tile_kernel<kPairs, 4>;
#endif
    default: return tile_kernel<kPairs, 2>;
  }
}

// y[rows, cols] (at its first element, row length ld) (+)= sums, rounded to T.
template <typename T>
static void store_tile(const float *sums, int rows, int64_t cols, T *y, int64_t ld, bool accumulate) {
  for (int i = 0; i < rows; i++, sums += kNR, y += ld) {
    if (cols >= kNR) {
      for (int j = 0; j < kNR; j += W) {
        VF v = vload(sums + j);
        vstore(y + j, accumulate ? v + vload(y + j) : v);
      }
    } else {
      for (int64_t j = 0; j < cols; j += W) {
        VF v = vload(sums + j);
        vstore_n(y + j, accumulate ? v + vload_n(y + j, cols - j) : v, cols - j);
      }
    }
  }
}

// ---- packing -------------------------------------------------------------------------------------------------------------

PAN_INLINE int panel_rows(const Product &p, int64_t panel) { return (int)min64(p.height, p.m - panel * p.height); }

// Steps [begin, end) of a panel's rows.
template <bool kPairs>
static void pack_a(const Product &p, int64_t begin, int64_t end, int64_t panel, uint32_t *out) {
  constexpr int kUnit = kPairs ? 2 : 1;  // values in a step
  int rows = panel_rows(p, panel);
  int64_t first_row = panel * p.height, middle = max64(begin, min64(end, p.base_steps));
  if (middle > begin) {
    int64_t k0 = begin * kUnit, count = min64(middle * kUnit, p.base) - k0;
    if (p.transposed) pack_a_transposed<kPairs>(p.x, p.xtype, p.x_cols, first_row, rows, k0, count, out);
    else for (int i = 0; i < rows; i++) pack_a_row<kPairs>(p.x, p.xtype, (first_row + i) * p.x_cols + k0, count, out + i * kLda);
  }
  if (end > middle) {
    int64_t k0 = (middle - p.base_steps) * kUnit, count = min64((end - p.base_steps) * kUnit, p.rank) - k0;
    float scaled[kStepBlock * kUnit];
    for (int i = 0; i < rows; i++) {
      const float *s = p.s + (first_row + i) * p.s_cols + k0;
      for (int64_t j = 0; j < count; j++) scaled[j] = p.scale * s[j];
      pack_a_row<kPairs>(scaled, PAN_F32, 0, count, out + i * kLda + (middle - begin));
    }
  }
  // The kernel of an even number of rows reads one more.
  if (rows & 1) memset(out + rows * kLda, 0, (size_t)(end - begin) * 4);
}

template <bool kPairs>
static void pack_b_part(const Product &p, const pan_weight *w, int64_t k0, int64_t count, int64_t column_panel, int panels, uint32_t *out, int64_t stride) {
  int64_t n0 = column_panel * kNR;
  if (p.by_rows) {
    pack_by_rows<kPairs>(w, p.round, n0, panels, k0, count, out, stride);
  } else {
    for (int i = 0; i < panels; i++)
      for (int g = 0; g < kNR; g += W) pack_by_columns<kPairs>(w, p.round, n0 + i * kNR + g, k0, count, out + i * stride + g);
  }
}

template <bool kPairs>
static void pack_b(const Product &p, int64_t begin, int64_t end, int64_t column_panel, int panels, uint32_t *out) {
  constexpr int kUnit = kPairs ? 2 : 1;
  int64_t stride = (end - begin) * kNR, middle = max64(begin, min64(end, p.base_steps));
  if (middle > begin) pack_b_part<kPairs>(p, p.w, begin * kUnit, min64(middle * kUnit, p.base) - begin * kUnit, column_panel, panels, out, stride);
  if (end > middle) {
    int64_t k0 = (middle - p.base_steps) * kUnit;
    pack_b_part<kPairs>(p, p.factor, k0, min64((end - p.base_steps) * kUnit, p.rank) - k0, column_panel, panels, out + (middle - begin) * kNR, stride);
  }
}

// ---- tasks ---------------------------------------------------------------------------------------------------------------

// Memory of a task: its part of B for a block of the reduction, one panel of A, and the sums: one tile, or all of the
// task's where blocks follow each other.
PAN_INLINE int64_t b_words(const Product &p) { return p.task_columns * kNR * p.block_steps; }
PAN_INLINE int64_t a_words(const Product &p) { return p.height * kLda; }
PAN_INLINE int64_t sum_words(const Product &p) { return (p.blocks > 1 ? p.task_panels * p.task_columns : 1) * p.height * kNR; }

// Asks for the lines of y that a tile will be stored to, so that the stores behind the kernel do not wait for them.
PAN_INLINE void prefetch_result(const Product &p, int64_t panel, int rows, int64_t column) {
  int64_t size = p.ytype == PAN_F32 ? 4 : 2;
  const char *row = (const char *)p.y + (panel * p.height * p.n + column) * size;
  for (int i = 0; i < rows; i++, row += p.n * size) __builtin_prefetch(row, 1);
}

template <bool kPairs>
static void product_task(const Product &p, int64_t task, int32_t worker) {
  int64_t column = task / p.row_tasks * p.task_columns, first = task % p.row_tasks * p.task_panels;
  int64_t last = min64(first + p.task_panels, p.panels);
  int columns = (int)min64(p.task_columns, p.column_panels - column);
  uint32_t *b = (uint32_t *)scratch(p.ctx, worker, 0), *a = b + b_words(p);
  float *sums = (float *)(a + a_words(p));
  TileKernel whole = tile_kernel_for<kPairs>(p.height);
  for (int64_t block = 0; block < p.blocks; block++) {
    int64_t begin = block * p.block_steps, end = min64(begin + p.block_steps, p.steps);
    pack_b<kPairs>(p, begin, end, column, columns, b);
    for (int64_t panel = first; panel < last; panel++) {
      int rows = panel_rows(p, panel);
      TileKernel kernel = rows == p.height ? whole : tile_kernel_for<kPairs>(rows);
      pack_a<kPairs>(p, begin, end, panel, a);
      for (int j = 0; j < columns; j++) {
        float *tile = p.blocks > 1 ? sums + ((panel - first) * p.task_columns + j) * p.height * kNR : sums;
        if (block + 1 == p.blocks) prefetch_result(p, panel, rows, (column + j) * kNR);
        kernel(end - begin, a, b + j * kNR * (end - begin), tile, block == 0);
        if (block + 1 < p.blocks) continue;
        int64_t n0 = (column + j) * kNR, at = panel * p.height * p.n + n0;
        if (p.ytype == PAN_F32) store_tile(tile, rows, p.n - n0, (float *)p.y + at, p.n, p.accumulate != 0);
        else store_tile(tile, rows, p.n - n0, (bf16 *)p.y + at, p.n, p.accumulate != 0);
      }
    }
  }
}

// The blocks of the reduction, equally high panels, and the tasks. The cost of a task, in cycles per step: its rows times
// its column panels, packing B, packing A. The partition has no influence on the result, so it may follow the number of threads.
template <bool kPairs>
static void plan(Product &p) {
  constexpr int kUnit = kPairs ? 2 : 1;
  p.base_steps = blocks_of(p.base, kUnit);
  p.steps = p.base_steps + blocks_of(p.rank, kUnit);
  p.blocks = max64(1, blocks_of(p.steps, kStepBlock));
  p.block_steps = blocks_of(blocks_of(p.steps, p.blocks), 64) * 64;
  p.blocks = max64(1, blocks_of(p.steps, p.block_steps));
  p.column_panels = blocks_of(p.n, kNR);
  p.height = (int)((blocks_of(p.m, blocks_of(p.m, kMR)) + 1) / 2 * 2);
  p.panels = blocks_of(p.m, p.height);
  int64_t threads = thread_count(p.ctx);
  double best = 1e300;
  for (int64_t columns = 1; columns <= min64(kMaxPanels, p.column_panels); columns++)
    for (int64_t parts = 1; parts <= min64(2 * threads, p.panels); parts++) {
      int64_t panels = blocks_of(p.panels, parts);
      if (p.blocks > 1) panels = max64(1, min64(panels, kTaskSums / (columns * kNR * p.height)));
      int64_t height = panels * p.height, row_tasks = blocks_of(p.panels, panels);
      int64_t rounds = blocks_of(blocks_of(p.column_panels, columns) * row_tasks, threads);
      double cost = double(rounds) * (double(columns * height) + 16.0 * double(columns) + 0.15 * double(height) + 8);
      if (cost < best) {
        best = cost;
        p.task_columns = columns;
        p.task_panels = panels;
        p.row_tasks = row_tasks;
      }
    }
}

PAN_INLINE int64_t product_tasks(const Product &p) { return blocks_of(p.column_panels, p.task_columns) * p.row_tasks; }

// Scratch memory of all workers.
static int32_t product_memory(const Product &p) {
  bool complete = true;
  for (int32_t worker = 0; worker < thread_count(p.ctx); worker++)
    complete &= scratch(p.ctx, worker, (size_t)(b_words(p) + a_words(p) + sum_words(p)) * 4) != nullptr;
  if (!complete) return fail(PAN_ERROR_MEMORY, "no memory to pack a product of %lld x %lld x %lld", (long long)p.m, (long long)p.n, (long long)p.base);
  return 0;
}

template <bool kPairs>
static void product_only_task(void *arg, int64_t task, int32_t worker) {
  product_task<kPairs>(*(const Product *)arg, task, worker);
}

template <bool kPairs>
static int32_t run_product(Product &p) {
  plan<kPairs>(p);
  int32_t error = product_memory(p);
  if (error) return error;
  parallel(p.ctx, product_tasks(p), product_only_task<kPairs>, &p);
  return 0;
}

// Pairs are for bf16 activations with weights that bf16 holds (stored so, or rounded so by decoding); f32 weights keep f32 arithmetic.
PAN_INLINE bool uses_pairs(int32_t xtype, const pan_weight *w) { return PAN_LEVEL >= 3 && xtype == PAN_BF16 && w->format != PAN_F32; }

static int32_t multiply(Product &p) {
  if (p.m == 0 || p.n == 0) return 0;
#if PAN_LEVEL >= 3
  if (uses_pairs(p.xtype, p.w)) return run_product<true>(p);
#endif
  return run_product<false>(p);
}
