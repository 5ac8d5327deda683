// attention.cu: causal attention over packed sequences, forward, in bf16 with heads of 64 or 128.
//
// Mathematics. For query row i of a sequence of Q queries and K keys, head h, keys j = 0 .. K - Q + i of the head's key/value head:
//   s_j = scale q_i . k_j;   lse_i = ln sum_j exp(s_j);   out_i = sum_j exp(s_j - lse_i) v_j
// in one pass over the keys (FlashAttention-2): running maximum m, sum l and output o, which are multiplied by 2^(m - m') when the maximum grows.
// Shapes. q, out [rows, heads, D]; k, v [keyRows, kvHeads, D] in bf16; lse [rows, heads] in f32; table i32 [count, 4]: first query row, queries,
//   first key row, keys. All activations 16-byte aligned; scale > 0.
// Mapping. A block has 4 warps and 64 M packed rows (attention.cuh) of one sequence and key/value head; a warp has 16 M of them. Blocks go through
//   tiles of 64 keys. The copy of V runs while the scores are computed, that of the next K during softmax and the second product. M = 2 takes each
//   fragment of K and V from shared memory for 4 mma, M = 1 gives twice the blocks where there are few rows. A block finds its sequence in the
//   table; the grid covers any table of disjoint sequences, and surplus blocks leave. Last blocks of a sequence, which see most keys, come first.
// FLOPs. 4 D per visible pair of query and key; the diagonal is cut to 32 keys for the scores and 16 for the second product per warp, so 512 tokens
//   take 1.05 times that. Bytes: q and out once, k and v once per block.
// Numerics. Scores and sums in f32; probabilities, relative to the running maximum, are rounded to bf16 for the second product; the sum l is of the
//   ones before that. Results do not depend on M.
// budget: pan_attention_forward_bf16_64_wide registers 216 shared 36960
// budget: pan_attention_forward_bf16_64_narrow registers 136 shared 26720
// budget: pan_attention_forward_bf16_128_wide registers 255 shared 69728
// budget: pan_attention_forward_bf16_128_narrow registers 200 shared 51296
#include "attention.cuh"

namespace attention {

constexpr int KEYS = 64;  // of a tile

template <int D, int M> struct Forward {
  static constexpr int ROWS = 64 * M;
  static constexpr int TILES = (ROWS + 2 * KEYS) * Tile<D>::ROW;  // bytes of shared memory before what is parked
  static constexpr bool KEEP_Q = D * M <= 128;  // in registers
  using T = Tile<D>;

  struct Parked {
    int blockKeys;  // that some row of the block sees
    int query, keys, ahead;
    const bf16 *k, *v;  // the head in the sequence's first key row
    float max[2 * M][THREADS], sum[2 * M][THREADS];  // of a thread's rows: the largest score, and its part of the sum of the probabilities
    int row[WARPS], rows[WARPS];                 // of a warp: its first packed row, how many
    int someKeys[WARPS], commonKeys[WARPS];      // and the keys that some, that every one of them sees
  };

  uint32_t q, k, v;  // tiles; q: the warp's rows
  uint32_t a[KEEP_Q ? M : 1][KEEP_Q ? T::STEPS : 1][4];
  float s[M][KEYS / 8][4];
  float o[M][D / 8][4];

  __device__ __forceinline__ void load_q() {
    if constexpr (KEEP_Q) {
#pragma unroll
      for (int m = 0; m < M; m++)
#pragma unroll
        for (int step = 0; step < T::STEPS; step++) ldmatrix(a[m][step], (q + m * 16 * T::ROW + T::lane()) ^ (step << 5));
    }
  }

  // Scores of the keys 16 FROM to 16 TO of a tile.
  template <int FROM, int TO> __device__ __forceinline__ void scores() {
    uint32_t row = anew(k + T::lane()), qRow = anew(q + T::lane());
#pragma unroll
    for (int step = 0; step < T::STEPS; step++) {
      uint32_t here[M][4];
#pragma unroll
      for (int m = 0; m < M; m++) {
        if constexpr (KEEP_Q) {
#pragma unroll
          for (int i = 0; i < 4; i++) here[m][i] = a[m][step][i];
        } else {
          ldmatrix(here[m], (qRow ^ (step << 5)) + m * 16 * T::ROW);
        }
      }
#pragma unroll
      for (int c = FROM; c < TO; c++) {
        uint32_t b[4];
        ldmatrix(b, (row ^ (step << 5)) + c * 16 * T::ROW);
#pragma unroll
        for (int m = 0; m < M; m++) mma_rows(s[m][2 * c], s[m][2 * c + 1], here[m], b);
      }
    }
  }

  // Scores become probabilities relative to the rows' maxima; o and sum are brought to these.
  // `limit` of a row: the last key of the tile that it sees, where some of them do not see all.
  template <typename Limit> __device__ __forceinline__ void softmax(bool masked, Limit limit, float scale, Parked &parked) {
    int t = threadIdx.x & 3;
#pragma unroll
    for (int m = 0; m < M; m++) {
#pragma unroll
      for (int half = 0; half < 2; half++) {
        if (masked) {
          int last = limit(m, half) - 2 * t;
#pragma unroll
          for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
            for (int i = 0; i < 2; i++)
              if (8 * n + i > last) s[m][n][2 * half + i] = -INFINITY;
        }
        float &max = parked.max[2 * m + half][threadIdx.x], most = max;
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++) most = fmaxf(most, fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
        most = fmaxf(most, __shfl_xor_sync(0xFFFFFFFFu, most, 1));
        most = fmaxf(most, __shfl_xor_sync(0xFFFFFFFFu, most, 2));
        float shift = -most * scale;
        float shrink = fast_exp2((max - most) * scale);  // exactly 1 where the maximum stays: there are as many of these factors as tiles
        max = most;
        float total = 0;
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
          for (int i = 0; i < 2; i++) {
            float p = fast_exp2(fmaf(s[m][n][2 * half + i], scale, shift));
            s[m][n][2 * half + i] = p;
            total += p;
          }
        float &sum = parked.sum[2 * m + half][threadIdx.x];
        sum = fmaf(sum, shrink, total);
#pragma unroll
        for (int j = 0; j < D / 8; j++) {
          o[m][j][2 * half] *= shrink;
          o[m][j][2 * half + 1] *= shrink;
        }
      }
    }
  }

  // o += probabilities times 16 rows of V.
  template <int C> __device__ __forceinline__ void output() {
    uint32_t row = anew(v + T::lane()) + C * 16 * T::ROW;
    uint32_t p[M][4];
#pragma unroll
    for (int m = 0; m < M; m++) to_fragment(p[m], s[m][2 * C], s[m][2 * C + 1]);
#pragma unroll
    for (int j = 0; j < T::STEPS; j++) {
      uint32_t b[4];
      ldmatrix_trans(b, row ^ (j << 5));
#pragma unroll
      for (int m = 0; m < M; m++) mma_columns(o[m][2 * j], o[m][2 * j + 1], p[m], b);
    }
  }
};

template <int D, int M>
__device__ __forceinline__ void forward(const bf16 *__restrict__ q, const bf16 *__restrict__ k, const bf16 *__restrict__ v, const int *__restrict__ table, int count, int queryRows,
                                        int keyRows, int kvHeads, int group, float scale, bf16 *__restrict__ out, float *__restrict__ lse, Report *report) {
  extern __shared__ __align__(256) unsigned char shared[];
  using F = Forward<D, M>;
  using T = Tile<D>;
  int kvHead = blockIdx.x % kvHeads;
  auto blocks = [group](int queries, int) { return (int)(((long long)queries * group + F::ROWS - 1) / F::ROWS); };
  Part part = find(table, count, queryRows, keyRows, blockIdx.x / kvHeads, blockIdx.x == 0 && threadIdx.x < 32, report, blocks);
  if (part.block < 0) return;

  int queryStride = kvHeads * group * D, keyStride = kvHeads * D;
  int warp = __shfl_sync(0xFFFFFFFFu, threadIdx.x / 32, 0);
  int first = (blocks(part.queries, 0) - 1 - part.block) * F::ROWS;  // packed row
  int rows = part.queries * group, keys = part.keys, ahead = keys - part.queries;
  // What is needed once a tile waits in shared memory: the registers of the widest kernel are all taken.
  typename F::Parked &parked = *reinterpret_cast<typename F::Parked *>(shared + F::TILES);
  long long keyAt = (long long)part.key * keyStride + kvHead * D;
  if (threadIdx.x == 0) {
    parked.blockKeys = ahead + (min(first + F::ROWS, rows) - 1) / group + 1;
    parked.query = part.query;
    parked.keys = keys;
    parked.ahead = ahead;
    parked.k = k + keyAt;
    parked.v = v + keyAt;
  }
  if ((threadIdx.x & 31) == 0) {
    int row = first + warp * 16 * M;
    parked.row[warp] = row;
    parked.rows[warp] = min(rows - row, 16 * M);
    parked.someKeys[warp] = row < rows ? ahead + (min(row + 16 * M, rows) - 1) / group + 1 : 0;
    parked.commonKeys[warp] = ahead + row / group + 1;
  }

  F f;
  uint32_t base = shared_address(shared);
  f.k = base + F::ROWS * T::ROW;
  f.v = f.k + KEYS * T::ROW;
  PackedCopy<D> copy(first, queryStride, group);
  copy.template load<F::ROWS>(base, q + (long long)part.query * queryStride + kvHead * group * D, rows - first);
  T::template load<KEYS>(f.k, k + keyAt, keyStride, keys);
  cp_async_commit();
  f.q = base + threadIdx.x / 32 * 16 * M * T::ROW;
#pragma unroll
  for (int m = 0; m < M; m++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      parked.max[2 * m + half][threadIdx.x] = -INFINITY;
      parked.sum[2 * m + half][threadIdx.x] = 0;
    }
#pragma unroll
    for (int j = 0; j < D / 8; j++)
#pragma unroll
      for (int i = 0; i < 4; i++) f.o[m][j][i] = 0;
  }

  float scale2 = scale * LOG2_E;
  for (int key = 0;;) {
    cp_async_wait<0>();
    __syncthreads();  // K is there, and nobody reads V any more
    T::template load<KEYS>(f.v, parked.v + (unsigned long long)key * (unsigned)keyStride, keyStride, parked.keys - key);
    cp_async_commit();
    if (key == 0) f.load_q();
    int warpKeys = parked.someKeys[threadIdx.x / 32];
    bool masked = key + KEYS > parked.commonKeys[threadIdx.x / 32];
    if (key < warpKeys) {
#pragma unroll
      for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
          for (int i = 0; i < 4; i++) f.s[m][n][i] = 0;
      if (!masked) {
        f.template scores<0, 4>();
      } else {
        f.template scores<0, 2>();
        if (key + 32 < warpKeys) f.template scores<2, 4>();
      }
    }
    cp_async_wait<0>();
    __syncthreads();  // V is there, and nobody reads K any more
    int next = key + KEYS;
    bool last = next >= parked.blockKeys;
    if (!last) T::template load<KEYS>(f.k, parked.k + (unsigned long long)next * (unsigned)keyStride, keyStride, parked.keys - next);
    cp_async_commit();
    if (key < warpKeys) {
      auto limit = [&](int m, int half) { return parked.ahead + (parked.row[threadIdx.x / 32] + m * 16 + half * 8 + (int)(threadIdx.x & 31) / 4) / group - key; };
      f.softmax(masked, limit, scale2, parked);
      f.template output<0>();
      if (key + 16 < warpKeys) f.template output<1>();
      if (key + 32 < warpKeys) f.template output<2>();
      if (key + 48 < warpKeys) f.template output<3>();
    }
    if (last) break;
    key += KEYS;
  }

  int lane = threadIdx.x & 31, query = parked.query, warpRow = parked.row[threadIdx.x / 32], warpRows = parked.rows[threadIdx.x / 32];
  if (warpRows <= 0) return;
  float sum[M][2];
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float total = parked.sum[2 * m + half][threadIdx.x];
      total += __shfl_xor_sync(0xFFFFFFFFu, total, 1);
      total += __shfl_xor_sync(0xFFFFFFFFu, total, 2);
      sum[m][half] = total;
      int row = m * 16 + half * 8 + (lane >> 2);
      if ((lane & 3) == 0 && row < warpRows) {
        Cursor at(warpRow + row, group);
        lse[((long long)query + at.query) * kvHeads * group + kvHead * group + at.head] = fmaf(parked.max[2 * m + half][threadIdx.x], scale, logf(total));
      }
    }
  put<D, M>(f.q, f.o, [&](int m, int half) { return 1.0f / sum[m][half]; });
  store_packed<D, M>(f.q, out + (long long)query * queryStride + kvHead * group * D, warpRow, warpRows, queryStride, group);
}

}  // namespace attention

#define FORWARD(NAME, D, M, BLOCKS)                                                                                                                          \
  extern "C" __global__ void __launch_bounds__(attention::THREADS, BLOCKS)                                                                                   \
      NAME(const bf16 *q, const bf16 *k, const bf16 *v, const int *table, int count, int queryRows, int keyRows, int kvHeads, int group, float scale, bf16 *out, \
           float *lse, Report *report) {                                                                                                                     \
    attention::forward<D, M>(q, k, v, table, count, queryRows, keyRows, kvHeads, group, scale, out, lse, report);                                            \
  }
FORWARD(pan_attention_forward_bf16_64_wide, 64, 2, 2)
FORWARD(pan_attention_forward_bf16_64_narrow, 64, 1, 3)
FORWARD(pan_attention_forward_bf16_128_wide, 128, 2, 2)
FORWARD(pan_attention_forward_bf16_128_narrow, 128, 1, 2)
#undef FORWARD
