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
// Tasks. A task is a range of the stacked rows of one kv head: all key blocks for 512 rows at a time, in ascending order,
// five products per pair of blocks. The gradients of its rows are then complete; its sums for dk and dv are added to those
// of the head's other ranges by a second loop, in ascending order. Into how many ranges a head is cut depends on the shape
// alone: about 32 tasks in all, and not less than 1,024 rows in a range.

static constexpr int64_t CHUNK = 512;                       // stacked rows at a time
static constexpr int64_t RANGE = 1024;                      // least rows of a range
static constexpr double BACKWARD_TASKS = 32;

struct AttentionBackward {
  AttentionShape shape;
  const void *q, *k, *v, *out, *dout;
  const float *lse;
  void *dq, *dk, *dv;
  TaskIndex ranges, merges;
  const int64_t *range_rows;   // per sequence
  const int64_t *part_starts;  // per sequence of more than one range, where its sums start in `parts`
  float *parts;                // per kv head, range and key block that it sees: dk, dv
  pan_context *ctx;
};

struct BackwardState {
  float *kt, *vt, *k;         // one key block; kt and vt [ld, 64], k [64, ld]
  float *p, *ds;              // [64, 64]
  float *q, *dout, *dq;       // [512, ld]
  float *lse, *delta;         // [512]; lse to base 2
  float *sums;                // per key block: dk, dv, for a sequence of one range
};
static BackwardState backward_state(Arena &arena, int64_t ld, int64_t key_blocks) {
  BackwardState state;
  state.kt = arena.floats(BLOCK * ld);
  state.vt = arena.floats(BLOCK * ld);
  state.k = arena.floats(BLOCK * ld);
  state.p = arena.floats(BLOCK * BLOCK);
  state.ds = arena.floats(BLOCK * BLOCK);
  state.q = arena.floats(CHUNK * ld);
  state.dout = arena.floats(CHUNK * ld);
  state.dq = arena.floats(CHUNK * ld);
  state.lse = arena.floats(CHUNK);
  state.delta = arena.floats(CHUNK);
  state.sums = arena.floats(key_blocks * 2 * BLOCK * ld);
  return state;
}

static void clear(float *x, int64_t n) {
  for (int64_t i = 0; i < n; i += W) vstore(x + i, vzero());
}

// One block of rows into the state, at row `at` of its arrays.
template <typename T> static void load_backward_rows(const AttentionBackward &a, const Head &h, int64_t row0, int64_t at, const BackwardState &state) {
  int64_t ld = a.shape.ld, d = a.shape.d, n = min64(BLOCK, h.rows - row0);
  float *dout = state.dout + at * ld;
  load_rows(h, static_cast<const T *>(a.q), row0, d, a.shape.scale * LOG2_E, state.q + at * ld, ld);
  load_rows(h, static_cast<const T *>(a.dout), row0, d, 1.f, dout, ld);
  RowAt place = row_at(h, row0, d);
  for (int64_t i = 0; i < n; i++, place.next(h, d)) {
    const T *out = static_cast<const T *>(a.out) + place.element;
    VF sum = vzero();
    for (int64_t j = 0; j < d; j += W) sum = vfma(vload_n(out + j, d - j), vload(dout + i * ld + j), sum);
    state.delta[at + i] = vsum(sum);
    state.lse[at + i] = a.lse[place.lse] * LOG2_E;
  }
}

template <typename T> static void fetch_backward_rows(const AttentionBackward &a, const Head &h, int64_t row0) {
  fetch_rows(h, static_cast<const T *>(a.q), row0, a.shape.d);
  fetch_rows(h, static_cast<const T *>(a.dout), row0, a.shape.d);
  fetch_rows(h, static_cast<const T *>(a.out), row0, a.shape.d);
}

template <typename T> static void load_backward_keys(const AttentionBackward &a, const Head &h, int64_t key0, float *kt, float *vt, float *k) {
  load_keys_transposed(h, static_cast<const T *>(a.k), key0, a.shape.d, kt);
  load_keys_transposed(h, static_cast<const T *>(a.v), key0, a.shape.d, vt);
  load_keys(h, static_cast<const T *>(a.k), key0, a.shape.d, k, a.shape.ld);
}

// p and ds of a pair of blocks, zero where the mask is; the block of rows is at row `at` of the state.
static void probabilities(const AttentionShape &shape, const Mask &m, const BackwardState &state, int64_t at, const float *kt, const float *vt) {
  int64_t ld = shape.ld;
  for (int64_t i0 = 0, rows; i0 < m.rows; i0 += rows) {
    rows = strip_rows(m.rows - i0);
    int64_t seen = seen_by_strip(m, i0, rows);
    strip_product<false, false>(int(rows), state.q + (at + i0) * ld, ld, kt, BLOCK, state.p + i0 * BLOCK, BLOCK, seen, shape.d);
    strip_product<false, false>(int(rows), state.dout + (at + i0) * ld, ld, vt, BLOCK, state.ds + i0 * BLOCK, BLOCK, seen, shape.d);
    for (int64_t i = i0; i < min64(i0 + rows, m.rows); i++) {
      int64_t n = m.seen[i], j = 0;
      float *p = state.p + i * BLOCK, *ds = state.ds + i * BLOCK;
      VF lse = vset(state.lse[at + i]), delta = vset(state.delta[at + i]);
      for (; j + W <= n; j += W) {
        VF x = vexp2(vload(p + j) - lse);
        vstore(p + j, x);
        vstore(ds + j, x * (vload(ds + j) - delta));
      }
      if (j < n) {
        VF x = vkeep(vexp2(vload(p + j) - lse), n - j, 0.f);
        vstore(p + j, x);
        vstore(ds + j, vkeep(x * (vload(ds + j) - delta), n - j, 0.f));
        j += W;
      }
      for (; j < BLOCK; j += W) {
        vstore(p + j, vzero());
        vstore(ds + j, vzero());
      }
    }
  }
}

// The gradients of a key block from its sums: dk, dv.
template <typename T> static void store_keys(const AttentionBackward &a, const Head &h, int64_t key0, const float *sums) {
  int64_t ld = a.shape.ld, d = a.shape.d;
  for (int64_t i = 0; i < min64(BLOCK, h.keys - key0); i++) {
    T *dk = static_cast<T *>(a.dk) + h.first_key + (key0 + i) * h.key_stride, *dv = static_cast<T *>(a.dv) + h.first_key + (key0 + i) * h.key_stride;
    for (int64_t j = 0; j < d; j += W) {
      vstore_n(dk + j, vload(sums + i * ld + j) * vset(LN_2), d - j);  // q was multiplied by scale log2(e)
      vstore_n(dv + j, vload(sums + (BLOCK + i) * ld + j), d - j);
    }
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

// Blocks of keys that the rows before `end` see.
static inline int64_t blocks_seen(const Head &h, int64_t end) { return end == 0 ? 0 : blocks_of(h.offset + (end - 1) / h.group + 1, BLOCK); }
static inline int64_t ranges_of(const Head &h, int64_t range_rows) { return max64(1, blocks_of(h.rows, range_rows)); }
// Key blocks in the sums of the ranges before `range`.
static int64_t sums_before(const Head &h, int64_t range_rows, int64_t range) {
  int64_t blocks = 0;
  for (int64_t i = 0; i < range; i++) blocks += blocks_seen(h, min64(h.rows, (i + 1) * range_rows));
  return blocks;
}

template <typename T> static void range_task(void *arg, int64_t task, int32_t worker) {
  const AttentionBackward &a = *static_cast<const AttentionBackward *>(arg);
  const AttentionShape &shape = a.shape;
  int64_t ld = shape.ld, size = 2 * BLOCK * ld, sequence = sequence_of(a.ranges, task), i = task - a.ranges.starts[sequence];
  Head h = head_of(shape, sequence, i % shape.kv_heads);
  int64_t range_rows = a.range_rows[sequence], ranges = ranges_of(h, range_rows), range = ranges - 1 - i / shape.kv_heads;  // the longest first
  int64_t end = min64(h.rows, (range + 1) * range_rows);
  Arena arena = {static_cast<char *>(scratch(a.ctx, worker, 0)), 0};
  BackwardState state = backward_state(arena, ld, 0);
  float *sums = state.sums;
  if (ranges > 1)
    sums = a.parts + a.part_starts[sequence] + (i % shape.kv_heads * sums_before(h, range_rows, ranges) + sums_before(h, range_rows, range)) * size;
  int64_t started = 0;  // key blocks whose sums have been begun
  for (int64_t row0 = range * range_rows; row0 < end; row0 += CHUNK) {
    int64_t rows = min64(CHUNK, end - row0), blocks = blocks_seen(h, row0 + rows);
    clear(state.dq, blocks_of(rows, BLOCK) * BLOCK * ld);
    for (int64_t block = 0; block < blocks; block++) {
      int64_t key = block * BLOCK;
      float *dk = sums + block * size, *dv = dk + BLOCK * ld;
      if (block >= started) clear(dk, size);
      load_backward_keys<T>(a, h, key, state.kt, state.vt, state.k);
      for (int64_t row = max64(0, first_row_block(h, key) - row0); row < rows; row += BLOCK) {
        if (block == 0) {  // which every row sees
          load_backward_rows<T>(a, h, row0 + row, row, state);
          if (row + BLOCK < rows) fetch_backward_rows<T>(a, h, row0 + row + BLOCK);
        }
        Mask m = mask_of(h, row0 + row, key, BLOCK);
        probabilities(shape, m, state, row, state.kt, state.vt);
        add_row_sum(m, state.p, state.dout + row * ld, ld, dv);
        add_row_sum(m, state.ds, state.q + row * ld, ld, dk);
        add_key_sum(m, state.ds, state.k, ld, state.dq + row * ld);
      }
    }
    started = blocks;
    for (int64_t row = 0; row < rows; row += BLOCK) store_rows<T>(h, row0 + row, shape, state.dq + row * ld, a.dq);
  }
  if (ranges > 1) return;
  if (started * BLOCK < h.keys) clear(sums + started * size, (blocks_of(h.keys, BLOCK) - started) * size);  // keys without queries
  for (int64_t key = 0; key < h.keys; key += BLOCK) store_keys<T>(a, h, key, sums + key / BLOCK * size);
}

// Task: a key block of a sequence of more than one range; the sums of the ranges that see it, in ascending order.
template <typename T> static void sum_task(void *arg, int64_t task, int32_t) {
  const AttentionBackward &a = *static_cast<const AttentionBackward *>(arg);
  const AttentionShape &shape = a.shape;
  int64_t size = 2 * BLOCK * shape.ld, sequence = sequence_of(a.merges, task), i = task - a.merges.starts[sequence];
  int64_t blocks = blocks_of(shape.sequences[4 * sequence + 3], BLOCK), block = i % blocks;
  Head h = head_of(shape, sequence, i / blocks);
  int64_t range_rows = a.range_rows[sequence], ranges = ranges_of(h, range_rows);
  float *parts = a.parts + a.part_starts[sequence] + i / blocks * sums_before(h, range_rows, ranges) * size;
  float *sum = nullptr;  // of the first range that sees the block
  for (int64_t range = 0; range < ranges; range++) {
    int64_t seen = blocks_seen(h, min64(h.rows, (range + 1) * range_rows));
    float *part = parts + block * size;
    if (block < seen && sum)
      for (int64_t j = 0; j < size; j += W) vstore(sum + j, vload(sum + j) + vload(part + j));
    else if (block < seen)
      sum = part;
    parts += seen * size;
  }
  store_keys<T>(a, h, block * BLOCK, sum);
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
  double work = 0;
  for (int64_t i = 0; i < count; i++) {
    Head h = head_of(a.shape, i, 0);
    work += double(kv_heads) * double(h.rows) * double(h.keys - h.queries / 2);
  }
  // Ranges and task numbers of the sequences; once to learn how much memory the sums take, and once to fill it in.
  int64_t ld = a.shape.ld, size = 2 * BLOCK * ld, ranges = 0, merges = 0, parts = 0, key_blocks = 0;
  for (int pass = 0; pass < 2; pass++) {
    Arena arena = {nullptr, 0};
    if (pass == 1) {
      arena.base = static_cast<char *>(scratch(ctx, -1, size_t(4 * (count + 1) * 8 + parts * 4 + 8 * 64)));
      if (!arena.base) return PAN_ERROR_MEMORY;
      Arena worker = {nullptr, 0};
      backward_state(worker, ld, key_blocks);
      for (int32_t i = 0; i < thread_count(ctx); i++)
        if (!scratch(ctx, i, worker.used)) return PAN_ERROR_MEMORY;
    }
    int64_t *starts[4];
    for (int64_t *&p : starts) p = arena.integers(count + 1);
    a.parts = arena.floats(parts);
    ranges = merges = parts = 0;
    for (int64_t i = 0; i <= count; i++) {
      if (pass == 1) {
        starts[0][i] = ranges;
        starts[1][i] = merges;
        starts[2][i] = parts;
      }
      if (i == count) break;
      Head h = head_of(a.shape, i, 0);
      double share = double(h.rows) * double(h.keys - h.queries / 2) * BACKWARD_TASKS;  // how many of the tasks this head is worth, times work
      int64_t wanted = work > 0 ? int64_t(share / work) + 1 : 1;
      wanted = max64(1, min64(wanted, h.rows / RANGE));
      int64_t range_rows = max64(1, blocks_of(blocks_of(h.rows, BLOCK), wanted)) * BLOCK;
      if (pass == 1) starts[3][i] = range_rows;
      int64_t n = ranges_of(h, range_rows), blocks = blocks_of(h.keys, BLOCK);
      ranges += kv_heads * n;
      if (n == 1) {
        key_blocks = max64(key_blocks, blocks);
        continue;
      }
      merges += kv_heads * blocks;
      parts += kv_heads * sums_before(h, range_rows, n) * size;
    }
    a.ranges = TaskIndex{starts[0], count};
    a.merges = TaskIndex{starts[1], count};
    a.part_starts = starts[2];
    a.range_rows = starts[3];
  }
  bool f32 = type == PAN_F32;
  parallel(ctx, ranges, f32 ? range_task<float> : range_task<bf16>, &a);
  parallel(ctx, merges, f32 ? sum_task<float> : sum_task<bf16>, &a);
  return 0;
}
