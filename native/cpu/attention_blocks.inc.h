// attention_blocks.inc.h: what the attention kernels (attention.inc.h, attention_backward.inc.h) are built from.
//
// Stacked rows. The query heads that share a key/value head are treated as more rows of one matrix: for sequence s and
// kv head h, with G = heads / kv_heads, row r = j G + g is query j of head h G + g. It sees the keys 0 .. keys - queries + r / G.
// So keys and values are never repeated, a block of rows uses each packed key block G times as often, and a decoding step
// has G rows instead of one.
//
// Blocks. Rows and keys are cut into blocks of 64. A block of rows is copied to f32 and padded with zero rows, a block of
// keys is packed to f32: transposed, KT[d][64], where it is multiplied as rows x keys, and as it is, [64][ld], where it is
// multiplied as rows x features. All products are outer products in registers: MR rows, each element broadcast, times
// NV vectors. Products that the causal mask makes zero are left out, tile by tile. A block of rows is taken in strips, of
// as many rows as a tile has: the scores of a strip go through the softmax, and are used, while they are in the L1 cache.
//
// Scores are kept to base 2: log2(e) is multiplied into the copy of q, and p = 2^(score - max), which needs no reduction
// by ln 2. lse is natural outside.

static constexpr int64_t BLOCK = 64;  // rows and keys of a block
// The tiles: MR x NV vectors of sums, and SR x NV for the rows that are left over, which are never more than SR.
#if PAN_LEVEL >= 2
static constexpr int MR = 6, SR = 4, NV = 4;  // 24 sums: a whole strip of 64 scores, so that both factors are read once
#elif PAN_LEVEL == 1
static constexpr int MR = 6, SR = 4, NV = 2;  // 16 registers: 12 sums, 2 vectors, 1 broadcast
#else
static constexpr int MR = 4, SR = 4, NV = 2;
#endif

// One call of pan_attention or pan_attention_backward.
struct AttentionShape {
  const int32_t *sequences;
  int64_t count, heads, kv_heads, group, d;
  int64_t ld;  // d, rounded up to whole vectors: row length of the f32 copies
  float scale;
};

// One sequence of the call under one kv head.
struct Head {
  int64_t queries, keys, rows;        // rows = queries * group
  int64_t group, offset;              // row r sees the keys 0 .. offset + r / group
  int64_t row_stride, key_stride;     // elements from one query (key) to the next
  int64_t first_row, first_key;       // element index of row 0 of q and out, of key 0 of k and v
  int64_t first_lse;                  // element index of row 0 in lse
  int64_t heads;
};

static Head head_of(const AttentionShape &a, int64_t sequence, int64_t kv_head) {
  const int32_t *s = a.sequences + 4 * sequence;
  Head h;
  h.queries = s[1];
  h.keys = s[3];
  h.group = a.group;
  h.rows = h.queries * a.group;
  h.offset = h.keys - h.queries;
  h.row_stride = a.heads * a.d;
  h.key_stride = a.kv_heads * a.d;
  h.first_row = (s[0] * a.heads + kv_head * a.group) * a.d;
  h.first_key = (s[2] * a.kv_heads + kv_head) * a.d;
  h.first_lse = s[0] * a.heads + kv_head * a.group;
  h.heads = a.heads;
  return h;
}

// Where a stacked row is in q (and whatever is shaped like it) and in lse; next() goes to the following row without a division.
struct RowAt {
  int64_t element, lse, member;  // member: r % group
  void next(const Head &h, int64_t d) {
    bool last = ++member == h.group;
    element += last ? h.row_stride - (h.group - 1) * d : d;
    lse += last ? h.heads - (h.group - 1) : 1;
    member = last ? 0 : member;
  }
};
static RowAt row_at(const Head &h, int64_t r, int64_t d) {
  int64_t query = r / h.group, member = r % h.group;
  return RowAt{h.first_row + query * h.row_stride + member * d, h.first_lse + query * h.heads + member, member};
}

// A block of rows against a block of keys: row i sees the first seen[i] of the `keys` keys, and never fewer than row i - 1.
struct Mask {
  int64_t rows, keys;
  int64_t first_sight, group;  // key i is seen from row i * group + first_sight on
  int32_t seen[BLOCK];
};
static Mask mask_of(const Head &h, int64_t row0, int64_t key0, int64_t most_keys) {
  Mask m;
  m.rows = min64(BLOCK, h.rows - row0);
  m.keys = min64(most_keys, h.keys - key0);
  m.first_sight = (key0 - h.offset) * h.group - row0;
  m.group = h.group;
  int64_t visible = h.offset + row0 / h.group + 1 - key0, member = row0 % h.group;
  for (int64_t i = 0; i < m.rows; i++) {
    m.seen[i] = int32_t(max64(0, min64(m.keys, visible)));
    if (++member == h.group) {
      member = 0;
      visible++;
    }
  }
  return m;
}
// The rows of the tile to take next when `left` are left; a tile may take up to SR - 1 more than there are.
static inline int strip_rows(int64_t left) { return left <= 2 * SR ? SR : MR; }
// What the last row of a strip sees.
static inline int64_t seen_by_strip(const Mask &m, int64_t i, int64_t rows) { return m.seen[min64(i + rows, m.rows) - 1]; }
// The first row of the block that sees key i of the block; may be m.rows or more.
static inline int64_t first_seer(const Mask &m, int64_t i) { return max64(0, i * m.group + m.first_sight); }

// ---- products --------------------------------------------------------------------------------------------------------

// c[R, N vectors] (+)= a b over k terms. Element (i, p) of a is a[i * lda + p], or a[p * lda + i] when `across`.
template <int R, int N, bool across, bool add, typename B> static void tile(const float *a, int64_t lda, const B *b, int64_t ldb, float *c, int64_t ldc, int64_t k) {
  VF sum[R][N];
#pragma GCC unroll 16
  for (int i = 0; i < R; i++)
#pragma GCC unroll 4
    for (int j = 0; j < N; j++) sum[i][j] = add ? vload(c + i * ldc + j * W) : vzero();
  for (int64_t p = 0; p < k; p++) {
    VF v[N];
#pragma GCC unroll 4
    for (int j = 0; j < N; j++) v[j] = vload(b + p * ldb + j * W);
#pragma GCC unroll 16
    for (int i = 0; i < R; i++) {
      VF x = vset(across ? a[p * lda + i] : a[i * lda + p]);
#pragma GCC unroll 4
      for (int j = 0; j < N; j++) sum[i][j] = vfma(x, v[j], sum[i][j]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < R; i++)
#pragma GCC unroll 4
    for (int j = 0; j < N; j++) vstore(c + i * ldc + j * W, sum[i][j]);
}

// c[rows, columns] (+)= a b, rows being MR or SR, the columns rounded up to whole vectors.
template <int R, bool across, bool add, typename B> static void tiles(const float *a, int64_t lda, const B *b, int64_t ldb, float *c, int64_t ldc, int64_t columns, int64_t k) {
  int64_t j = 0;
  for (; columns - j > (NV - 1) * W; j += NV * W) tile<R, NV, across, add>(a, lda, b + j, ldb, c + j, ldc, k);
  int64_t left = blocks_of(columns - j, W);
  if (left == 1) tile<R, 1, across, add>(a, lda, b + j, ldb, c + j, ldc, k);
#if PAN_LEVEL >= 2
  if (left == 2) tile<R, 2, across, add>(a, lda, b + j, ldb, c + j, ldc, k);
  if (left == 3) tile<R, 3, across, add>(a, lda, b + j, ldb, c + j, ldc, k);
#endif
}
template <bool across, bool add, typename B>
static void strip_product(int rows, const float *a, int64_t lda, const B *b, int64_t ldb, float *c, int64_t ldc, int64_t columns, int64_t k) {
  if (rows == MR)
    tiles<MR, across, add>(a, lda, b, ldb, c, ldc, columns, k);
  else
    tiles<SR, across, add>(a, lda, b, ldb, c, ldc, columns, k);
}

// c[64 rows, ld] += s[64, 64] y[64, ld], s being zero where the mask is.
static void add_key_sum(const Mask &m, const float *s, const float *y, int64_t ld, float *c) {
  for (int64_t i = 0, rows; i < m.rows; i += rows) {
    rows = strip_rows(m.rows - i);
    strip_product<false, true>(int(rows), s + i * BLOCK, BLOCK, y, ld, c + i * ld, ld, ld, seen_by_strip(m, i, rows));
  }
}

// c[64 keys, ld] += s[64, 64]^T x[64, ld], s being zero where the mask is.
static void add_row_sum(const Mask &m, const float *s, const float *x, int64_t ld, float *c) {
  for (int64_t i = 0, keys; i < m.keys; i += keys) {
    keys = strip_rows(m.keys - i);
    int64_t p = first_seer(m, i), k = m.rows - p;
    if (k <= 0) break;
    strip_product<true, true>(int(keys), s + p * BLOCK + i, BLOCK, x + p * ld, ld, c + i * ld, ld, ld, k);
  }
}

// ---- exponentials ------------------------------------------------------------------------------------------------------

static constexpr float LOG2_E = 1.44269504f, LN_2 = 0.693147181f;

// 2^x for x <= 127, to about one unit in the last place: vexp() of simd.h with x = k + r and its polynomial in r ln 2.
// Results below the smallest normal number are 0; NaN stays.
PAN_INLINE VF vexp2(VF argument) {
  const VF lowest = vset(-126.f), magic = vset(12582912.f);  // 1.5 * 2^23: adding it rounds to an integer
#if PAN_LEVEL >= 2
  VF x = argument;  // whatever comes of an x below the lowest is masked out
#else
  VF x = vmin(vset(127.f), vmax(lowest, argument));
#endif
  VF shifted = x + magic;
  VF k = shifted - magic;
  VF r = x - k;
  VF p = vset(1.53210716e-4f);
  p = vfma(p, r, vset(1.33902185e-3f));
  p = vfma(p, r, vset(9.61852668e-3f));
  p = vfma(p, r, vset(5.55036239e-2f));
  p = vfma(p, r, vset(2.40226478e-1f));
  p = vfma(p, r, vset(6.93147181e-1f));
  p = vfma(p, r, vset(1.f));
#if PAN_LEVEL >= 2
  return _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(argument, lowest, _CMP_NLT_UQ), p, k);
#else
  VI n = (VI)shifted - (VI)magic;  // k as an integer
  VF y = p * (VF)((n + 127) << 23);
  return (VF)((VI)y & ~(VI)(argument < lowest));
#endif
}

// ---- copying and packing -----------------------------------------------------------------------------------------------

// y[n] = x[d] * factor, and zeros up to ld = n whole vectors.
template <typename T> PAN_INLINE void load_row(const T *x, int64_t d, float factor, float *y, int64_t ld) {
  for (int64_t j = 0; j < ld; j += W) vstore(y + j, vload_n(x + j, d - j) * vset(factor));
}

// The stacked rows row0 .. of x, times factor, as f32 [64, ld]; the rows beyond the last that a tile may touch are zero.
template <typename T> static void load_rows(const Head &h, const T *x, int64_t row0, int64_t d, float factor, float *y, int64_t ld) {
  int64_t n = min64(BLOCK, h.rows - row0);
  RowAt at = row_at(h, row0, d);
  for (int64_t i = 0; i < n; i++, at.next(h, d)) load_row(x + at.element, d, factor, y + i * ld, ld);
  for (int64_t i = n; i < min64(BLOCK, n + SR); i++)
    for (int64_t j = 0; j < ld; j += W) vstore(y + i * ld + j, vzero());
}

// Asks for the stacked rows row0 .. of x, which lie in pieces too short for a hardware prefetcher to follow.
template <typename T> static void fetch_rows(const Head &h, const T *x, int64_t row0, int64_t d) {
  RowAt at = row_at(h, row0, d);
  for (int64_t i = 0; i < min64(BLOCK, h.rows - row0); i++, at.next(h, d))
    for (int64_t j = 0; j < d; j += 64 / int64_t(sizeof(T))) __builtin_prefetch(x + at.element + j, 0, 2);
}

// The keys key0 .. of x as f32 [64, ld]; missing keys are zero.
template <typename T> static void load_keys(const Head &h, const T *x, int64_t key0, int64_t d, float *y, int64_t ld) {
  int64_t n = min64(BLOCK, h.keys - key0);
  for (int64_t i = 0; i < n; i++) load_row(x + h.first_key + (key0 + i) * h.key_stride, d, 1.f, y + i * ld, ld);
  for (int64_t j = n * ld; j < BLOCK * ld; j += W) vstore(y + j, vzero());
}

// The elements of the lower (upper) halves of a and b in turn.
PAN_INLINE VF interleave_lower(VF a, VF b) {
#if PAN_LEVEL >= 2
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
#else
  return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
#endif
}
PAN_INLINE VF interleave_upper(VF a, VF b) {
#if PAN_LEVEL >= 2
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#else
  return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#endif
}

// Transposes W vectors: log2(W) times, vector i and vector i + W/2 are interleaved into the vectors 2i and 2i + 1.
PAN_INLINE void transpose(VF *v) {
  VF t[W];
  for (int step = 1; step < W; step *= 2) {
#pragma GCC unroll 16
    for (int i = 0; i < W / 2; i++) {
      t[2 * i] = interleave_lower(v[i], v[i + W / 2]);
      t[2 * i + 1] = interleave_upper(v[i], v[i + W / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < W; i++) v[i] = t[i];
  }
}

// The keys key0 .. of x as f32 [d up to ld][64]; missing keys are zero.
template <typename T> static void load_keys_transposed(const Head &h, const T *x, int64_t key0, int64_t d, float *y) {
  int64_t n = min64(BLOCK, h.keys - key0);
  for (int64_t i = 0; i < BLOCK; i += W)
    for (int64_t j = 0; j < d; j += W) {
      const T *from = x + h.first_key + (key0 + i) * h.key_stride + j;
      VF v[W];
      if (i + W <= n && j + W <= d) {
#pragma GCC unroll 16
        for (int r = 0; r < W; r++) v[r] = vload(from + r * h.key_stride);
      } else {
        for (int r = 0; r < W; r++) v[r] = i + r < n ? vload_n(from + r * h.key_stride, d - j) : vzero();
      }
      transpose(v);
#pragma GCC unroll 16
      for (int r = 0; r < W; r++) vstore(y + (j + r) * BLOCK + i, v[r]);
    }
}

// ---- tasks ---------------------------------------------------------------------------------------------------------------

// Tasks of all sequences in one numbering: starts[s] is the first task of sequence s, starts[count] their number.
struct TaskIndex {
  const int64_t *starts;
  int64_t count;
};
static inline int64_t sequence_of(const TaskIndex &index, int64_t task) {
  int64_t low = 0, high = index.count;  // starts[low] <= task < starts[high]
  while (high - low > 1) {
    int64_t middle = (low + high) / 2;
    if (index.starts[middle] <= task)
      low = middle;
    else
      high = middle;
  }
  return low;
}

// Hands out pieces of one scratch allocation: first without memory, to learn the size, then with it.
struct Arena {
  char *base;
  size_t used;
  void *take(int64_t bytes) {
    void *p = base ? base + used : nullptr;
    used += (size_t(bytes) + 63) / 64 * 64;
    return p;
  }
  float *floats(int64_t n) { return static_cast<float *>(take(n * 4)); }
  int64_t *integers(int64_t n) { return static_cast<int64_t *>(take(n * 8)); }
};
