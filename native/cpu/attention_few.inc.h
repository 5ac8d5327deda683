// attention_few.inc.h: attention of few rows to many keys, such as a decoding step: it takes as long as K and V take to read.
//
// A task is a run of keys under all kv heads, and takes K and V in the order of their addresses, key by key and head by
// head, so that the hardware prefetchers run ahead of it: taken head by head, a row of K is a piece of d elements out of
// every kv_heads * d, which none of them follows. Neither K nor V is packed. A score is a dot product along d; the sums
// of as many heads as fill a vector are added up together. Results of the runs are merged in ascending order; how many
// runs there are depends on the shape alone.

static constexpr int64_t FEW_ROWS = 16;      // stacked rows of a kv head
static constexpr int64_t KEY_PIECE = 32;     // keys between one softmax and the next
static constexpr int DOT_HEADS = W / SR;     // kv heads whose dot products, for SR rows each, fill one vector
static constexpr int64_t V_KEYS = 4;         // rows of V that are added to the sums of a head at once

static inline bool is_few(const Head &h) { return h.rows <= FEW_ROWS; }
// At least 128 keys in a run, and at most 16 runs.
static inline int64_t keys_of_run(const Head &h) { return max64(128, blocks_of(blocks_of(h.keys, 16), KEY_PIECE) * KEY_PIECE); }
static inline int64_t runs_of(const Head &h) { return blocks_of(h.keys, keys_of_run(h)); }
static inline int64_t part_size(const Head &h, int64_t ld) { return h.rows * (ld + 2); }

// One worker's memory: a state for each kv head, and a row of V for when it is not whole vectors.
struct FewState {
  RowState *heads;
  float *row;
};
static FewState few_state(Arena &arena, const AttentionShape &shape) {
  FewState state;
  state.heads = static_cast<RowState *>(arena.take(shape.kv_heads * int64_t(sizeof(RowState))));
  state.row = arena.floats(shape.ld);
  for (int64_t i = 0; i < shape.kv_heads; i++) {
    RowState head = row_state(arena, shape.ld, FEW_ROWS, FEW_ROWS + SR);
    if (arena.base) state.heads[i] = head;
  }
  return state;
}

// The sum of all elements of each of W vectors.
PAN_INLINE VF sums(VF *v) {
#pragma GCC unroll 4
  for (int n = W / 2; n > 0; n /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < n; i++) v[i] = interleave_lower(v[i], v[i + n]) + interleave_upper(v[i], v[i + n]);
  return v[0];
}

// The scores of the SR rows from row i on under the kv heads from `head` on against one key, k[kv_heads, d], into column j.
template <typename T> static void scores_of_key(const AttentionShape &shape, const T *k, int64_t head, int64_t i, int64_t j, const RowState *heads) {
  int64_t ld = shape.ld, d = shape.d;
  const T *key[DOT_HEADS];
  const float *q[DOT_HEADS];
  for (int g = 0; g < DOT_HEADS; g++) {
    int64_t at = min64(head + g, shape.kv_heads - 1);
    key[g] = k + at * d;
    q[g] = heads[at].q + i * ld;
  }
  VF sum[W];
#pragma GCC unroll 16
  for (int r = 0; r < W; r++) sum[r] = vzero();
  int64_t c = 0;
  for (; c + W <= d; c += W)
#pragma GCC unroll 4
    for (int g = 0; g < DOT_HEADS; g++) {
      VF x = vload(key[g] + c);
#pragma GCC unroll 4
      for (int r = 0; r < SR; r++) sum[g * SR + r] = vfma(vload(q[g] + r * ld + c), x, sum[g * SR + r]);
    }
  if (c < d)
#pragma GCC unroll 4
    for (int g = 0; g < DOT_HEADS; g++) {
      VF x = vload_n(key[g] + c, d - c);
#pragma GCC unroll 4
      for (int r = 0; r < SR; r++) sum[g * SR + r] = vfma(vload(q[g] + r * ld + c), x, sum[g * SR + r]);
    }
  alignas(64) float scores[W];
  vstore(scores, sums(sum));
  for (int g = 0; g < DOT_HEADS && head + g < shape.kv_heads; g++)
    for (int r = 0; r < SR; r++) heads[head + g].s[(i + r) * BLOCK + j] = scores[g * SR + r];
}

// A piece of keys from `key` on, under all kv heads; h is any of them.
template <typename T> static void attend_piece(const Attention &a, const Head &h, int64_t sequence, int64_t key, const FewState &state) {
  const AttentionShape &shape = a.shape;
  int64_t ld = shape.ld, d = shape.d, stride = h.key_stride, from = (shape.sequences[4 * sequence + 2] + key) * stride;
  const T *k = static_cast<const T *>(a.k) + from, *v = static_cast<const T *>(a.v) + from;
  Mask m = mask_of(h, 0, key, KEY_PIECE);
  for (int64_t j = 0; j < m.keys; j++)
    for (int64_t head = 0; head < shape.kv_heads; head += DOT_HEADS)
      for (int64_t i = 0; i < m.rows; i += SR) scores_of_key(shape, k + j * stride, head, i, j, state.heads);
  for (int64_t head = 0; head < shape.kv_heads; head++)
    for (int64_t i = 0; i < m.rows; i += SR) {
      int64_t seen = seen_by_strip(m, i, SR);
      if (seen > 0) online_softmax(m, i, min64(SR, m.rows - i), seen, state.heads[head], state.heads[head].s + i * BLOCK, ld);
    }
  for (int64_t j = 0; j < m.keys; j += V_KEYS)
    for (int64_t head = 0; head < shape.kv_heads; head++)
      for (int64_t i = 0; i < m.rows; i += SR) {
        int64_t n = min64(V_KEYS, seen_by_strip(m, i, SR) - j);
        const RowState &rows = state.heads[head];
        const T *x = v + j * stride + head * d;
        if (n <= 0) continue;
        if (d == ld) {
          tiles<SR, false, true>(rows.s + i * BLOCK + j, BLOCK, x, stride, rows.o + i * ld, ld, ld, n);
          continue;
        }
        for (int64_t next = 0; next < n; next++) {
          load_row(x + next * stride, d, 1.f, state.row, ld);
          tiles<SR, false, true>(rows.s + i * BLOCK + j + next, BLOCK, state.row, ld, rows.o + i * ld, ld, ld, 1);
        }
      }
}

template <typename T> static void attend_run(const Attention &a, int64_t sequence, int64_t run, void *memory) {
  const AttentionShape &shape = a.shape;
  Head h = head_of(shape, sequence, 0);
  Arena arena = {static_cast<char *>(memory), 0};
  FewState few = few_state(arena, shape);
  int64_t runs = runs_of(h), ld = shape.ld, key1 = min64(h.keys, (run + 1) * keys_of_run(h));
  for (int64_t i = 0; i < shape.kv_heads; i++) start_rows<T>(a, head_of(shape, sequence, i), 0, h.rows, few.heads[i]);
  for (int64_t key = run * keys_of_run(h); key < key1; key += KEY_PIECE) attend_piece<T>(a, h, sequence, key, few);
  for (int64_t i = 0; i < shape.kv_heads; i++) {
    h = head_of(shape, sequence, i);
    const RowState &state = few.heads[i];
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
