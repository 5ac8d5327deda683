// lora.inc.h: a linear layer with a low-rank update (Hu et al., "LoRA", 2021), W[N, K], A[r, K], B[N, r], and its backward:
//
//   s[M, r] = x A^T        y[M, N] (+)= x W^T + c s B^T
//   t[M, r] = dy B         dx[M, K] (+)= dy W + c t A        dA += c t^T x        dB += c dy^T s          (c = scaling)
//
// The update of y is r further steps of the reduction of x W^T: the columns c s follow those of x in packed A, the rows of B
// those of W in packed B (gemm.inc.h). So y is rounded once, and written once; likewise dx with c t and A.
//
// The other products have one narrow side, r, that would leave most of a tile of the GEMM empty:
//   s and t   are dot products along K or N, whole vectors of x at a time, tiles of 4 rows of x by 4 of the factor (B is
//             transposed for this, once per call); made before the product, which needs them as the last columns of its A;
//   dA and dB are sums over rows of x or dy: a task owns a range of columns; kDown values of t or s are broadcast to 2
//             vectors of columns. Summed in ascending order of the row, so nothing depends on the threads.
//
// Numerics: f32 throughout, s and t included; with VDPBF16PS (pairs) c s, c t, A and B are rounded to bf16 in the update
// only, as every other operand of that product is.

#if PAN_LEVEL >= 2
constexpr int kDotRows = 4, kDotFactors = 4, kDown = 8;
#elif PAN_LEVEL == 1 || defined(__aarch64__)
constexpr int kDotRows = 2, kDotFactors = 4, kDown = 4;
#else
constexpr int kDotRows = 1, kDotFactors = 2, kDown = 2;
#endif

// ---- s = x A^T -------------------------------------------------------------------------------------------------------

template <int kRows, int kFactors, typename T>
PAN_INLINE void dot_tile(const T *x, int64_t k, const float *a, float *s, int64_t ld) {
  VF sum[kRows][kFactors];
#pragma GCC unroll 4
  for (int i = 0; i < kRows; i++)
#pragma GCC unroll 4
    for (int j = 0; j < kFactors; j++) sum[i][j] = vzero();
  int64_t c = 0;
  for (; c + W <= k; c += W) {
    VF f[kFactors];
#pragma GCC unroll 4
    for (int j = 0; j < kFactors; j++) f[j] = vload(a + j * k + c);
#pragma GCC unroll 4
    for (int i = 0; i < kRows; i++) {
      VF v = vload(x + i * k + c);
#pragma GCC unroll 4
      for (int j = 0; j < kFactors; j++) sum[i][j] = vfma(v, f[j], sum[i][j]);
    }
  }
  if (c < k) {
#pragma GCC unroll 4
    for (int i = 0; i < kRows; i++) {
      VF v = vload_n(x + i * k + c, k - c);
#pragma GCC unroll 4
      for (int j = 0; j < kFactors; j++) sum[i][j] = vfma(v, vload_n(a + j * k + c, k - c), sum[i][j]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kRows; i++)
#pragma GCC unroll 4
    for (int j = 0; j < kFactors; j++) s[i * ld + j] = vsum(sum[i][j]);
}

// s[rows, rank (of ld)] = x[rows, k] a[rank, k]^T. An element has the same bits whichever tile it falls into.
template <typename T>
static void dot_products(const T *x, int64_t rows, int64_t k, const float *a, int64_t rank, float *s, int64_t ld) {
  int64_t j = 0;
  for (; j + kDotFactors <= rank; j += kDotFactors) {
    int64_t i = 0;
    for (; i + kDotRows <= rows; i += kDotRows) dot_tile<kDotRows, kDotFactors>(x + i * k, k, a + j * k, s + i * ld + j, ld);
    for (; i < rows; i++) dot_tile<1, kDotFactors>(x + i * k, k, a + j * k, s + i * ld + j, ld);
  }
  for (; j < rank; j++) {
    int64_t i = 0;
    for (; i + kDotRows <= rows; i += kDotRows) dot_tile<kDotRows, 1>(x + i * k, k, a + j * k, s + i * ld + j, ld);
    for (; i < rows; i++) dot_tile<1, 1>(x + i * k, k, a + j * k, s + i * ld + j, ld);
  }
}

static void dot_products_of(const void *x, int32_t type, int64_t first, int64_t rows, int64_t k, const float *a, int64_t rank, float *s, int64_t ld) {
  if (type == PAN_F32) dot_products((const float *)x + first * k, rows, k, a, rank, s + first * ld, ld);
  else dot_products((const bf16 *)x + first * k, rows, k, a, rank, s + first * ld, ld);
}

// ---- dA += c t^T x -----------------------------------------------------------------------------------------------------

// 2 W columns of a row of x as two vectors, `low` and `high`: neighbours in f32; of bf16 the even and the odd columns, which are the
// halves of 32-bit words and so need no shuffle.
PAN_INLINE void load_columns(const float *x, VF &low, VF &high) { low = vload(x), high = vload(x + W); }
PAN_INLINE void load_columns(const bf16 *x, VF &low, VF &high) {
  VU words = (VU)vload((const float *)x);
  low = (VF)(words << 16), high = (VF)(words & 0xffff0000u);
}
PAN_INLINE int64_t column_of(const float *, int64_t i) { return i; }
PAN_INLINE int64_t column_of(const bf16 *, int64_t i) { return i < W ? 2 * i : 2 * (i - W) + 1; }

// sums[kDown][2 W] += t[m, kDown (of rank)]^T x[m, 2 W columns], of which `cols` exist, in the order of load_columns.
template <typename T>
static void down_tile(const T *x, int64_t ld, int64_t cols, int64_t m, const float *t, int64_t rank, float *sums) {
  VF low[kDown], high[kDown];
#pragma GCC unroll 8
  for (int j = 0; j < kDown; j++) low[j] = vload(sums + j * 2 * W), high[j] = vload(sums + j * 2 * W + W);
  alignas(64) T part[2 * W] = {};
  bool whole = cols >= 2 * W;
  for (int64_t i = 0; i < m; i++, x += ld, t += rank) {
    if (!whole) memcpy(part, x, (size_t)cols * sizeof(T));
    VF a, b;
    load_columns(whole ? x : part, a, b);
#pragma GCC unroll 8
    for (int j = 0; j < kDown; j++) {
      VF v = vset(t[j]);
      low[j] = vfma(v, a, low[j]);
      high[j] = vfma(v, b, high[j]);
    }
  }
#pragma GCC unroll 8
  for (int j = 0; j < kDown; j++) vstore(sums + j * 2 * W, low[j]), vstore(sums + j * 2 * W + W, high[j]);
}

// One of the two sums over rows: out (+)= c t^T x, out[rank, cols], or its transpose [cols, rank].
struct DownProduct {
  const void *x;
  int32_t type;
  int64_t cols, m, rank, padded;  // t[m, padded], zero from rank on
  const float *t;
  float scale;
  float *out;
  bool transposed;
};

// A task: some columns, so that a few lines of a row follow each other, and rows in runs that stay in L1 from one tile to the next.
constexpr int kDownTiles = 4;
constexpr int64_t kDownColumns = kDownTiles * 2 * W, kDownRows = 64;

template <typename T>
static void down_columns(const DownProduct &d, const T *x, int64_t c0) {
  int64_t cols = min64(kDownColumns, d.cols - c0);
  for (int64_t j0 = 0; j0 < d.rank; j0 += kDown) {
    float sums[kDownTiles][kDown * 2 * W] = {};
    for (int64_t row = 0; row < d.m; row += kDownRows) {
      int64_t rows = min64(kDownRows, d.m - row);
      for (int64_t i = row + rows; j0 == 0 && i < min64(row + rows + kDownRows, d.m); i++)  // the next run
        for (int64_t c = 0; c < cols; c += 64 / (int64_t)sizeof(T)) __builtin_prefetch(x + i * d.cols + c0 + c);
      for (int64_t c = 0; c < cols; c += 2 * W)
        down_tile(x + row * d.cols + c0 + c, d.cols, cols - c, rows, d.t + row * d.padded + j0, d.padded, sums[c / (2 * W)]);
    }
    for (int64_t j = 0; j < kDown && j0 + j < d.rank; j++)
      for (int64_t tile = 0; tile * 2 * W < cols; tile++)
        for (int64_t i = 0; i < 2 * W; i++) {
          int64_t c = tile * 2 * W + column_of(x, i);
          if (c >= cols) continue;
          float *out = d.transposed ? d.out + (c0 + c) * d.rank + j0 + j : d.out + (j0 + j) * d.cols + c0 + c;
          *out += d.scale * sums[tile][j * 2 * W + i];
        }
  }
}

static void down_task(const DownProduct &d, int64_t task) {
  if (d.type == PAN_F32) down_columns(d, (const float *)d.x, task * kDownColumns);
  else down_columns(d, (const bf16 *)d.x, task * kDownColumns);
}

// ---- forward -----------------------------------------------------------------------------------------------------------

struct LoraForward {
  Product p;
  const float *a;
  float *s;
};

constexpr int64_t kDotTaskRows = 16;

static void lora_dot_task(void *arg, int64_t task, int32_t) {
  const LoraForward &l = *(const LoraForward *)arg;
  int64_t first = task * kDotTaskRows;
  dot_products_of(l.p.x, l.p.xtype, first, min64(kDotTaskRows, l.p.m - first), l.p.base, l.a, l.p.rank, l.s, l.p.rank);
}

template <bool kPairs>
static int32_t run_lora(LoraForward &l) {
  Product &p = l.p;
  plan<kPairs>(p);
  int32_t error = product_memory(p);
  if (error) return error;
  parallel(p.ctx, blocks_of(p.m, kDotTaskRows), lora_dot_task, &l);
  parallel(p.ctx, product_tasks(p), product_only_task<kPairs>, &p);
  return 0;
}

static int32_t lora_linear(pan_context *ctx, const pan_weight *w, const float *a, const float *b, int64_t rank, float scaling, const void *x, int64_t m, float *s, void *y,
                           int32_t type, int32_t accumulate) {
  if (m == 0) return 0;
  if (m <= kFewRows) {
    pan_weight down = {};
    down.format = PAN_F32, down.rows = rank, down.cols = w->cols, down.data = a;
    int32_t error = linear(ctx, &down, x, type, m, s, PAN_F32, 0);
    if (error) return error;
    FewRows f = {};
    f.ctx = ctx, f.w = w, f.x = x, f.xtype = type, f.m = m, f.y = y, f.ytype = type, f.accumulate = accumulate;
    f.b = b, f.s = s, f.rank = rank, f.scale = scaling;
    return few_rows(f);
  }
  pan_weight factor = {};
  factor.format = PAN_F32, factor.rows = w->rows, factor.cols = rank, factor.data = b;
  LoraForward l = {};
  Product &p = l.p;
  p.ctx = ctx, p.x = x, p.xtype = type, p.x_cols = w->cols, p.s = s, p.s_cols = rank, p.scale = scaling;
  p.w = w, p.factor = &factor, p.round = type == PAN_BF16;
  p.y = y, p.ytype = type, p.accumulate = accumulate;
  p.m = m, p.n = w->rows, p.base = w->cols, p.rank = rank;
  l.a = a, l.s = s;
#if PAN_LEVEL >= 3
  if (uses_pairs(type, w)) return run_lora<true>(l);
#endif
  return run_lora<false>(l);
}

// ---- backward ----------------------------------------------------------------------------------------------------------

struct LoraBackward {
  Product p;           // of dx
  const float *b;      // [N, rank], and its transpose
  float *b_transposed;
  const float *s;
  float *t, *s_padded;  // [M, padded]; s itself where rank is a multiple of kDown
  int64_t padded;
  DownProduct da, db;
  int64_t da_tasks, db_tasks;
};

constexpr int64_t kTransposeRows = 512;

static void transpose_task(void *arg, int64_t task, int32_t) {
  const LoraBackward &l = *(const LoraBackward *)arg;
  int64_t n = l.p.base, rank = l.p.rank, last = min64(n, (task + 1) * kTransposeRows);
  for (int64_t j = 0; j < rank; j++)
    for (int64_t i = task * kTransposeRows; i < last; i++) l.b_transposed[j * n + i] = l.b[i * rank + j];
}

static void lora_backward_dot_task(void *arg, int64_t task, int32_t) {
  const LoraBackward &l = *(const LoraBackward *)arg;
  const Product &p = l.p;
  int64_t first = task * kDotTaskRows, last = min64(p.m, first + kDotTaskRows), rank = p.rank;
  dot_products_of(p.x, p.xtype, first, last - first, p.base, l.b_transposed, rank, l.t, l.padded);
  if (l.padded == rank) return;
  for (int64_t i = first; i < last; i++)
    for (int64_t j = 0; j < l.padded; j++) {
      if (j >= rank) l.t[i * l.padded + j] = 0;
      l.s_padded[i * l.padded + j] = j < rank ? l.s[i * rank + j] : 0;
    }
}

template <bool kPairs>
static void lora_backward_task(void *arg, int64_t task, int32_t worker) {
  const LoraBackward &l = *(const LoraBackward *)arg;
  int64_t tasks = product_tasks(l.p);
  if (task < tasks) product_task<kPairs>(l.p, task, worker);
  else if (task - tasks < l.da_tasks) down_task(l.da, task - tasks);
  else down_task(l.db, task - tasks - l.da_tasks);
}

template <bool kPairs>
static int32_t run_lora_backward(LoraBackward &l, const void *x, const void *dy, int32_t type, float *da, float *db) {
  Product &p = l.p;
  int64_t n = p.base, k = p.n, rank = p.rank;
  l.padded = blocks_of(rank, kDown) * kDown;
  bool pad = l.padded != rank;
  plan<kPairs>(p);
  int32_t error = product_memory(p);
  if (error) return error;
  l.b_transposed = (float *)scratch(p.ctx, -1, (size_t)(n * rank + p.m * l.padded * (pad ? 2 : 1)) * 4);
  if (!l.b_transposed) return fail(PAN_ERROR_MEMORY, "no memory for the low-rank products of %lld rows", (long long)p.m);
  l.t = l.b_transposed + n * rank;
  l.s_padded = l.t + p.m * l.padded;
  p.s = l.t, p.s_cols = l.padded;
  l.da = DownProduct{x, type, k, p.m, rank, l.padded, l.t, p.scale, da, false};
  l.db = DownProduct{dy, type, n, p.m, rank, l.padded, pad ? l.s_padded : l.s, p.scale, db, true};
  l.da_tasks = blocks_of(k, kDownColumns);
  l.db_tasks = blocks_of(n, kDownColumns);
  parallel(p.ctx, blocks_of(n, kTransposeRows), transpose_task, &l);
  parallel(p.ctx, blocks_of(p.m, kDotTaskRows), lora_backward_dot_task, &l);
  parallel(p.ctx, product_tasks(p) + l.da_tasks + l.db_tasks, lora_backward_task<kPairs>, &l);
  return 0;
}

static int32_t lora_linear_backward(pan_context *ctx, const pan_weight *w, const float *a, const float *b, int64_t rank, float scaling, const void *x, const float *s,
                                    const void *dy, int64_t m, float *da, float *db, void *dx, int32_t type, int32_t accumulate) {
  if (m == 0) return 0;
  pan_weight factor = {};
  factor.format = PAN_F32, factor.rows = rank, factor.cols = w->cols, factor.data = a;
  LoraBackward l = {};
  Product &p = l.p;
  p.ctx = ctx, p.x = dy, p.xtype = type, p.x_cols = w->rows, p.scale = scaling;
  p.w = w, p.factor = &factor, p.by_rows = true, p.round = type == PAN_BF16;
  p.y = dx, p.ytype = type, p.accumulate = accumulate;
  p.m = m, p.n = w->cols, p.base = w->rows, p.rank = rank;
  l.b = b, l.s = s;
#if PAN_LEVEL >= 3
  if (uses_pairs(type, w)) return run_lora_backward<true>(l, x, dy, type, da, db);
#endif
  return run_lora_backward<false>(l, x, dy, type, da, db);
}
