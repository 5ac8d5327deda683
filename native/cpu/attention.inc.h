// attention.inc.h: causal attention with grouped heads, forward (flash attention: Dao et al. 2022, 2023).
//
//   o[r] = sum_k e^(scale q[r].k - lse[r]) v[k] over the keys that row r sees,   lse[r] = log sum_k e^(scale q[r].k)
//
// q, o [rows, heads, d], k, v [rows, kv_heads, d] in f32 or bf16, lse [rows, heads] f32; see attention_blocks.inc.h for
// the stacked rows and the blocks. All arithmetic is f32; the scale is multiplied into the copy of q. For each block of
// rows the key blocks are taken in ascending order, with a running maximum and sum per row ("online softmax"), so that
// the 64 x 64 scores of one pair of blocks are all that is ever stored.
//
// Tasks. A sequence of more than 64 stacked rows: first every key block is packed by a task of its own, then a task is a
// block of rows, the last (longest) ones first. A sequence of at most 64 rows, such as a decoding step: a task is a run of
// 256 keys, which it packs itself because no other task needs them; the results of the runs are merged in ascending order.
// Which way is taken depends on the shape alone.

static constexpr int64_t KEY_RUN = 256;

struct Attention {
  AttentionShape shape;
  const void *q, *k, *v;
  void *out;
  float *lse;
  TaskIndex packs, attends, merges;
  const int64_t *part_starts;  // per sequence, where its runs' results start in `parts`
  float *panels;               // per packed key block: KT, then V
  float *parts;                // per run of keys: o[rows, ld], max[rows], sum[rows]
  pan_context *ctx;
};

// What a task keeps while it goes over the keys: one block of rows.
struct RowState {
  float *q, *s, *o, *max, *sum, *kt, *v;  // q, o, v [64, ld], kt [ld, 64], s [64, 64], max [64], sum [64, W]
};
static size_t row_state(float *base, int64_t ld, RowState *state) {
  Arena arena = {reinterpret_cast<char *>(base), 0};
  state->q = arena.floats(BLOCK * ld);
  state->o = arena.floats(BLOCK * ld);
  state->kt = arena.floats(BLOCK * ld);
  state->v = arena.floats(BLOCK * ld);
  state->s = arena.floats(BLOCK * BLOCK);
  state->max = arena.floats(BLOCK);
  state->sum = arena.floats(BLOCK * W);
  return arena.used;
}

static inline bool in_runs(const Head &h) { return h.rows <= BLOCK; }
static inline int64_t runs_of(const Head &h) { return blocks_of(h.keys, KEY_RUN); }
static inline int64_t part_size(const Head &h, int64_t ld) { return h.rows * (ld + 2); }

// Turns scores into e^(score - max), with what has been summed so far scaled down to the new maximum.
static void online_softmax(const Mask &m, const RowState &state, int64_t ld) {
  const float lowest = -__builtin_inff();
  alignas(64) float factors[BLOCK];
  for (int64_t i = 0; i < m.rows; i++) {
    int64_t n = m.seen[i], j = 0;
    const float *s = state.s + i * BLOCK;
    VF largest = vset(state.max[i]);
    for (; j + W <= n; j += W) largest = vmax(largest, vload(s + j));
    if (j < n) largest = vmax(largest, vkeep(vload(s + j), n - j, lowest));
    float max = vhmax(largest);
    factors[i] = state.max[i] - max;
    state.max[i] = max;
  }
  for (int64_t i = 0; i < m.rows; i += W) vstore(factors + i, vexp(vload(factors + i)));
  for (int64_t i = 0; i < m.rows; i++) {
    int64_t n = m.seen[i], j = 0;
    float *s = state.s + i * BLOCK, *o = state.o + i * ld;
    VF factor = vset(factors[i]), sum = vload(state.sum + i * W);
    if (factors[i] != 1.f && state.max[i] > lowest) {
      sum = sum * factor;
      for (int64_t e = 0; e < ld; e += W) vstore(o + e, vload(o + e) * factor);
    }
    VF max = vset(state.max[i]);
    for (; j + W <= n; j += W) {
      VF p = vexp(vload(s + j) - max);
      vstore(s + j, p);
      sum = sum + p;
    }
    if (j < n) {
      VF p = vkeep(vexp(vload(s + j) - max), n - j, 0.f);
      vstore(s + j, p);
      sum = sum + p;
      j += W;
    }
    for (; j < BLOCK; j += W) vstore(s + j, vzero());
    vstore(state.sum + i * W, sum);
  }
}

// The keys key0 .. key1 for the block of rows from row0 on; panels: the packed blocks of the head, NULL to pack here.
template <typename T> static void attend(const Attention &a, const Head &h, int64_t row0, int64_t key0, int64_t key1, const float *panels, const RowState &state) {
  const AttentionShape &shape = a.shape;
  int64_t ld = shape.ld, n = min64(BLOCK, h.rows - row0);
  load_rows(h, static_cast<const T *>(a.q), row0, shape.d, shape.scale, state.q, ld);
  for (int64_t i = 0; i < n; i++) state.max[i] = -__builtin_inff();
  for (int64_t i = 0; i < n * W; i += W) vstore(state.sum + i, vzero());
  for (int64_t i = 0; i < BLOCK * ld; i += W) vstore(state.o + i, vzero());
  int64_t end = min64(key1, h.offset + (row0 + n - 1) / h.group + 1);
  for (int64_t key = key0; key < end; key += BLOCK) {
    const float *kt = state.kt, *v = state.v;
    int64_t ldv = ld;
    if (panels) {
      kt = panels + key / BLOCK * (2 * BLOCK * ld);
      v = kt + BLOCK * ld;
    } else {
      load_keys_transposed(h, static_cast<const T *>(a.k), key, shape.d, state.kt);
      const T *from = static_cast<const T *>(a.v) + h.first_key + key * h.key_stride;
      if (sizeof(T) == sizeof(float) && shape.d == ld) {  // used where it is: each value is needed once for a few rows
        v = reinterpret_cast<const float *>(from);
        ldv = h.key_stride;
      } else {
        load_keys(h, static_cast<const T *>(a.v), key, shape.d, state.v, ld);
      }
    }
    Mask m = mask_of(h, row0, key);
    row_key_product(m, state.q, ld, kt, shape.d, state.s);
    online_softmax(m, state, ld);
    add_key_sum(m, state.s, v, ldv, ld, state.o);
  }
}

template <typename T> static void finish_row(const Attention &a, const RowAt &at, const float *o, float max, float sum) {
  T *out = static_cast<T *>(a.out) + at.element;
  VF factor = vset(1.f / sum);
  for (int64_t j = 0; j < a.shape.d; j += W) vstore_n(out + j, vload(o + j) * factor, a.shape.d - j);
  a.lse[at.lse] = max + __builtin_logf(sum);
}

template <typename T> static void finish_rows(const Attention &a, const Head &h, int64_t row0, const RowState &state) {
  RowAt at = row_at(h, row0, a.shape.d);
  for (int64_t i = 0; i < min64(BLOCK, h.rows - row0); i++, at.next(h, a.shape.d))
    finish_row<T>(a, at, state.o + i * a.shape.ld, state.max[i], vsum(vload(state.sum + i * W)));
}

template <typename T> static void pack_task(void *arg, int64_t task, int32_t) {
  const Attention &a = *static_cast<const Attention *>(arg);
  const AttentionShape &shape = a.shape;
  int64_t sequence = sequence_of(a.packs, task), i = task - a.packs.starts[sequence];
  int64_t blocks = blocks_of(shape.sequences[4 * sequence + 3], BLOCK);
  Head h = head_of(shape, sequence, i / blocks);
  float *kt = a.panels + task * (2 * BLOCK * shape.ld);
  load_keys_transposed(h, static_cast<const T *>(a.k), i % blocks * BLOCK, shape.d, kt);
  load_keys(h, static_cast<const T *>(a.v), i % blocks * BLOCK, shape.d, kt + BLOCK * shape.ld, shape.ld);
}

template <typename T> static void attend_task(void *arg, int64_t task, int32_t worker) {
  const Attention &a = *static_cast<const Attention *>(arg);
  int64_t ld = a.shape.ld;
  int64_t sequence = sequence_of(a.attends, task), i = task - a.attends.starts[sequence];
  Head h = head_of(a.shape, sequence, 0);
  RowState state;
  row_state(static_cast<float *>(scratch(a.ctx, worker, 0)), ld, &state);
  if (in_runs(h)) {
    int64_t runs = runs_of(h), run = i % runs;
    h = head_of(a.shape, sequence, i / runs);
    attend<T>(a, h, 0, run * KEY_RUN, min64((run + 1) * KEY_RUN, h.keys), nullptr, state);
    if (runs > 1) {
      float *part = a.parts + a.part_starts[sequence] + i * part_size(h, ld);
      for (int64_t r = 0; r < h.rows; r++) {
        for (int64_t j = 0; j < ld; j += W) vstore(part + r * ld + j, vload(state.o + r * ld + j));
        part[h.rows * ld + r] = state.max[r];
        part[h.rows * (ld + 1) + r] = vsum(vload(state.sum + r * W));
      }
      return;
    }
    finish_rows<T>(a, h, 0, state);
    return;
  }
  int64_t blocks = blocks_of(h.rows, BLOCK), row0 = (blocks - 1 - i % blocks) * BLOCK;
  h = head_of(a.shape, sequence, i / blocks);
  const float *panels = a.panels + (a.packs.starts[sequence] + i / blocks * blocks_of(h.keys, BLOCK)) * (2 * BLOCK * ld);
  attend<T>(a, h, row0, 0, h.keys, panels, state);
  finish_rows<T>(a, h, row0, state);
}

// Task: all rows of one kv head of a sequence in runs. A row that sees no key of a run has the maximum -inf and the sum 0 there.
template <typename T> static void merge_task(void *arg, int64_t task, int32_t worker) {
  const Attention &a = *static_cast<const Attention *>(arg);
  int64_t ld = a.shape.ld, sequence = sequence_of(a.merges, task), kv_head = task - a.merges.starts[sequence];
  Head h = head_of(a.shape, sequence, kv_head);
  RowState state;
  row_state(static_cast<float *>(scratch(a.ctx, worker, 0)), ld, &state);
  int64_t runs = runs_of(h), size = part_size(h, ld);
  const float *parts = a.parts + a.part_starts[sequence] + kv_head * runs * size;
  for (int64_t r = 0; r < h.rows; r++) {
    const float *max = parts + h.rows * ld + r, *sum = parts + h.rows * (ld + 1) + r;
    float largest = max[0], total = 0;
    for (int64_t i = 1; i < runs; i++) largest = max[i * size] > largest ? max[i * size] : largest;
    for (int64_t j = 0; j < ld; j += W) vstore(state.o + j, vzero());
    for (int64_t i = 0; i < runs; i++) {
      float factor = vexp(vset(max[i * size] - largest))[0];
      total += sum[i * size] * factor;
      for (int64_t j = 0; j < ld; j += W) vstore(state.o + j, vfma(vload(parts + i * size + r * ld + j), vset(factor), vload(state.o + j)));
    }
    finish_row<T>(a, row_at(h, r, a.shape.d), state.o, largest, total);
  }
}

static int32_t attention(pan_context *ctx, const void *q, const void *k, const void *v, void *out, float *lse, int32_t type, const int32_t *sequences, int64_t count,
                         int32_t heads, int32_t kv_heads, int32_t head_dim, float scale) {
  Attention a = {};
  a.shape = AttentionShape{sequences, count, heads, kv_heads, heads / kv_heads, head_dim, blocks_of(head_dim, W) * W, scale};
  a.q = q;
  a.k = k;
  a.v = v;
  a.out = out;
  a.lse = lse;
  a.ctx = ctx;
  // Sizes and task numbers of the sequences; once to learn how much memory the panels take, and once to fill it in.
  int64_t packs = 0, attends = 0, merges = 0, parts = 0;
  for (int pass = 0; pass < 2; pass++) {
    Arena arena = {nullptr, 0};
    if (pass == 1) {
      arena.base = static_cast<char *>(scratch(ctx, -1, size_t(4 * (count + 1) * 8 + (packs * 2 * BLOCK * a.shape.ld + parts) * 4 + 8 * 64)));
      if (!arena.base) return PAN_ERROR_MEMORY;
      for (int32_t i = 0; i < thread_count(ctx); i++) {
        RowState state;
        if (!scratch(ctx, i, row_state(nullptr, a.shape.ld, &state))) return PAN_ERROR_MEMORY;
      }
    }
    int64_t *starts[4];
    for (int64_t *&p : starts) p = arena.integers(count + 1);
    a.panels = arena.floats(packs * 2 * BLOCK * a.shape.ld);
    a.parts = arena.floats(parts);
    packs = attends = merges = parts = 0;
    for (int64_t i = 0; i <= count; i++) {
      if (pass == 1) {
        starts[0][i] = packs;
        starts[1][i] = attends;
        starts[2][i] = merges;
        starts[3][i] = parts;
      }
      if (i == count) break;
      Head h = head_of(a.shape, i, 0);
      if (h.rows == 0) continue;
      if (!in_runs(h)) {
        packs += kv_heads * blocks_of(h.keys, BLOCK);
        attends += kv_heads * blocks_of(h.rows, BLOCK);
        continue;
      }
      attends += kv_heads * runs_of(h);
      if (runs_of(h) == 1) continue;
      merges += kv_heads;
      parts += kv_heads * runs_of(h) * part_size(h, a.shape.ld);
    }
    a.packs = TaskIndex{starts[0], count};
    a.attends = TaskIndex{starts[1], count};
    a.merges = TaskIndex{starts[2], count};
    a.part_starts = starts[3];
  }
  bool f32 = type == PAN_F32;
  parallel(ctx, packs, f32 ? pack_task<float> : pack_task<bf16>, &a);
  parallel(ctx, attends, f32 ? attend_task<float> : attend_task<bf16>, &a);
  parallel(ctx, merges, f32 ? merge_task<float> : merge_task<bf16>, &a);
  return 0;
}
