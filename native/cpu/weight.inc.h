// weight.inc.h: a weight of any format as numbers: ranges and rows of it, and the kernels that read it value by value,
// pan_dequantize and pan_gather_rows.
//
// The order of rows. Where pair_dim is 0 the matrix is stored as it is. Else llama.cpp has reordered the rows of every head
// of pair_dim, so that the two of a rotated pair follow each other; stored_row() says where a row of the matrix lies, and whoever
// computes the address of a row goes through it. Ranges below count elements as they are stored.

// Where row n of the matrix is stored.
PAN_INLINE int64_t stored_row(const pan_weight *w, int64_t n) {
  if (w->pair_dim == 0) return n;
  int64_t in_head = n % w->pair_dim, half_dim = w->pair_dim / 2;
  return n - in_head + in_head % half_dim * 2 + in_head / half_dim;
}

// The first element of row n, among the elements as they are stored.
PAN_INLINE int64_t row_start(const pan_weight *w, int64_t n) { return stored_row(w, n) * w->cols; }

static void decode_halves(const half *x, int64_t count, float *out, bool round) {
  if (!round) return convert(x, count, out);
  int64_t i = 0;
  for (; i + W <= count; i += W) vstore(out + i, (VF)round_bf16((VU)vload(x + i)));
  if (i < count) vstore_n(out + i, (VF)round_bf16((VU)vload_n(x + i, count - i)), count - i);
}

// out[0 .. count) = the stored elements from `start` on, in f32. If `round`, what bf16 cannot hold is rounded to it, but for F32 weights.
static void decode_range(const pan_weight *w, int64_t start, int64_t count, float *out, bool round) {
  switch (w->format) {
    case PAN_F32: memcpy(out, (const float *)w->data + start, (size_t)count * 4); break;
    case PAN_BF16: convert((const bf16 *)w->data + start, count, out); break;
    case PAN_F16: decode_halves((const half *)w->data + start, count, out, round); break;
    case PAN_Q4: decode_4bit(w, start, count, out, round); break;
    default:
      if (round) decode_blocks<true>(w, start, count, out);
      else decode_blocks<false>(w, start, count, out);
  }
}

// out[0 .. count) = w[row, col .. col+count) in f32, rounded as by decode_range.
static void row_to_floats(const pan_weight *w, int64_t row, int64_t col, int64_t count, float *out, bool round) {
  decode_range(w, row_start(w, row) + col, count, out, round);
}

// y[at .. at+count) = the stored elements from `start` on, in `type`, rounded once; bitsandbytes' codes to bf16 through a buffer.
static void convert_range(const pan_weight *w, int64_t start, int64_t count, void *y, int64_t at, int32_t type) {
  if (type == PAN_F32) {
    decode_range(w, start, count, (float *)y + at, false);
  } else if (w->format == PAN_BF16) {
    memcpy((bf16 *)y + at, (const bf16 *)w->data + start, (size_t)count * 2);
  } else if (w->format == PAN_F32) {
    convert((const float *)w->data + start, count, (bf16 *)y + at);
  } else if (w->format == PAN_F16) {
    convert((const half *)w->data + start, count, (bf16 *)y + at);
  } else if (has_blocks(w->format)) {
    decode_blocks<false>(w, start, count, (bf16 *)y + at);
  } else {
    constexpr int64_t kBuffer = 512;
    float buffer[kBuffer];
    for (int64_t i = 0; i < count; i += kBuffer) {
      int64_t n = min64(kBuffer, count - i);
      decode_range(w, start + i, n, buffer, false);
      convert(buffer, n, (bf16 *)y + at + i);
    }
  }
}

struct Conversion {
  const pan_weight *w;
  const int32_t *index;  // or NULL: all rows
  void *y;
  int32_t type;
  int64_t count, rows_per_task;
};

static void range_task(void *arg, int64_t task, int32_t) {
  const Conversion *c = (const Conversion *)arg;
  int64_t start = task * kConvertChunk, n = min64(c->count - start, kConvertChunk);
  convert_range(c->w, start, n, c->y, start, c->type);
}

static void rows_task(void *arg, int64_t task, int32_t) {
  const Conversion *c = (const Conversion *)arg;
  int64_t cols = c->w->cols, first = task * c->rows_per_task, last = min64(first + c->rows_per_task, c->count);
  for (int64_t i = first; i < last; i++) convert_range(c->w, row_start(c->w, c->index ? c->index[i] : i), cols, c->y, i * cols, c->type);
}

static void convert_rows(pan_context *ctx, const pan_weight *w, const int32_t *index, int64_t m, void *y, int32_t type) {
  Conversion c = {w, index, y, type, m, 1 + kConvertChunk / (w->cols + 1)};
  parallel(ctx, blocks_of(m, c.rows_per_task), rows_task, &c);
}

static int32_t dequantize(pan_context *ctx, const pan_weight *w, void *y, int32_t type) {
  if (w->pair_dim != 0) {
    convert_rows(ctx, w, nullptr, w->rows, y, type);
    return 0;
  }
  // Blocks of 4-bit codes may run across row ends: the matrix is cut without regard to its rows.
  Conversion c = {w, nullptr, y, type, w->rows * w->cols, 0};
  parallel(ctx, blocks_of(c.count, kConvertChunk), range_task, &c);
  return 0;
}

// The indices have been checked.
static int32_t gather_rows(pan_context *ctx, const pan_weight *w, const int32_t *index, int64_t m, void *y, int32_t ytype) {
  if (m > 0) convert_rows(ctx, w, index, m, y, ytype);
  return 0;
}
