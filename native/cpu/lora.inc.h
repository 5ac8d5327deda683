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
//             transposed for this, once per call); made by the task that packs the same rows, which are then in cache;
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
PAN_INLINE void dot_tile(const T *x, int64_t k, const float *a, float *s, int64_t rank) {
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
    for (int j = 0; j < kFactors; j++) s[i * rank + j] = vsum(sum[i][j]);
}

// s[rows, rank] = x[rows, k] a[rank, k]^T. An element has the same bits whichever tile it falls into.
template <typename T>
static void dot_products(const T *x, int64_t rows, int64_t k, const float *a, int64_t rank, float *s) {
  int64_t j = 0;
  for (; j + kDotFactors <= rank; j += kDotFactors) {
    int64_t i = 0;
    for (; i + kDotRows <= rows; i += kDotRows) dot_tile<kDotRows, kDotFactors>(x + i * k, k, a + j * k, s + i * rank + j, rank);
    for (; i < rows; i++) dot_tile<1, kDotFactors>(x + i * k, k, a + j * k, s + i * rank + j, rank);
  }
  for (; j < rank; j++) {
    int64_t i = 0;
    for (; i + kDotRows <= rows; i += kDotRows) dot_tile<kDotRows, 1>(x + i * k, k, a + j * k, s + i * rank + j, rank);
    for (; i < rows; i++) dot_tile<1, 1>(x + i * k, k, a + j * k, s + i * rank + j, rank);
  }
}

static void dot_products_of(const void *x, int32_t type, int64_t first, int64_t rows, int64_t k, const float *a, int64_t rank, float *s) {
  if (type == PAN_F32) dot_products((const float *)x + first * k, rows, k, a, rank, s + first * rank);
  else dot_products((const bf16 *)x + first * k, rows, k, a, rank, s + first * rank);
}

// ---- dA += c t^T x -----------------------------------------------------------------------------------------------------

constexpr int64_t kAhead = 12;  // rows

// sums[kDown][2 W] = t[m, kDown (of rank)]^T x[m, columns 0 .. 2 W), of which `cols` exist.
template <typename T>
static void down_tile(const T *x, int64_t ld, int64_t cols, int64_t m, const float *t, int64_t rank, float *sums) {
  VF low[kDown], high[kDown];
#pragma GCC unroll 8
  for (int j = 0; j < kDown; j++) low[j] = high[j] = vzero();
  if (cols >= 2 * W) {
    for (int64_t i = 0; i < m; i++, x += ld, t += rank) {
      __builtin_prefetch(x + kAhead * ld);  // rows may be further apart than the hardware follows
      VF a = vload(x), b = vload(x + W);
#pragma GCC unroll 8
      for (int j = 0; j < kDown; j++) {
        VF v = vset(t[j]);
        low[j] = vfma(v, a, low[j]);
        high[j] = vfma(v, b, high[j]);
      }
    }
  } else {
    int64_t n0 = min64(cols, W), n1 = max64(cols - W, 0);
    for (int64_t i = 0; i < m; i++, x += ld, t += rank) {
      VF a = vload_n(x, n0), b = n1 > 0 ? vload_n(x + W, n1) : vzero();
#pragma GCC unroll 8
      for (int j = 0; j < kDown; j++) {
        VF v = vset(t[j]);
        low[j] = vfma(v, a, low[j]);
        high[j] = vfma(v, b, high[j]);
      }
    }
  }
#pragma GCC unroll 8
  for (int j = 0; j < kDown; j++) {
    vstore(sums + j * 2 * W, low[j]);
    vstore(sums + j * 2 * W + W, high[j]);
  }
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

constexpr int64_t kDownColumns = 2 * W;

static void down_task(const DownProduct &d, int64_t task) {
  int64_t c0 = task * kDownColumns, cols = min64(kDownColumns, d.cols - c0);
  float sums[kDown * 2 * W];
  for (int64_t j0 = 0; j0 < d.rank; j0 += kDown) {
    if (d.type == PAN_F32) down_tile((const float *)d.x + c0, d.cols, cols, d.m, d.t + j0, d.padded, sums);
    else down_tile((const bf16 *)d.x + c0, d.cols, cols, d.m, d.t + j0, d.padded, sums);
    for (int64_t j = 0; j < kDown && j0 + j < d.rank; j++)
      for (int64_t c = 0; c < cols; c++) {
        float *out = d.transposed ? d.out + (c0 + c) * d.rank + j0 + j : d.out + (j0 + j) * d.cols + c0 + c;
        *out += d.scale * sums[j * 2 * W + c];
      }
  }
}

// ---- forward -----------------------------------------------------------------------------------------------------------

struct LoraForward {
  Product p;
  const float *a;
  float *s;
};

template <bool kPairs>
static void lora_pack_task(void *arg, int64_t panel, int32_t) {
  const LoraForward &l = *(const LoraForward *)arg;
  dot_products_of(l.p.x, l.p.xtype, l.p.row0 + panel * l.p.height, panel_rows(l.p, panel), l.p.base, l.a, l.p.rank, l.s);
  pack_a<kPairs>(l.p, panel);
}

template <bool kPairs>
static int32_t run_lora(LoraForward &l) {
  Product &p = l.p;
  plan_steps<kPairs>(p);
  int64_t chunk = chunk_rows(p);
  for (int64_t row = 0; row < p.m; row += chunk) {
    plan_rows(p, row, min64(chunk, p.m - row));
    int32_t error = product_memory(p, 0, nullptr);
    if (error) return error;
    parallel(p.ctx, p.panels, lora_pack_task<kPairs>, &l);
    parallel(p.ctx, product_tasks(p), product_only_task<kPairs>, &p);
  }
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
  p.ctx = ctx, p.x = x, p.xtype = type, p.x_cols = w->cols, p.s = s, p.scale = scaling;
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
  Product p;           // of dx, over a chunk of rows
  const float *b;      // [N, rank], and its transpose
  float *b_transposed;
  const float *s;
  float *t, *t_padded, *s_padded;  // [rows of the chunk, rank or padded]
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

template <bool kPairs>
static void lora_backward_pack_task(void *arg, int64_t panel, int32_t) {
  const LoraBackward &l = *(const LoraBackward *)arg;
  const Product &p = l.p;
  int64_t first = p.row0 + panel * p.height, rank = p.rank;
  int rows = panel_rows(p, panel);
  float *t = l.t + (first - p.row0) * rank;
  if (p.xtype == PAN_F32) dot_products((const float *)p.x + first * p.base, rows, p.base, l.b_transposed, rank, t);
  else dot_products((const bf16 *)p.x + first * p.base, rows, p.base, l.b_transposed, rank, t);
  for (int64_t i = 0; i < rows; i++) {
    float *tp = l.t_padded + (first - p.row0 + i) * l.padded, *sp = l.s_padded + (first - p.row0 + i) * l.padded;
    for (int64_t j = 0; j < l.padded; j++) {
      tp[j] = j < rank ? t[i * rank + j] : 0;
      sp[j] = j < rank ? l.s[(first + i) * rank + j] : 0;
    }
  }
  pack_a<kPairs>(p, panel);
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
  int64_t n = p.base, k = p.n, rank = p.rank, size = type == PAN_F32 ? 4 : 2;
  l.padded = blocks_of(rank, kDown) * kDown;
  plan_steps<kPairs>(p);
  int64_t chunk = chunk_rows(p);
  for (int64_t row = 0; row < p.m; row += chunk) {
    int64_t rows = min64(chunk, p.m - row);
    plan_rows(p, row, rows);
    void *extra = nullptr;
    int32_t error = product_memory(p, (n * rank + rows * (rank + 2 * l.padded)) * 4, &extra);
    if (error) return error;
    l.b_transposed = (float *)extra;
    l.t = l.b_transposed + n * rank;
    l.t_padded = l.t + rows * rank;
    l.s_padded = l.t_padded + rows * l.padded;
    p.s = l.t;
    p.s_first = row;
    l.da = DownProduct{(const char *)x + row * k * size, type, k, rows, rank, l.padded, l.t_padded, p.scale, da, false};
    l.db = DownProduct{(const char *)dy + row * n * size, type, n, rows, rank, l.padded, l.s_padded, p.scale, db, true};
    l.da_tasks = blocks_of(k, kDownColumns);
    l.db_tasks = blocks_of(n, kDownColumns);
    parallel(p.ctx, blocks_of(n, kTransposeRows), transpose_task, &l);
    parallel(p.ctx, p.panels, lora_backward_pack_task<kPairs>, &l);
    parallel(p.ctx, product_tasks(p) + l.da_tasks + l.db_tasks, lora_backward_task<kPairs>, &l);
  }
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
