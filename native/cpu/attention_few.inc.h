// attention_few.inc.h: attention of few rows to many keys, such as a decoding step: it takes as long as K and V take to read.
//
// A task is a run of keys under all kv heads, because that is what lies together in memory: taken head by head, a row of K
// is a piece of d elements out of every kv_heads * d, which no hardware prefetcher follows. The run is read in pieces of
// 32 keys: while the heads of one piece are computed, the next is fetched into the L2 cache in the order of its addresses.
// Neither K nor V is packed: each is needed for a few rows only. A score is a dot product along d, and the 2^score of a
// strip times V reads V where it is. Results of the runs are merged in ascending order; how many runs there are depends on
// the shape alone.

static constexpr int64_t FEW_ROWS = 16;   // stacked rows of a kv head
static constexpr int64_t KEY_PIECE = 32;
static constexpr int64_t DOT_KEYS = W / SR;  // keys of a tile of dot products, whose sums fill one vector

static inline bool is_few(const Head &h) { return h.rows <= FEW_ROWS; }
// At least 128 keys in a run, and at most 16 runs.
static inline int64_t keys_of_run(const Head &h) { return max64(128, blocks_of(blocks_of(h.keys, 16), KEY_PIECE) * KEY_PIECE); }
static inline int64_t runs_of(const Head &h) { return blocks_of(h.keys, keys_of_run(h)); }
static inline int64_t part_size(const Head &h, int64_t ld) { return h.rows * (ld + 2); }

// One worker's memory: v [32, ld], for V whose rows are not whole vectors, then a state for each kv head.
static inline int64_t piece_floats(const AttentionShape &shape) { return KEY_PIECE * shape.ld; }
static int64_t few_state_bytes(const AttentionShape &shape) {
  Arena arena = {nullptr, 0};
  row_state(arena, shape.ld, FEW_ROWS);
  return int64_t(arena.used);
}
static size_t few_memory(const AttentionShape &shape) { return size_t(piece_floats(shape) * 4 + shape.kv_heads * few_state_bytes(shape)); }

// The sum of all elements of each of W vectors.
PAN_INLINE VF sums(VF *v) {
#pragma GCC unroll 4
  for (int n = W / 2; n > 0; n /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < n; i++) v[i] = interleave_lower(v[i], v[i + n]) + interleave_upper(v[i], v[i + n]);
  return v[0];
}

// s[SR, 64] = q[SR, ld] k[n, d]^T, the keys `stride` elements apart.
template <typename T> static void dot_products(const float *q, int64_t ld, const T *k, int64_t stride, int64_t n, int64_t d, float *s) {
  for (int64_t j = 0; j < n; j += DOT_KEYS) {
    const T *key[DOT_KEYS];
    for (int i = 0; i < DOT_KEYS; i++) key[i] = k + min64(j + i, n - 1) * stride;
    VF sum[W], x[DOT_KEYS];
#pragma GCC unroll 16
    for (int i = 0; i < W; i++) sum[i] = vzero();
    for (int64_t c = 0; c < d; c += W) {
      if (c + W <= d) {
#pragma GCC unroll 4
        for (int i = 0; i < DOT_KEYS; i++) x[i] = vload(key[i] + c);
      } else {
#pragma GCC unroll 4
        for (int i = 0; i < DOT_KEYS; i++) x[i] = vload_n(key[i] + c, d - c);
      }
#pragma GCC unroll 4
      for (int r = 0; r < SR; r++)
#pragma GCC unroll 4
        for (int i = 0; i < DOT_KEYS; i++) sum[r * DOT_KEYS + i] = vfma(vload(q + r * ld + c), x[i], sum[r * DOT_KEYS + i]);
    }
    alignas(64) float scores[W];
    vstore(scores, sums(sum));
    for (int r = 0; r < SR; r++) memcpy(s + r * BLOCK + j, scores + r * DOT_KEYS, sizeof(float) * DOT_KEYS);
  }
}

// The piece of keys from `key` on under one kv head.
template <typename T> static void attend_piece(const Attention &a, const Head &h, int64_t key, float *converted, const RowState &state) {
  int64_t ld = a.shape.ld, d = a.shape.d, from = h.first_key + key * h.key_stride;
  const T *k = static_cast<const T *>(a.k) + from, *v = static_cast<const T *>(a.v) + from;
  Mask m = mask_of(h, 0, key, KEY_PIECE);
  if (d != ld) load_keys(h, static_cast<const T *>(a.v), key, d, converted, ld, KEY_PIECE);
  for (int64_t i = 0; i < m.rows; i += SR) {
    int64_t seen = seen_by_strip(m, i, SR);
    if (seen == 0) continue;
    dot_products(state.q + i * ld, ld, k, h.key_stride, seen, d, state.s);
    online_softmax(m, i, min64(SR, m.rows - i), seen, state, ld);
    if (d != ld)
      tiles<SR, false, true>(state.s, BLOCK, converted, ld, state.o + i * ld, ld, ld, seen);
    else
      tiles<SR, false, true>(state.s, BLOCK, v, h.key_stride, state.o + i * ld, ld, ld, seen);
  }
}

template <typename T> static void fetch(const T *x, int64_t n) {
  for (int64_t i = 0; i < n; i += 64 / int64_t(sizeof(T))) __builtin_prefetch(x + i, 0, 2);
}

template <typename T> static void attend_run(const Attention &a, int64_t sequence, int64_t run, void *memory) {
  const AttentionShape &shape = a.shape;
  Head h = head_of(shape, sequence, 0);
  float *converted = static_cast<float *>(memory);
  char *states = static_cast<char *>(memory) + piece_floats(shape) * 4;
  int64_t bytes = few_state_bytes(shape), runs = runs_of(h), ld = shape.ld;
  int64_t key0 = run * keys_of_run(h), key1 = min64(h.keys, key0 + keys_of_run(h));
  const T *k = static_cast<const T *>(a.k) + h.first_key, *v = static_cast<const T *>(a.v) + h.first_key;
  int64_t first = min64(KEY_PIECE, key1 - key0) * h.key_stride;
  fetch(k + key0 * h.key_stride, first);
  fetch(v + key0 * h.key_stride, first);
  for (int64_t key = key0; key < key1; key += KEY_PIECE) {
    int64_t next = key + KEY_PIECE, share = max64(0, min64(KEY_PIECE, key1 - next)) * shape.d;  // of the next piece, for each head
    for (int64_t i = 0; i < shape.kv_heads; i++) {
      h = head_of(shape, sequence, i);
      Arena arena = {states + i * bytes, 0};
      RowState state = row_state(arena, ld, FEW_ROWS);
      if (key == key0) start_rows<T>(a, h, 0, h.rows, state);
      if (share > 0) {
        fetch(k + next * h.key_stride + i * share, share);
        fetch(v + next * h.key_stride + i * share, share);
      }
      attend_piece<T>(a, h, key, converted, state);
    }
  }
  for (int64_t i = 0; i < shape.kv_heads; i++) {
    h = head_of(shape, sequence, i);
    Arena arena = {states + i * bytes, 0};
    RowState state = row_state(arena, ld, FEW_ROWS);
    if (runs == 1) {
      finish_rows<T>(a, h, 0, state);
      continue;
    }
    float *part = a.parts + a.part_starts[sequence] + (i * runs + run) * part_size(h, ld);
    for (int64_t r = 0; r < h.rows; r++) {
      for (int64_t j = 0; j < ld; j += W) vstore(part + r * ld + j, vload(state.o + r * ld + j));
      part[h.rows * ld + r] = state.max[r];
      part[h.rows * (ld + 1) + r] = vsum(vload(state.sum + r * W));
    }
  }
}

// Task: all rows of one kv head. A row that sees no key of a run has the maximum -inf and the sum 0 there.
template <typename T> static void merge_task(void *arg, int64_t task, int32_t worker) {
  const Attention &a = *static_cast<const Attention *>(arg);
  int64_t ld = a.shape.ld, sequence = sequence_of(a.merges, task), kv_head = task - a.merges.starts[sequence];
  Head h = head_of(a.shape, sequence, kv_head);
  float *o = static_cast<float *>(scratch(a.ctx, worker, 0));
  int64_t runs = runs_of(h), size = part_size(h, ld);
  const float *parts = a.parts + a.part_starts[sequence] + kv_head * runs * size;
  for (int64_t r = 0; r < h.rows; r++) {
    const float *max = parts + h.rows * ld + r, *sum = parts + h.rows * (ld + 1) + r;
    float largest = max[0], total = 0;
    for (int64_t i = 1; i < runs; i++) largest = max[i * size] > largest ? max[i * size] : largest;
    for (int64_t j = 0; j < ld; j += W) vstore(o + j, vzero());
    for (int64_t i = 0; i < runs; i++) {
      float factor = vexp2(vset(max[i * size] - largest))[0];
      total += sum[i * size] * factor;
      for (int64_t j = 0; j < ld; j += W) vstore(o + j, vfma(vload(parts + i * size + r * ld + j), vset(factor), vload(o + j)));
    }
    finish_row<T>(a, row_at(h, r, a.shape.d), o, largest, total);
  }
}
