// attention.inc.h: causal attention with grouped heads, forward (flash attention: Dao et al. 2022, 2023).
//
//   o[r] = sum_k e^(scale q[r].k - lse[r]) v[k] over the keys that row r sees,   lse[r] = log sum_k e^(scale q[r].k)
//
// q, o [rows, heads, d], k, v [rows, kv_heads, d] in f32 or bf16, lse [rows, heads] f32; see attention_blocks.inc.h for
// the stacked rows, the blocks and the strips. All arithmetic is f32; the scale is multiplied into the copy of q. For each
// block of rows the key blocks are taken in ascending order, with a running maximum and sum per row ("online softmax"), so
// that the scores of one strip are all that is ever stored.
//
// Tasks. A sequence of few stacked rows, such as a decoding step: see attention_few.inc.h. Of many rows: when there are
// tasks enough for the threads, a task is a whole kv head, which packs its keys into memory of its worker, where they
// stay in the L2 cache; else every key block is packed by a task of its own first, and then a task is a block of rows,
// the last (longest) ones first. Both ways compute the same bits.

struct Attention {
  AttentionShape shape;
  const void *q, *k, *v;
  void *out;
  float *lse;
  TaskIndex packs, attends, merges;
  const int64_t *part_starts;  // per sequence of few rows, where the results of its runs start in `parts`
  float *panels;               // per packed key block: KT, then V
  float *parts;                // per run of keys: o[rows, ld], max[rows], sum[rows]
  bool whole_heads;            // the sequences of many rows
  pan_context *ctx;
};

// What a task keeps of a block of rows while it goes over the keys.
struct RowState {
  float *q, *o, *max, *sum;  // q, o [rows and what a strip may touch beyond, ld], max [rows], sum [rows, W]
  float *s;                  // scores [score_rows, 64]: of a strip
};
static RowState row_state(Arena &arena, int64_t ld, int64_t rows, int64_t score_rows) {
  RowState state;
  state.q = arena.floats((rows + SR) * ld);
  state.o = arena.floats((rows + SR) * ld);
  state.max = arena.floats(rows);
  state.sum = arena.floats(rows * W);
  state.s = arena.floats(score_rows * BLOCK);
  return state;
}

template <typename T> static void start_rows(const Attention &a, const Head &h, int64_t row0, int64_t n, const RowState &state) {
  int64_t ld = a.shape.ld;
  load_rows(h, static_cast<const T *>(a.q), row0, a.shape.d, a.shape.scale * LOG2_E, state.q, ld);
  for (int64_t i = 0; i < n; i++) state.max[i] = -__builtin_inff();
  for (int64_t i = 0; i < n * W; i += W) vstore(state.sum + i, vzero());
  for (int64_t i = 0; i < n * ld; i += W) vstore(state.o + i, vzero());
}

// Turns the scores of the strip of n rows from row i on into 2^(score - max), with what has been summed so far scaled down
// to the new maximum. A row's scores are zero from what it sees up to `seen`, what the last row of the strip sees.
static void online_softmax(const Mask &m, int64_t i, int64_t n, int64_t seen, const RowState &state, float *scores, int64_t ld) {
  const float lowest = -__builtin_inff();
  alignas(64) float factors[16] = {};
  float *max = state.max + i;
  for (int64_t r = 0; r < n; r++) {
    int64_t keys = m.seen[i + r], j = 0;
    const float *s = scores + r * BLOCK;
    VF largest = vset(max[r]);
    for (; j + W <= keys; j += W) largest = vmax(largest, vload(s + j));
    if (j < keys) largest = vmax(largest, vkeep(vload(s + j), keys - j, lowest));
    float now = vhmax(largest);
    factors[r] = max[r] - now;
    max[r] = now;
  }
  for (int64_t r = 0; r < n; r += W) vstore(factors + r, vexp2(vload(factors + r)));
  for (int64_t r = 0; r < n; r++) {
    int64_t keys = m.seen[i + r], j = 0;
    float *s = scores + r * BLOCK, *o = state.o + (i + r) * ld;
    VF sum = vload(state.sum + (i + r) * W), now = vset(max[r]);
    if (factors[r] != 1.f && max[r] > lowest) {
      VF factor = vset(factors[r]);
      sum = sum * factor;
      for (int64_t e = 0; e < ld; e += W) vstore(o + e, vload(o + e) * factor);
    }
    for (; j + W <= keys; j += W) {
      VF p = vexp2(vload(s + j) - now);
      vstore(s + j, p);
      sum = sum + p;
    }
    if (j < keys) {
      VF p = vkeep(vexp2(vload(s + j) - now), keys - j, 0.f);
      vstore(s + j, p);
      sum = sum + p;
      j += W;
    }
    for (; j < seen; j += W) vstore(s + j, vzero());
    vstore(state.sum + (i + r) * W, sum);
  }
}

// All keys for the block of rows from row0 on; panels: the packed key blocks of the head.
template <typename T> static void attend(const Attention &a, const Head &h, int64_t row0, const float *panels, const RowState &state) {
  int64_t ld = a.shape.ld, n = min64(BLOCK, h.rows - row0);
  start_rows<T>(a, h, row0, n, state);
  int64_t end = h.offset + (row0 + n - 1) / h.group + 1;
  for (int64_t key = 0; key < end; key += BLOCK, panels += 2 * BLOCK * ld) {
    Mask m = mask_of(h, row0, key, BLOCK);
    for (int64_t i = 0, rows; i < n; i += rows) {
      rows = strip_rows(n - i);
      int64_t seen = seen_by_strip(m, i, rows);
      if (seen == 0) continue;
      strip_product<false, false>(int(rows), state.q + i * ld, ld, panels, BLOCK, state.s, BLOCK, seen, a.shape.d);
      online_softmax(m, i, min64(rows, n - i), seen, state, state.s, ld);
      strip_product<false, true>(int(rows), state.s, BLOCK, panels + BLOCK * ld, ld, state.o + i * ld, ld, ld, seen);
    }
  }
}

// The row's result from its sums; max is that of scores to base 2.
template <typename T> static void finish_row(const Attention &a, const RowAt &at, const float *o, float max, float sum) {
  T *out = static_cast<T *>(a.out) + at.element;
  VF factor = vset(1.f / sum);
  for (int64_t j = 0; j < a.shape.d; j += W) vstore_n(out + j, vload(o + j) * factor, a.shape.d - j);
  a.lse[at.lse] = max * LN_2 + __builtin_logf(sum);
}

template <typename T> static void finish_rows(const Attention &a, const Head &h, int64_t row0, const RowState &state) {
  RowAt at = row_at(h, row0, a.shape.d);
  for (int64_t i = 0; i < min64(BLOCK, h.rows - row0); i++, at.next(h, a.shape.d))
    finish_row<T>(a, at, state.o + i * a.shape.ld, state.max[i], vsum(vload(state.sum + i * W)));
}

template <typename T> static void pack(const Attention &a, const Head &h, int64_t key, float *kt) {
  load_keys_transposed(h, static_cast<const T *>(a.k), key, a.shape.d, kt);
  load_keys(h, static_cast<const T *>(a.v), key, a.shape.d, kt + BLOCK * a.shape.ld, a.shape.ld);
}

template <typename T> static void pack_task(void *arg, int64_t task, int32_t) {
  const Attention &a = *static_cast<const Attention *>(arg);
  int64_t sequence = sequence_of(a.packs, task), i = task - a.packs.starts[sequence];
  int64_t blocks = blocks_of(a.shape.sequences[4 * sequence + 3], BLOCK);
  pack<T>(a, head_of(a.shape, sequence, i / blocks), i % blocks * BLOCK, a.panels + task * (2 * BLOCK * a.shape.ld));
}

#include "attention_few.inc.h"

template <typename T> static void attend_task(void *arg, int64_t task, int32_t worker) {
  const Attention &a = *static_cast<const Attention *>(arg);
  int64_t ld = a.shape.ld;
  int64_t sequence = sequence_of(a.attends, task), i = task - a.attends.starts[sequence];
  Head h = head_of(a.shape, sequence, 0);
  if (is_few(h)) return attend_run<T>(a, sequence, i, scratch(a.ctx, worker, 0));
  Arena arena = {static_cast<char *>(scratch(a.ctx, worker, 0)), 0};
  RowState state = row_state(arena, ld, BLOCK, MR);
  if (a.whole_heads) {
    h = head_of(a.shape, sequence, i);
    float *panels = arena.floats(0);
    for (int64_t key = 0; key < h.keys; key += BLOCK) pack<T>(a, h, key, panels + key * 2 * ld);
    for (int64_t row0 = 0; row0 < h.rows; row0 += BLOCK) {
      fetch_rows(h, static_cast<const T *>(a.out), row0, a.shape.d);
      if (row0 + BLOCK < h.rows) fetch_rows(h, static_cast<const T *>(a.q), row0 + BLOCK, a.shape.d);
      attend<T>(a, h, row0, panels, state);
      finish_rows<T>(a, h, row0, state);
    }
    return;
  }
  int64_t blocks = blocks_of(h.rows, BLOCK), row0 = (blocks - 1 - i % blocks) * BLOCK;
  h = head_of(a.shape, sequence, i / blocks);
  fetch_rows(h, static_cast<const T *>(a.out), row0, a.shape.d);
  attend<T>(a, h, row0, a.panels + (a.packs.starts[sequence] + i / blocks * blocks_of(h.keys, BLOCK)) * (2 * BLOCK * ld), state);
  finish_rows<T>(a, h, row0, state);
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
  bool few = false;
  int64_t most_keys = 0;
  double work = 0, most_work = 0;
  for (int64_t i = 0; i < count; i++) {
    Head h = head_of(a.shape, i, 0);
    if (h.rows == 0 || is_few(h)) continue;
    double pairs = double(h.rows) * double(h.keys - h.queries / 2);
    work += double(kv_heads) * pairs;
    most_work = pairs > most_work ? pairs : most_work;
    most_keys = max64(most_keys, h.keys);
  }
  a.whole_heads = thread_count(ctx) == 1 || most_work * 4 * thread_count(ctx) <= work;
  for (int pass = 0; pass < 2; pass++) {
    Arena arena = {nullptr, 0};
    if (pass == 1) {
      arena.base = static_cast<char *>(scratch(ctx, -1, size_t(4 * (count + 1) * 8 + (packs * 2 * BLOCK * a.shape.ld + parts) * 4 + 8 * 64)));
      if (!arena.base) return PAN_ERROR_MEMORY;
      Arena rows = {nullptr, 0};
      row_state(rows, a.shape.ld, BLOCK, MR);
      if (a.whole_heads) rows.floats(blocks_of(most_keys, BLOCK) * 2 * BLOCK * a.shape.ld);
      Arena states = {nullptr, 0};
      if (few) few_state(states, a.shape);
      size_t bytes = states.used > rows.used ? states.used : rows.used;
      for (int32_t i = 0; i < thread_count(ctx); i++)
        if (!scratch(ctx, i, bytes)) return PAN_ERROR_MEMORY;
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
      if (!is_few(h) && a.whole_heads) {
        attends += kv_heads;
        continue;
      }
      if (!is_few(h)) {
        packs += kv_heads * blocks_of(h.keys, BLOCK);
        attends += kv_heads * blocks_of(h.rows, BLOCK);
        continue;
      }
      few = true;
      attends += runs_of(h);
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
