// attention_backward.inc.h: the gradient of attention.inc.h.
//
//   p[r,k] = e^(scale q[r].k - lse[r])        recomputed from lse
//   delta[r] = dout[r] . out[r]
//   ds[r,k] = p[r,k] * (dout[r].v[k] - delta[r])
//   dv[k] = sum_r p[r,k] dout[r];   dk[k] = scale sum_r ds[r,k] q[r];   dq[r] = scale sum_k ds[r,k] k[k]
//
// Shapes, stacked rows and blocks as in attention_blocks.inc.h; all arithmetic and all sums f32, rounded once at the end.
// The gradients of a key/value head sum over the query heads of its group because those are rows like any others.
//
// There are two ways to share out the work, neither with atomics, and both give the same bits, because both take the
// same tiles in the same order: for dk and dv the blocks of rows ascending, for dq the key blocks ascending.
//   whole heads   a task is one kv head of one sequence, and computes everything: five products per pair of blocks
//   blocks        one loop over key blocks (dk, dv) and one over blocks of rows (dq): seven products per pair, because
//                 both need p and ds, but many more tasks
// The first is taken when it has enough tasks for the threads.

struct AttentionBackward {
  AttentionShape shape;
  const void *q, *k, *v, *out, *dout;
  const float *lse;
  void *dq, *dk, *dv;
  TaskIndex heads, key_blocks, row_blocks;
  float *panels;  // per key block: KT, VT, K
  int64_t most_rows;  // stacked rows of the longest sequence, in whole blocks
  pan_context *ctx;
};

struct BackwardState {
  float *q, *dout, *kt, *vt, *k, *dq, *dk, *dv;  // [64, ld] each, kt and vt [ld, 64]
  float *p, *ds;                                 // [64, 64]
  float *lse, *delta;                            // [64]
};
// For `rows` stacked rows at a time in q, dout, dq, lse and delta.
static size_t backward_state(void *base, int64_t ld, int64_t rows, BackwardState *state) {
  Arena arena = {static_cast<char *>(base), 0};
  state->kt = arena.floats(BLOCK * ld);
  state->vt = arena.floats(BLOCK * ld);
  state->k = arena.floats(BLOCK * ld);
  state->dk = arena.floats(BLOCK * ld);
  state->dv = arena.floats(BLOCK * ld);
  state->p = arena.floats(BLOCK * BLOCK);
  state->ds = arena.floats(BLOCK * BLOCK);
  state->q = arena.floats(rows * ld);
  state->dout = arena.floats(rows * ld);
  state->dq = arena.floats(rows * ld);
  state->lse = arena.floats(rows);
  state->delta = arena.floats(rows);
  return arena.used;
}

static void clear(float *x, int64_t n) {
  for (int64_t i = 0; i < n; i += W) vstore(x + i, vzero());
}

// One block of rows into the state, at row `at` of its arrays.
template <typename T> static void load_backward_rows(const AttentionBackward &a, const Head &h, int64_t row0, int64_t at, const BackwardState &state) {
  int64_t ld = a.shape.ld, d = a.shape.d, n = min64(BLOCK, h.rows - row0);
  float *dout = state.dout + at * ld;
  load_rows(h, static_cast<const T *>(a.q), row0, d, a.shape.scale, state.q + at * ld, ld);
  load_rows(h, static_cast<const T *>(a.dout), row0, d, 1.f, dout, ld);
  RowAt place = row_at(h, row0, d);
  for (int64_t i = 0; i < n; i++, place.next(h, d)) {
    const T *out = static_cast<const T *>(a.out) + place.element;
    VF sum = vzero();
    for (int64_t j = 0; j < d; j += W) sum = vfma(vload_n(out + j, d - j), vload(dout + i * ld + j), sum);
    state.delta[at + i] = vsum(sum);
    state.lse[at + i] = a.lse[place.lse];
  }
}

template <typename T> static void load_backward_keys(const AttentionBackward &a, const Head &h, int64_t key0, float *kt, float *vt, float *k) {
  load_keys_transposed(h, static_cast<const T *>(a.k), key0, a.shape.d, kt);
  load_keys_transposed(h, static_cast<const T *>(a.v), key0, a.shape.d, vt);
  load_keys(h, static_cast<const T *>(a.k), key0, a.shape.d, k, a.shape.ld);
}

// p and ds of a pair of blocks, zero where the mask is; the block of rows is at row `at` of the state.
static void probabilities(const AttentionShape &shape, const Mask &m, const BackwardState &state, int64_t at, const float *kt, const float *vt) {
  row_key_product(m, state.q + at * shape.ld, shape.ld, kt, shape.d, state.p);
  row_key_product(m, state.dout + at * shape.ld, shape.ld, vt, shape.d, state.ds);
  for (int64_t i = 0; i < m.rows; i++) {
    int64_t n = m.seen[i], j = 0;
    float *p = state.p + i * BLOCK, *ds = state.ds + i * BLOCK;
    VF lse = vset(state.lse[at + i]), delta = vset(state.delta[at + i]);
    for (; j + W <= n; j += W) {
      VF x = vexp(vload(p + j) - lse);
      vstore(p + j, x);
      vstore(ds + j, x * (vload(ds + j) - delta));
    }
    if (j < n) {
      VF x = vkeep(vexp(vload(p + j) - lse), n - j, 0.f);
      vstore(p + j, x);
      vstore(ds + j, x * (vload(ds + j) - delta));
      j += W;
    }
    for (; j < BLOCK; j += W) {
      vstore(p + j, vzero());
      vstore(ds + j, vzero());
    }
  }
}

template <typename T> static void store_keys(const Head &h, int64_t key0, int64_t d, const float *x, int64_t ld, void *y) {
  for (int64_t i = 0; i < min64(BLOCK, h.keys - key0); i++) {
    T *row = static_cast<T *>(y) + h.first_key + (key0 + i) * h.key_stride;
    for (int64_t j = 0; j < d; j += W) vstore_n(row + j, vload(x + i * ld + j), d - j);
  }
}

template <typename T> static void store_rows(const Head &h, int64_t row0, const AttentionShape &shape, const float *x, void *y) {
  RowAt at = row_at(h, row0, shape.d);
  for (int64_t i = 0; i < min64(BLOCK, h.rows - row0); i++, at.next(h, shape.d)) {
    T *row = static_cast<T *>(y) + at.element;
    for (int64_t j = 0; j < shape.d; j += W) vstore_n(row + j, vload(x + i * shape.ld + j) * vset(shape.scale), shape.d - j);
  }
}

// The block with the first row that sees a key of the block at key0.
static inline int64_t first_row_block(const Head &h, int64_t key0) { return max64(0, (key0 - h.offset) * h.group) / BLOCK * BLOCK; }

template <typename T> static void head_task(void *arg, int64_t task, int32_t worker) {
  const AttentionBackward &a = *static_cast<const AttentionBackward *>(arg);
  const AttentionShape &shape = a.shape;
  int64_t ld = shape.ld, sequence = sequence_of(a.heads, task);
  Head h = head_of(shape, sequence, task - a.heads.starts[sequence]);
  BackwardState state;
  backward_state(scratch(a.ctx, worker, 0), ld, a.most_rows, &state);
  for (int64_t row = 0; row < h.rows; row += BLOCK) load_backward_rows<T>(a, h, row, row, state);
  clear(state.dq, blocks_of(h.rows, BLOCK) * BLOCK * ld);
  for (int64_t key = 0; key < h.keys; key += BLOCK) {
    load_backward_keys<T>(a, h, key, state.kt, state.vt, state.k);
    clear(state.dk, BLOCK * ld);
    clear(state.dv, BLOCK * ld);
    for (int64_t row = first_row_block(h, key); row < h.rows; row += BLOCK) {
      Mask m = mask_of(h, row, key);
      probabilities(shape, m, state, row, state.kt, state.vt);
      add_row_sum(m, state.p, state.dout + row * ld, ld, state.dv);
      add_row_sum(m, state.ds, state.q + row * ld, ld, state.dk);
      add_key_sum(m, state.ds, state.k, ld, ld, state.dq + row * ld);
    }
    store_keys<T>(h, key, shape.d, state.dk, ld, a.dk);
    store_keys<T>(h, key, shape.d, state.dv, ld, a.dv);
  }
  for (int64_t row = 0; row < h.rows; row += BLOCK) store_rows<T>(h, row, shape, state.dq + row * ld, a.dq);
}

// A block of keys: packs it for the tasks of the rows, and computes its dk and dv.
template <typename T> static void key_block_task(void *arg, int64_t task, int32_t worker) {
  const AttentionBackward &a = *static_cast<const AttentionBackward *>(arg);
  const AttentionShape &shape = a.shape;
  int64_t ld = shape.ld, sequence = sequence_of(a.key_blocks, task), i = task - a.key_blocks.starts[sequence];
  int64_t blocks = blocks_of(shape.sequences[4 * sequence + 3], BLOCK);
  Head h = head_of(shape, sequence, i / blocks);
  int64_t key = i % blocks * BLOCK;
  float *kt = a.panels + task * (3 * BLOCK * ld), *vt = kt + BLOCK * ld;
  BackwardState state;
  backward_state(scratch(a.ctx, worker, 0), ld, BLOCK, &state);
  load_backward_keys<T>(a, h, key, kt, vt, vt + BLOCK * ld);
  clear(state.dk, BLOCK * ld);
  clear(state.dv, BLOCK * ld);
  for (int64_t row = first_row_block(h, key); row < h.rows; row += BLOCK) {
    Mask m = mask_of(h, row, key);
    load_backward_rows<T>(a, h, row, 0, state);
    probabilities(shape, m, state, 0, kt, vt);
    add_row_sum(m, state.p, state.dout, ld, state.dv);
    add_row_sum(m, state.ds, state.q, ld, state.dk);
  }
  store_keys<T>(h, key, shape.d, state.dk, ld, a.dk);
  store_keys<T>(h, key, shape.d, state.dv, ld, a.dv);
}

template <typename T> static void row_block_task(void *arg, int64_t task, int32_t worker) {
  const AttentionBackward &a = *static_cast<const AttentionBackward *>(arg);
  const AttentionShape &shape = a.shape;
  int64_t ld = shape.ld, sequence = sequence_of(a.row_blocks, task), i = task - a.row_blocks.starts[sequence];
  Head h = head_of(shape, sequence, 0);
  int64_t blocks = blocks_of(h.rows, BLOCK), row = (blocks - 1 - i % blocks) * BLOCK;  // the longest first
  h = head_of(shape, sequence, i / blocks);
  const float *panels = a.panels + (a.key_blocks.starts[sequence] + i / blocks * blocks_of(h.keys, BLOCK)) * (3 * BLOCK * ld);
  BackwardState state;
  backward_state(scratch(a.ctx, worker, 0), ld, BLOCK, &state);
  load_backward_rows<T>(a, h, row, 0, state);
  clear(state.dq, BLOCK * ld);
  for (int64_t key = 0; key < h.keys && first_row_block(h, key) <= row; key += BLOCK, panels += 3 * BLOCK * ld) {
    Mask m = mask_of(h, row, key);
    probabilities(shape, m, state, 0, panels, panels + BLOCK * ld);
    add_key_sum(m, state.ds, panels + 2 * BLOCK * ld, ld, ld, state.dq);
  }
  store_rows<T>(h, row, shape, state.dq, a.dq);
}

static int32_t attention_backward(pan_context *ctx, const void *q, const void *k, const void *v, const void *out, const float *lse, const void *dout, void *dq, void *dk,
                                  void *dv, int32_t type, const int32_t *sequences, int64_t count, int32_t heads, int32_t kv_heads, int32_t head_dim, float scale) {
  AttentionBackward a = {};
  a.shape = AttentionShape{sequences, count, heads, kv_heads, heads / kv_heads, head_dim, blocks_of(head_dim, W) * W, scale};
  a.q = q;
  a.k = k;
  a.v = v;
  a.out = out;
  a.lse = lse;
  a.dout = dout;
  a.dq = dq;
  a.dk = dk;
  a.dv = dv;
  a.ctx = ctx;
  int64_t threads = thread_count(ctx), ld = a.shape.ld, blocks = 0;
  double work = 0, most_work = 0;
  for (int64_t i = 0; i < count; i++) {
    Head h = head_of(a.shape, i, 0);
    blocks += kv_heads * blocks_of(h.keys, BLOCK);
    a.most_rows = max64(a.most_rows, blocks_of(h.rows, BLOCK) * BLOCK);
    double pairs = double(h.rows) * double(h.keys - h.queries / 2);
    work += double(kv_heads) * pairs;
    most_work = pairs > most_work ? pairs : most_work;
  }
  // Whole heads: 5/7 of the work, but the threads may wait for the longest task; and no more than 64 MiB for each of them.
  BackwardState unused;
  size_t state = backward_state(nullptr, ld, a.most_rows, &unused);
  bool whole = threads == 1 || (5 * (work / double(threads) + most_work * double(threads - 1) / double(threads)) <= 7 * work / double(threads));
  if (state > size_t(64) << 20) whole = false;
  if (!whole) state = backward_state(nullptr, ld, BLOCK, &unused);

  Arena arena = {nullptr, 0};
  arena.base = static_cast<char *>(scratch(ctx, -1, size_t((count + 1) * 24 + (whole ? 0 : blocks * 3 * BLOCK * ld * 4) + 4 * 64)));
  if (!arena.base) return PAN_ERROR_MEMORY;
  for (int32_t i = 0; i < threads; i++)
    if (!scratch(ctx, i, state)) return PAN_ERROR_MEMORY;
  int64_t *starts[3];
  for (int64_t *&p : starts) p = arena.integers(count + 1);
  if (!whole) a.panels = arena.floats(blocks * 3 * BLOCK * ld);
  for (int64_t *p : starts) p[0] = 0;
  for (int64_t i = 0; i < count; i++) {
    Head h = head_of(a.shape, i, 0);
    starts[0][i + 1] = starts[0][i] + kv_heads;
    starts[1][i + 1] = starts[1][i] + kv_heads * blocks_of(h.keys, BLOCK);
    starts[2][i + 1] = starts[2][i] + kv_heads * blocks_of(h.rows, BLOCK);
  }
  a.heads = TaskIndex{starts[0], count};
  a.key_blocks = TaskIndex{starts[1], count};
  a.row_blocks = TaskIndex{starts[2], count};
  bool f32 = type == PAN_F32;
  if (whole) {
    parallel(ctx, starts[0][count], f32 ? head_task<float> : head_task<bf16>, &a);
  } else {
    parallel(ctx, starts[1][count], f32 ? key_block_task<float> : key_block_task<bf16>, &a);
    parallel(ctx, starts[2][count], f32 ? row_block_task<float> : row_block_task<bf16>, &a);
  }
  return 0;
}
