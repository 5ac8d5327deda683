// attention_generic.cu: causal attention for every even head up to 256, f32 or bf16 in memory, f32 arithmetic on CUDA cores: the path of single
// precision, and of heads that the tensor-core kernels do not take. Flash structure (Dao 2023): nothing of size queries x keys is kept.
//
//   S = scale Q K^T;   P = exp(S - lse), lse = log(sum over the visible keys of exp S);   O = P V
//   D = rowsum(dO O);  dS = P (dO V^T - D);   dQ = scale dS K;   dK = scale dS^T Q;   dV = P^T dO
//
// q, o, dq [rows, heads, head_dim]; k, v [rows, kv_heads, head_dim]; lse, D f32 [rows, heads]. `sequences` int[count][4]: first query, queries, first
// key, keys; query j sees keys 0 to keys - queries + j.
//
// Grouped queries: the rows of a tile are (query, head of the group) pairs, row = query * group + head, so that a tile of keys serves all heads of a
// group, and a single query fills as many rows as it has heads. A block of 128 threads has a tile and one key/value head; it finds its sequence by walking
// the table, 32 entries at a time (the host knows only that there are at most rows / tile + count tiles). An entry that is wrong is reported by block 0 and
// has no tiles. A sequence's last tiles, which see the most keys, come first.
//   forward, dQ: a block has a tile of ROWS query rows and goes over the tiles of KEYS keys that they see.
//   With few query rows, as when tokens are generated, the keys of a forward tile are split over blocks, whose results `merge` puts together in order.
//   dK, dV: a block has a tile of KEYS keys and goes over the query rows that see them, of all heads of the group, in ascending order.
// So every sum has one owner and a fixed order; D is written by the dQ kernel for the one of dK and dV.
// Threads: ty = thread / 16 has TM = ROWS / 8 rows, tx = thread % 16 the keys tx, tx + 16, ... of S, and of a result the columns 4 tx .. 4 tx + 3 of every 64.
// Tiles stand in shared memory in f32, padded by 4 columns, zero where there is nothing.
// Bytes: Q, O (dO, dQ) once; K, V once for each tile of query rows. FLOPs: 4 (10) head_dim for each visible (query, key, head), whole tiles.
// Sums over head_dim and over keys in f32 in ascending order; exp2 of f32 scores; results rounded once.
//
// Tiles (D = head_dim rounded up to 64, 128 or 256): forward ROWS x KEYS 64 x 64, 64 x 32, 24 x 32, and 8 x 32 for few queries; backward 32 x 64, 32 x 32,
// 24 x 16: the 99 KB that a block can have on compute capability 8.6, 8.9 and 12.0 leave no room for more. The names end in D, and _few.
//
// budget: pan_attention_generic_f32_64 registers 176 shared 69632
// budget: pan_attention_generic_f32_64_few registers 80 shared 20736
// budget: pan_attention_generic_merge_f32 registers 48 shared 0
// budget: pan_attention_generic_merge_bf16 registers 48 shared 0
// budget: pan_attention_generic_dq_f32_64 registers 176 shared 60928
// budget: pan_attention_generic_dkv_f32_64 registers 176 shared 69632
// budget: pan_attention_generic_f32_128 registers 200 shared 76800
// budget: pan_attention_generic_f32_128_few registers 80 shared 39168
// budget: pan_attention_generic_dq_f32_128 registers 176 shared 72192
// budget: pan_attention_generic_dkv_f32_128 registers 176 shared 76800
// budget: pan_attention_generic_f32_256 registers 176 shared 94976
// budget: pan_attention_generic_f32_256_few registers 104 shared 76032
// budget: pan_attention_generic_dq_f32_256 registers 176 shared 85120
// budget: pan_attention_generic_dkv_f32_256 registers 160 shared 87040
// budget: pan_attention_generic_bf16_64 registers 176 shared 69632
// budget: pan_attention_generic_bf16_64_few registers 80 shared 20736
// budget: pan_attention_generic_dq_bf16_64 registers 176 shared 60928
// budget: pan_attention_generic_dkv_bf16_64 registers 176 shared 69632
// budget: pan_attention_generic_bf16_128 registers 200 shared 76800
// budget: pan_attention_generic_bf16_128_few registers 80 shared 39168
// budget: pan_attention_generic_dq_bf16_128 registers 176 shared 72192
// budget: pan_attention_generic_dkv_bf16_128 registers 176 shared 76800
// budget: pan_attention_generic_bf16_256 registers 176 shared 94976
// budget: pan_attention_generic_bf16_256_few registers 104 shared 76032
// budget: pan_attention_generic_dq_bf16_256 registers 176 shared 85120
// budget: pan_attention_generic_dkv_bf16_256 registers 160 shared 87040
#include "common.cuh"
#include "fast.cuh"

namespace attention_generic {

constexpr int THREADS = 128, PAD = 4;
constexpr int FEW = 8, FEW_KEYS = 32;   // rows of a tile, and keys of one, for few queries
constexpr int LEAST_SPLIT = 128;  // keys
constexpr float LOG2E = 1.4426950408889634f, LN2 = 0.6931471805599453f;

struct Shape {
  long long query_rows, key_rows;  // of the buffers
  int count, heads, kv_heads, head_dim;
  float scale;
};

struct Sequence {
  int first_query, queries, first_key, keys;
};

__device__ __forceinline__ Sequence entry(const int *__restrict__ sequences, int i) {
  return {sequences[4 * i], sequences[4 * i + 1], sequences[4 * i + 2], sequences[4 * i + 3]};
}

__device__ __forceinline__ bool valid(const Sequence &s, const Shape &shape) {
  return s.first_query >= 0 && s.queries >= 0 && s.first_key >= 0 && s.keys >= s.queries && (long long)s.first_query + s.queries <= shape.query_rows &&
         (long long)s.first_key + s.keys <= shape.key_rows;
}

// Reports every wrong entry of the table: one block does.
__device__ __forceinline__ void report_sequences(const int *__restrict__ sequences, const Shape &shape, Report *report) {
  for (int i = threadIdx.x; i < shape.count; i += THREADS) {
    const Sequence s = entry(sequences, i);
    if (!valid(s, shape)) {
      const bool query = s.first_query < 0 || (long long)s.first_query + s.queries > shape.query_rows;
      report_index(report, REPORT_SEQUENCE, i, s.keys, query ? shape.query_rows : shape.key_rows);
    }
  }
}

// The sequence of a tile, and the tile's number in it; false if there are fewer tiles. Every warp finds it by itself. A sequence has ceil(rows / tile)
// tiles, rows = queries * group, or keys.
__device__ __forceinline__ bool find(const int *__restrict__ sequences, const Shape &shape, bool of_keys, int rows_per_tile, long long &tile, Sequence &found) {
  const int lane = threadIdx.x % 32, group = shape.heads / shape.kv_heads;
  for (int from = 0; from < shape.count; from += 32) {
    long long tiles = 0;
    if (from + lane < shape.count) {
      const Sequence s = entry(sequences, from + lane);
      if (valid(s, shape)) tiles = ((of_keys ? s.keys : (long long)s.queries * group) + rows_per_tile - 1) / rows_per_tile;
    }
    long long sum = tiles;
#pragma unroll
    for (int offset = 1; offset < 32; offset *= 2) {
      const long long below = __shfl_up_sync(0xFFFFFFFFu, sum, offset);
      if (lane >= offset) sum += below;
    }
    const unsigned beyond = __ballot_sync(0xFFFFFFFFu, tile < sum);
    if (beyond != 0) {
      const int at = __ffs(beyond) - 1;
      const long long before = __shfl_sync(0xFFFFFFFFu, sum - tiles, at), of_sequence = __shfl_sync(0xFFFFFFFFu, tiles, at);
      found = entry(sequences, from + at);
      tile = of_sequence - 1 - (tile - before);
      return true;
    }
    tile -= __shfl_sync(0xFFFFFFFFu, sum, 31);
  }
  return false;
}

// Where row r of a group's rows of a sequence stands in q, o: its (query, head) pair; times head_dim the element.
__device__ __forceinline__ long long row_head(const Sequence &s, const Shape &shape, int group, int kv_head, int r) {
  return (long long)(s.first_query + r / group) * shape.heads + kv_head * group + r % group;
}

// ---- tiles -----------------------------------------------------------------------------------------------------------

template <typename T> struct alignas(4 * sizeof(T)) Quad {
  T at[4];
};

// Four elements of a head from column `column` on; zero beyond it. `whole`: head_dim is a multiple of four and everything is aligned to that.
template <typename T> __device__ __forceinline__ float4 load4(const T *__restrict__ head, int column, int head_dim, bool whole) {
  float v[4] = {};
  if (whole && column < head_dim) {
    const Quad<T> in = *reinterpret_cast<const Quad<T> *>(head + column);
#pragma unroll
    for (int i = 0; i < 4; i++) v[i] = to_f32(in.at[i]);
  } else {
#pragma unroll
    for (int i = 0; i < 4; i++)
      if (column + i < head_dim) v[i] = to_f32(head[column + i]);
  }
  return make_float4(v[0], v[1], v[2], v[3]);
}

template <typename T> __device__ __forceinline__ void store4(T *head, int column, int head_dim, bool whole, const float *v) {
  if (whole && column < head_dim) {
    Quad<T> out;
#pragma unroll
    for (int i = 0; i < 4; i++) out.at[i] = from_f32<T>(v[i]);
    *reinterpret_cast<Quad<T> *>(head + column) = out;
  } else {
#pragma unroll
    for (int i = 0; i < 4; i++)
      if (column + i < head_dim) head[column + i] = from_f32<T>(v[i]);
  }
}

// tile[ROWS][D + PAD] = the (query, head) rows from `first` on, those below `last`.
template <int ROWS, int D, typename T>
__device__ __forceinline__ void load_queries(float *tile, const T *__restrict__ x, const Sequence &s, const Shape &shape, int kv_head, int first, int last, bool whole) {
  const int group = shape.heads / shape.kv_heads;
  for (int i = threadIdx.x; i < ROWS * (D / 4); i += THREADS) {
    const int row = i / (D / 4), column = i % (D / 4) * 4;
    float4 value = make_float4(0, 0, 0, 0);
    if (first + row < last) value = load4(x + row_head(s, shape, group, kv_head, first + row) * shape.head_dim, column, shape.head_dim, whole);
    *reinterpret_cast<float4 *>(tile + row * (D + PAD) + column) = value;
  }
}

// tile[KEYS][D + PAD] = the rows of keys or values from `first` on, those of the sequence.
template <int KEYS, int D, typename T>
__device__ __forceinline__ void load_keys(float *tile, const T *__restrict__ x, const Sequence &s, const Shape &shape, int kv_head, int first, bool whole) {
  for (int i = threadIdx.x; i < KEYS * (D / 4); i += THREADS) {
    const int row = i / (D / 4), column = i % (D / 4) * 4;
    float4 value = make_float4(0, 0, 0, 0);
    if (first + row < s.keys) value = load4(x + ((long long)(s.first_key + first + row) * shape.kv_heads + kv_head) * shape.head_dim, column, shape.head_dim, whole);
    *reinterpret_cast<float4 *>(tile + row * (D + PAD) + column) = value;
  }
}

// c[TM][TN] = rows ty TM .. of a times rows tx, tx + 16, ... of b, over the columns of a head.
template <int D, int TM, int TN> __device__ __forceinline__ void dots(const float *a, const float *b, int head_dim, float (&c)[TM][TN]) {
  const int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
#pragma unroll
  for (int i = 0; i < TM; i++)
#pragma unroll
    for (int j = 0; j < TN; j++) c[i][j] = 0;
#pragma unroll 2
  for (int d = 0; d < head_dim; d += 4) {
    float4 right[TN];
#pragma unroll
    for (int j = 0; j < TN; j++) right[j] = *reinterpret_cast<const float4 *>(b + (tx + 16 * j) * (D + PAD) + d);
#pragma unroll
    for (int i = 0; i < TM; i++) {
      const float4 left = *reinterpret_cast<const float4 *>(a + (ty * TM + i) * (D + PAD) + d);
#pragma unroll
      for (int j = 0; j < TN; j++) {
        c[i][j] = fmaf(left.x, right[j].x, c[i][j]);
        c[i][j] = fmaf(left.y, right[j].y, c[i][j]);
        c[i][j] = fmaf(left.z, right[j].z, c[i][j]);
        c[i][j] = fmaf(left.w, right[j].w, c[i][j]);
      }
    }
  }
}

// sums[TM][D / 16] += w[ROWS][N] b[N][D]: rows ty TM .. of w, which has N + PAD columns; the thread's columns of b.
template <int D, int TM, int N> __device__ __forceinline__ void add_product(const float *w, const float *b, float (&sums)[TM][D / 16]) {
  const int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
#pragma unroll 1
  for (int k = 0; k < N; k += 4) {
    float4 left[TM];
#pragma unroll
    for (int i = 0; i < TM; i++) left[i] = *reinterpret_cast<const float4 *>(w + (ty * TM + i) * (N + PAD) + k);
#pragma unroll
    for (int step = 0; step < 4; step++)
#pragma unroll
      for (int c = 0; c < D / 64; c++) {
        const float4 right = *reinterpret_cast<const float4 *>(b + (k + step) * (D + PAD) + 64 * c + 4 * tx);
#pragma unroll
        for (int i = 0; i < TM; i++) {
          const float factor = step == 0 ? left[i].x : step == 1 ? left[i].y : step == 2 ? left[i].z : left[i].w;
          sums[i][4 * c] = fmaf(factor, right.x, sums[i][4 * c]);
          sums[i][4 * c + 1] = fmaf(factor, right.y, sums[i][4 * c + 1]);
          sums[i][4 * c + 2] = fmaf(factor, right.z, sums[i][4 * c + 2]);
          sums[i][4 * c + 3] = fmaf(factor, right.w, sums[i][4 * c + 3]);
        }
      }
  }
}

// sums[TK][D / 16] += w[N][ROWS]^T b[N][D]: columns ty TK .. of w, which has ROWS + PAD columns.
template <int D, int TK, int N, int ROWS> __device__ __forceinline__ void add_transposed_product(const float *w, const float *b, float (&sums)[TK][D / 16]) {
  const int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
#pragma unroll 2
  for (int k = 0; k < N; k++) {
    float left[TK];
#pragma unroll
    for (int i = 0; i < TK; i++) left[i] = w[k * (ROWS + PAD) + ty * TK + i];
#pragma unroll
    for (int c = 0; c < D / 64; c++) {
      const float4 right = *reinterpret_cast<const float4 *>(b + k * (D + PAD) + 64 * c + 4 * tx);
#pragma unroll
      for (int i = 0; i < TK; i++) {
        sums[i][4 * c] = fmaf(left[i], right.x, sums[i][4 * c]);
        sums[i][4 * c + 1] = fmaf(left[i], right.y, sums[i][4 * c + 1]);
        sums[i][4 * c + 2] = fmaf(left[i], right.z, sums[i][4 * c + 2]);
        sums[i][4 * c + 3] = fmaf(left[i], right.w, sums[i][4 * c + 3]);
      }
    }
  }
}

// Of the 16 threads of a row, which are one half of a warp; all get it.
__device__ __forceinline__ float half_sum(float x) {
#pragma unroll
  for (int offset = 8; offset > 0; offset /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, offset);
  return x;
}
__device__ __forceinline__ float half_max(float x) {
#pragma unroll
  for (int offset = 8; offset > 0; offset /= 2) x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, offset));
  return x;
}

// ---- forward ---------------------------------------------------------------------------------------------------------

// How the keys are split where there are few queries: into at most `count` parts of this many keys. Parts of the result, per row, head and split: the sums
// [head_dim] relative to the largest of the split's scores, that score (times log2 e) and the sum of the probabilities.
struct Splits {
  int count;
  float *partial;
  float2 *statistics;
  __device__ __forceinline__ int keys(int keys) const { return max(LEAST_SPLIT, ((keys - 1) / count / FEW_KEYS + 1) * FEW_KEYS); }
};

// Keys that the last query of a tile sees.
__device__ __forceinline__ int seen_keys(const Sequence &s, int group, int first, int rows) { return s.keys - s.queries + (min(first + rows, s.queries * group) - 1) / group + 1; }

// Shared memory: the tiles of queries, keys, values and probabilities.
// SPLIT: block z goes over the keys of one split.
template <int D, int TM, int KEYS, bool SPLIT, typename T>
__device__ __forceinline__ void forward(const T *__restrict__ q, const T *__restrict__ k, const T *__restrict__ v, const int *__restrict__ sequences, const Shape &shape, bool whole,
                                        T *__restrict__ out, float *__restrict__ lse, Report *report, const Splits &splits) {
  extern __shared__ float4 shared[];
  constexpr int ROWS = 8 * TM, TN = KEYS / 16;
  float *queries = reinterpret_cast<float *>(shared), *keys = queries + ROWS * (D + PAD), *values = keys + KEYS * (D + PAD), *weights = values + KEYS * (D + PAD);
  const int ty = threadIdx.x / 16, tx = threadIdx.x % 16, kv_head = blockIdx.y, group = shape.heads / shape.kv_heads;
  if (blockIdx.x == 0 && blockIdx.y == 0 && blockIdx.z == 0) report_sequences(sequences, shape, report);
  long long tile = blockIdx.x;
  Sequence s;
  if (!find(sequences, shape, false, ROWS, tile, s)) return;
  const int first = (int)tile * ROWS, last = s.queries * group, seen = seen_keys(s, group, first, ROWS);
  const int size = SPLIT ? splits.keys(s.keys) : seen, begin = SPLIT ? blockIdx.z * size : 0, end = min(seen, begin + size);
  if (begin >= end) return;
  const float scale = shape.scale * LOG2E;
  load_queries<ROWS, D>(queries, q, s, shape, kv_head, first, last, whole);

  float sums[TM][D / 16] = {}, largest[TM], denominator[TM];
  int visible[TM];
#pragma unroll
  for (int i = 0; i < TM; i++) {
    largest[i] = -INFINITY;
    denominator[i] = 0;
    visible[i] = s.keys - s.queries + min(first + ty * TM + i, last - 1) / group + 1;
  }
  for (int from = begin; from < end; from += KEYS) {
    __syncthreads();  // the tiles of the round before are no longer read
    load_keys<KEYS, D>(keys, k, s, shape, kv_head, from, whole);
    load_keys<KEYS, D>(values, v, s, shape, kv_head, from, whole);
    __syncthreads();
    float scores[TM][TN];
    dots<D, TM, TN>(queries, keys, shape.head_dim, scores);
#pragma unroll
    for (int i = 0; i < TM; i++) {
      float most = largest[i];
#pragma unroll
      for (int j = 0; j < TN; j++) {
        scores[i][j] = from + tx + 16 * j < visible[i] ? scores[i][j] * scale : -INFINITY;
        most = fmaxf(most, scores[i][j]);
      }
      most = half_max(most);  // without splits of at least one visible key: every query sees key 0
      const float base = SPLIT && most == -INFINITY ? 0.0f : most;
      const float shrink = fast_exp2(largest[i] - base);
      largest[i] = most;
      denominator[i] *= shrink;
#pragma unroll
      for (int c = 0; c < D / 16; c++) sums[i][c] *= shrink;
#pragma unroll
      for (int j = 0; j < TN; j++) {
        const float weight = fast_exp2(scores[i][j] - base);
        denominator[i] += weight;
        weights[(ty * TM + i) * (KEYS + PAD) + tx + 16 * j] = weight;
      }
    }
    __syncwarp();  // a row's weights are written and read by one warp
    add_product<D, TM, KEYS>(weights, values, sums);
  }
#pragma unroll
  for (int i = 0; i < TM; i++) {
    const float sum = half_sum(denominator[i]), inverse = 1.0f / sum;
    const int row = first + ty * TM + i;
    if (row >= last) continue;
    const long long at = row_head(s, shape, group, kv_head, row);
    if (SPLIT && seen > size) {
      const long long part = at * splits.count + blockIdx.z;
      if (tx == 0) splits.statistics[part] = make_float2(largest[i], sum);
#pragma unroll
      for (int c = 0; c < D / 64; c++) store4(splits.partial + part * shape.head_dim, 64 * c + 4 * tx, shape.head_dim, shape.head_dim % 4 == 0, sums[i] + 4 * c);
      continue;
    }
    if (tx == 0) lse[at] = (largest[i] + log2f(sum)) * LN2;
#pragma unroll
    for (int c = 0; c < D / 64; c++) {
      float result[4];
#pragma unroll
      for (int j = 0; j < 4; j++) result[j] = sums[i][4 * c + j] * inverse;
      store4(out + at * shape.head_dim, 64 * c + 4 * tx, shape.head_dim, whole, result);
    }
  }
}

// A warp per (query row, head): puts the parts of its splits together, in order. A row that one split has served is finished.
template <typename T>
__device__ __forceinline__ void merge(const int *__restrict__ sequences, const Shape &shape, T *__restrict__ out, float *__restrict__ lse, const Splits &splits) {
  const int lane = threadIdx.x % 32, group = shape.heads / shape.kv_heads;
  const long long at = blockIdx.x * (THREADS / 32LL) + threadIdx.x / 32;
  if (at >= shape.query_rows * shape.heads) return;
  const long long query = at / shape.heads;
  Sequence s;
  unsigned owners = 0;
  for (int from = 0; from < shape.count && owners == 0; from += 32) {
    bool mine = false;
    if (from + lane < shape.count) {
      s = entry(sequences, from + lane);
      mine = valid(s, shape) && query >= s.first_query && query - s.first_query < s.queries;
    }
    owners = __ballot_sync(0xFFFFFFFFu, mine);
    if (owners != 0) s = entry(sequences, from + __ffs(owners) - 1);
  }
  if (owners == 0) return;
  const int row = (int)(query - s.first_query) * group + (int)(at % shape.heads) % group;
  const int seen = seen_keys(s, group, row / FEW * FEW, FEW), size = splits.keys(s.keys), parts = (seen - 1) / size + 1;
  if (parts == 1) return;
  const float2 *statistics = splits.statistics + at * splits.count;
  float most = -INFINITY;
  for (int i = 0; i < parts; i++) most = fmaxf(most, statistics[i].x);
  float sum = 0;
  for (int i = 0; i < parts; i++) sum = fmaf(statistics[i].y, fast_exp2(statistics[i].x - most), sum);
  const float inverse = 1.0f / sum;
  for (int column = lane; column < shape.head_dim; column += 32) {
    float total = 0;
    for (int i = 0; i < parts; i++) total = fmaf(splits.partial[(at * splits.count + i) * shape.head_dim + column], fast_exp2(statistics[i].x - most), total);
    out[at * shape.head_dim + column] = from_f32<T>(total * inverse);
  }
  if (lane == 0) lse[at] = (most + log2f(sum)) * LN2;
}

// ---- backward --------------------------------------------------------------------------------------------------------

// dq and D, which is in the scale of lse's rows. Shared memory: the tiles of queries, dout, keys, values and dS.
template <int D, int TM, int KEYS, typename T>
__device__ __forceinline__ void backward_queries(const T *__restrict__ q, const T *__restrict__ k, const T *__restrict__ v, const T *__restrict__ out, const float *__restrict__ lse,
                                                 const T *__restrict__ dout, const int *__restrict__ sequences, const Shape &shape, bool whole, T *__restrict__ dq,
                                                 float *__restrict__ row_sums, Report *report) {
  extern __shared__ float4 shared[];
  constexpr int ROWS = 8 * TM, TN = KEYS / 16;
  float *queries = reinterpret_cast<float *>(shared), *grads = queries + ROWS * (D + PAD), *keys = grads + ROWS * (D + PAD), *values = keys + KEYS * (D + PAD),
        *weights = values + KEYS * (D + PAD);
  const int ty = threadIdx.x / 16, tx = threadIdx.x % 16, kv_head = blockIdx.y, group = shape.heads / shape.kv_heads;
  if (blockIdx.x == 0 && blockIdx.y == 0) report_sequences(sequences, shape, report);
  long long tile = blockIdx.x;
  Sequence s;
  if (!find(sequences, shape, false, ROWS, tile, s)) return;
  const int first = (int)tile * ROWS, last = s.queries * group;
  const int seen = s.keys - s.queries + (min(first + ROWS, last) - 1) / group + 1;
  const float scale = shape.scale * LOG2E;
  load_queries<ROWS, D>(queries, q, s, shape, kv_head, first, last, whole);
  load_queries<ROWS, D>(grads, dout, s, shape, kv_head, first, last, whole);
  __syncthreads();

  float sums[TM][D / 16] = {}, row_sum[TM], log_sum[TM];
  int visible[TM];
#pragma unroll
  for (int i = 0; i < TM; i++) {
    const int row = min(first + ty * TM + i, last - 1);
    const long long at = row_head(s, shape, group, kv_head, row);
    float sum = 0;
#pragma unroll
    for (int c = 0; c < D / 64; c++) {
      const float4 o = load4(out + at * shape.head_dim, 64 * c + 4 * tx, shape.head_dim, whole);
      const float4 g = *reinterpret_cast<const float4 *>(grads + (ty * TM + i) * (D + PAD) + 64 * c + 4 * tx);
      sum += o.x * g.x + o.y * g.y + o.z * g.z + o.w * g.w;
    }
    row_sum[i] = half_sum(sum);
    log_sum[i] = lse[at] * LOG2E;
    visible[i] = s.keys - s.queries + row / group + 1;
    if (tx == 0 && first + ty * TM + i < last) row_sums[at] = row_sum[i];
  }
  for (int from = 0; from < seen; from += KEYS) {
    __syncthreads();
    load_keys<KEYS, D>(keys, k, s, shape, kv_head, from, whole);
    load_keys<KEYS, D>(values, v, s, shape, kv_head, from, whole);
    __syncthreads();
    float scores[TM][TN], products[TM][TN];
    dots<D, TM, TN>(queries, keys, shape.head_dim, scores);
    dots<D, TM, TN>(grads, values, shape.head_dim, products);
#pragma unroll
    for (int i = 0; i < TM; i++)
#pragma unroll
      for (int j = 0; j < TN; j++) {
        const float weight = from + tx + 16 * j < visible[i] ? fast_exp2(scores[i][j] * scale - log_sum[i]) : 0.0f;
        weights[(ty * TM + i) * (KEYS + PAD) + tx + 16 * j] = weight * (products[i][j] - row_sum[i]);
      }
    __syncwarp();
    add_product<D, TM, KEYS>(weights, keys, sums);
  }
#pragma unroll
  for (int i = 0; i < TM; i++) {
    const int row = first + ty * TM + i;
    if (row >= last) continue;
#pragma unroll
    for (int c = 0; c < D / 64; c++) {
      float result[4];
#pragma unroll
      for (int j = 0; j < 4; j++) result[j] = sums[i][4 * c + j] * shape.scale;
      store4(dq + row_head(s, shape, group, kv_head, row) * shape.head_dim, 64 * c + 4 * tx, shape.head_dim, whole, result);
    }
  }
}

// dk and dv. Shared memory: the tiles of keys, values, queries, dout, P and dS.
template <int D, int TM, int KEYS, typename T>
__device__ __forceinline__ void backward_keys(const T *__restrict__ q, const T *__restrict__ k, const T *__restrict__ v, const float *__restrict__ lse, const T *__restrict__ dout,
                                              const float *__restrict__ row_sums, const int *__restrict__ sequences, const Shape &shape, bool whole, T *__restrict__ dk,
                                              T *__restrict__ dv) {
  extern __shared__ float4 shared[];
  constexpr int ROWS = 8 * TM, TN = KEYS / 16, TK = KEYS / 8;
  float *keys = reinterpret_cast<float *>(shared), *values = keys + KEYS * (D + PAD), *queries = values + KEYS * (D + PAD), *grads = queries + ROWS * (D + PAD),
        *weights = grads + ROWS * (D + PAD), *weight_grads = weights + ROWS * (KEYS + PAD);
  const int ty = threadIdx.x / 16, tx = threadIdx.x % 16, kv_head = blockIdx.y, group = shape.heads / shape.kv_heads;
  long long tile = blockIdx.x;
  Sequence s;
  if (!find(sequences, shape, true, KEYS, tile, s)) return;
  const int first = (int)tile * KEYS, last_row = s.queries * group;
  const int first_row = max(0, first - (s.keys - s.queries)) * group;  // of the first query that sees the first key
  const float scale = shape.scale * LOG2E;
  load_keys<KEYS, D>(keys, k, s, shape, kv_head, first, whole);
  load_keys<KEYS, D>(values, v, s, shape, kv_head, first, whole);

  float key_sums[TK][D / 16] = {}, value_sums[TK][D / 16] = {};
  for (int from = first_row; from < last_row; from += ROWS) {
    __syncthreads();
    load_queries<ROWS, D>(queries, q, s, shape, kv_head, from, last_row, whole);
    load_queries<ROWS, D>(grads, dout, s, shape, kv_head, from, last_row, whole);
    __syncthreads();
    float scores[TM][TN], products[TM][TN];
    dots<D, TM, TN>(queries, keys, shape.head_dim, scores);
    dots<D, TM, TN>(grads, values, shape.head_dim, products);
#pragma unroll
    for (int i = 0; i < TM; i++) {
      const int row = from + ty * TM + i;
      const bool there = row < last_row;
      const long long at = row_head(s, shape, group, kv_head, there ? row : from);
      const float log_sum = lse[at] * LOG2E, row_sum = row_sums[at];
      const int visible = there ? s.keys - s.queries + row / group + 1 : 0;
#pragma unroll
      for (int j = 0; j < TN; j++) {
        const float weight = first + tx + 16 * j < visible ? fast_exp2(scores[i][j] * scale - log_sum) : 0.0f;
        weights[(ty * TM + i) * (KEYS + PAD) + tx + 16 * j] = weight;
        weight_grads[(ty * TM + i) * (KEYS + PAD) + tx + 16 * j] = weight * (products[i][j] - row_sum);
      }
    }
    __syncthreads();
    add_transposed_product<D, TK, ROWS, KEYS>(weights, grads, value_sums);
    add_transposed_product<D, TK, ROWS, KEYS>(weight_grads, queries, key_sums);
  }
#pragma unroll
  for (int i = 0; i < TK; i++) {
    const int key = first + ty * TK + i;
    if (key >= s.keys) continue;
    const long long at = ((long long)(s.first_key + key) * shape.kv_heads + kv_head) * shape.head_dim;
#pragma unroll
    for (int c = 0; c < D / 64; c++) {
      float result[4];
#pragma unroll
      for (int j = 0; j < 4; j++) result[j] = key_sums[i][4 * c + j] * shape.scale;
      store4(dk + at, 64 * c + 4 * tx, shape.head_dim, whole, result);
      store4(dv + at, 64 * c + 4 * tx, shape.head_dim, whole, &value_sums[i][4 * c]);
    }
  }
}

}  // namespace attention_generic

#define ATTENTION_SHAPE long long query_rows, long long key_rows, int count, int heads, int kv_heads, int head_dim, float scale, int whole
#define ATTENTION_SHAPE_VALUES {query_rows, key_rows, count, heads, kv_heads, head_dim, scale}, whole != 0

#define ATTENTION_FORWARD(NAME, T, D, TM, KEYS)                                                                                                                                      \
  extern "C" __global__ void __launch_bounds__(attention_generic::THREADS, 2)                                                                                                           \
      pan_attention_generic_##NAME(const T *q, const T *k, const T *v, const int *sequences, ATTENTION_SHAPE, T *out, float *lse, Report *report) {                                  \
    attention_generic::forward<D, TM, KEYS, false>(q, k, v, sequences, ATTENTION_SHAPE_VALUES, out, lse, report, {});                                                                \
  }
#define ATTENTION_FEW(NAME, T, D)                                                                                                                                                    \
  extern "C" __global__ void __launch_bounds__(attention_generic::THREADS, 2)                                                                                                           \
      pan_attention_generic_##NAME##_##D##_few(const T *q, const T *k, const T *v, const int *sequences, ATTENTION_SHAPE, T *out, float *lse, Report *report, int splits,             \
                                               float *partial, float2 *statistics) {                                                                                                 \
    attention_generic::forward<D, attention_generic::FEW / 8, attention_generic::FEW_KEYS, true>(q, k, v, sequences, ATTENTION_SHAPE_VALUES, out, lse, report,                         \
                                                                                                 {splits, partial, statistics});                                                     \
  }
#define ATTENTION_MERGE(NAME, T)                                                                                                                                                     \
  extern "C" __global__ void __launch_bounds__(attention_generic::THREADS)                                                                                                           \
      pan_attention_generic_merge_##NAME(const int *sequences, long long query_rows, long long key_rows, int count, int heads, int kv_heads, int head_dim, T *out, float *lse,       \
                                         int splits, float *partial, float2 *statistics) {                                                                                           \
    attention_generic::merge(sequences, {query_rows, key_rows, count, heads, kv_heads, head_dim, 0.0f}, out, lse, {splits, partial, statistics});                                    \
  }
#define ATTENTION_BACKWARD(NAME, T, D, TM, KEYS, KTM, KKEYS)                                                                                                                         \
  extern "C" __global__ void __launch_bounds__(attention_generic::THREADS, 2) pan_attention_generic_dq_##NAME(const T *q, const T *k, const T *v, const T *out, const float *lse,       \
                                                                                                         const T *dout, const int *sequences, ATTENTION_SHAPE, T *dq,              \
                                                                                                         float *row_sums, Report *report) {                                        \
    attention_generic::backward_queries<D, TM, KEYS>(q, k, v, out, lse, dout, sequences, ATTENTION_SHAPE_VALUES, dq, row_sums, report);                                              \
  }                                                                                                                                                                                  \
  extern "C" __global__ void __launch_bounds__(attention_generic::THREADS, 2) pan_attention_generic_dkv_##NAME(const T *q, const T *k, const T *v, const float *lse, const T *dout,     \
                                                                                                          const float *row_sums, const int *sequences, ATTENTION_SHAPE, T *dk,      \
                                                                                                          T *dv) {                                                                  \
    attention_generic::backward_keys<D, KTM, KKEYS>(q, k, v, lse, dout, row_sums, sequences, ATTENTION_SHAPE_VALUES, dk, dv);                                                        \
  }
#define ATTENTION_KERNELS(NAME, T)                      \
  ATTENTION_FORWARD(NAME##_64, T, 64, 8, 64)            \
  ATTENTION_FORWARD(NAME##_128, T, 128, 8, 32)          \
  ATTENTION_FORWARD(NAME##_256, T, 256, 3, 32)          \
  ATTENTION_FEW(NAME, T, 64)                            \
  ATTENTION_FEW(NAME, T, 128)                           \
  ATTENTION_FEW(NAME, T, 256)                           \
  ATTENTION_MERGE(NAME, T)                              \
  ATTENTION_BACKWARD(NAME##_64, T, 64, 4, 64, 4, 64)    \
  ATTENTION_BACKWARD(NAME##_128, T, 128, 4, 32, 4, 32)  \
  ATTENTION_BACKWARD(NAME##_256, T, 256, 3, 16, 3, 16)

ATTENTION_KERNELS(f32, float)
ATTENTION_KERNELS(bf16, bf16)
#undef ATTENTION_KERNELS
#undef ATTENTION_BACKWARD
#undef ATTENTION_MERGE
#undef ATTENTION_FEW
#undef ATTENTION_FORWARD
#undef ATTENTION_SHAPE_VALUES
#undef ATTENTION_SHAPE
