// attention_backward.cu: the gradient of attention.cu, without atomics: every sum in one order.
//
// Mathematics. With P = exp(scale Q K^T - lse), dP = dO V^T, D = rowsum(dO out), dS = P (dP - D), over the pairs that are seen:
//   dV = P^T dO,   dK = scale dS^T Q,   dQ = scale dS K;   dV, dK summed over the query heads of a key/value head.
// Three launches:
//   statistics  lse log2(e) and D of every row and head, transposed to [heads, stride] pairs, so that blocks read them in whole sectors.
//   kv          A block owns 64 M keys of a key/value head, goes through the packed rows (attention.cuh) that see them, 64 at a time, and sums dK, dV in
//               registers. It takes the transposed scores K Q^T, whose fragments, once P and dS, are those of the left factor of the second products.
//   q           A block owns 64 M packed rows, goes through the keys that they see, 64 at a time, and sums dQ. It computes P and dS once more: 7 products
//               in all instead of the 5 of a single pass with atomic additions or copies of dQ, and no memory beyond the statistics.
// In kv and q a warp owns 16 M rows, whose fragments of both tensors stay in registers; the tiles of the other side pass through shared memory, the next
// one copied while one is multiplied; 16 rows of them at a time are multiplied with everything the warp owns.
// FLOPs. 14 D per visible pair (8 in kv, 6 in q); the diagonal is cut to 16 M x 16, so 512 tokens take 1.05 times that at M = 2 and 1.03 at M = 1.
// Bytes: kv and q read their own rows once and the other side once per block.
// Numerics. Products and sums in f32; P and dS are rounded to bf16 for the second products; scale multiplies the sums. Keys that no query sees get zeros.
// budget: pan_attention_statistics_bf16_64 registers 40 shared 9216
// budget: pan_attention_statistics_bf16_128 registers 40 shared 9216
// budget: pan_attention_backward_kv_bf16_64 registers 255 shared 34392
// budget: pan_attention_backward_kv_bf16_128 registers 255 shared 67160
// budget: pan_attention_backward_q_bf16_64 registers 232 shared 32768
// budget: pan_attention_backward_q_bf16_128 registers 232 shared 65536
#include "attention.cuh"

namespace attention {

// ---- statistics ------------------------------------------------------------------------------------------------------

constexpr int STATISTICS_THREADS = 256;
constexpr int STATISTICS_ROWS = 32;  // of a block
constexpr int STATISTICS_HEADS = 32;

__device__ __forceinline__ float dot2(uint32_t a, uint32_t b, float sum) {
  float2 x = __bfloat1622float2(*reinterpret_cast<__nv_bfloat162 *>(&a)), y = __bfloat1622float2(*reinterpret_cast<__nv_bfloat162 *>(&b));
  return fmaf(x.y, y.y, fmaf(x.x, y.x, sum));
}

template <int D>
__device__ __forceinline__ void statistics(const bf16 *__restrict__ out, const bf16 *__restrict__ dout, const float *__restrict__ lse, int rows, int heads, int stride, float2 *__restrict__ to) {
  __shared__ float products[STATISTICS_HEADS * (STATISTICS_ROWS + 1)], logs[STATISTICS_HEADS * (STATISTICS_ROWS + 1)];
  constexpr int LANES = D / 8, AT_ONCE = 32 / LANES;
  int firstRow = blockIdx.x * STATISTICS_ROWS, rowCount = min(rows - firstRow, STATISTICS_ROWS);
  int firstHead = blockIdx.y * STATISTICS_HEADS, headCount = min(heads - firstHead, STATISTICS_HEADS);
  int pitch = STATISTICS_ROWS + (STATISTICS_ROWS + headCount - 1) / headCount;  // 32 items in a row lie in different banks
  int items = rowCount * headCount;
  int warp = threadIdx.x / 32, lane = threadIdx.x & 31;
  for (int from = warp * AT_ONCE; from < items; from += STATISTICS_THREADS / 32 * AT_ONCE) {
    int item = from + lane / LANES, row = item / headCount, head = item % headCount;
    float sum = 0;
    if (item < items) {
      long long at = ((long long)(firstRow + row) * heads + firstHead + head) * D + lane % LANES * 8;
      uint4 x = *reinterpret_cast<const uint4 *>(out + at), y = *reinterpret_cast<const uint4 *>(dout + at);
      sum = dot2(x.w, y.w, dot2(x.z, y.z, dot2(x.y, y.y, dot2(x.x, y.x, 0))));
    }
#pragma unroll
    for (int offset = LANES / 2; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, offset);
    if (item < items && lane % LANES == 0) products[head * pitch + row] = sum;
  }
  for (int item = threadIdx.x; item < items; item += STATISTICS_THREADS) {
    int row = item / headCount, head = item % headCount;
    logs[head * pitch + row] = lse[(long long)(firstRow + row) * heads + firstHead + head] * LOG2_E;
  }
  __syncthreads();
  int row = threadIdx.x % STATISTICS_ROWS;
  for (int head = threadIdx.x / STATISTICS_ROWS; head < headCount; head += STATISTICS_THREADS / STATISTICS_ROWS) {
    if (row < rowCount) to[(long long)(firstHead + head) * stride + firstRow + row] = make_float2(logs[head * pitch + row], products[head * pitch + row]);
  }
}

// ---- both passes -----------------------------------------------------------------------------------------------------

constexpr int STREAM = 64;        // rows of a tile that passes
constexpr int RING = 2 * STREAM;  // two tiles of one tensor, then two of the other

// What a warp owns: 16 M rows of two tensors, and its sums.
template <int D, int M, bool BOTH> struct Owner {
  using T = Tile<D>;
  uint32_t first[M][T::STEPS][4], second[M][T::STEPS][4];
  float sum[M][D / 8][4];
  float sum2[BOTH ? M : 1][BOTH ? D / 8 : 1][4];

  // From two tiles whose first row is the warp's.
  __device__ __forceinline__ void load(uint32_t a, uint32_t b) {
#pragma unroll
    for (int m = 0; m < M; m++) {
#pragma unroll
      for (int step = 0; step < T::STEPS; step++) {
        ldmatrix(first[m][step], ((a + T::lane()) ^ (step << 5)) + m * 16 * T::ROW);
        ldmatrix(second[m][step], ((b + T::lane()) ^ (step << 5)) + m * 16 * T::ROW);
      }
#pragma unroll
      for (int j = 0; j < D / 8; j++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
          sum[m][j][i] = 0;
          if constexpr (BOTH) sum2[m][j][i] = 0;
        }
    }
  }

  // With 16 rows a of the one tensor that passes, and b of the other, which follow a ring on: x = first a^T, y = second b^T; `gradient` makes P of x and dS of y, element i of the 8-wide half n of
  // rows m; sum += dS a, sum2 += P b.
  template <typename Gradient> __device__ __forceinline__ void pass(uint32_t a, Gradient gradient) {
    constexpr int B = RING * T::ROW;
    float x[M][2][4], y[M][2][4];
    uint32_t at = a + T::lane();
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
      for (int n = 0; n < 2; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) x[m][n][i] = y[m][n][i] = 0;
#pragma unroll
    for (int step = 0; step < T::STEPS; step++) {
      uint32_t f[4];
      ldmatrix(f, at ^ (step << 5));
#pragma unroll
      for (int m = 0; m < M; m++) mma_rows(x[m][0], x[m][1], first[m][step], f);
      ldmatrix(f, (at ^ (step << 5)) + B);
#pragma unroll
      for (int m = 0; m < M; m++) mma_rows(y[m][0], y[m][1], second[m][step], f);
    }
    gradient(x, y);
    uint32_t p[M][4], ds[M][4];
#pragma unroll
    for (int m = 0; m < M; m++) {
      if constexpr (BOTH) to_fragment(p[m], x[m][0], x[m][1]);
      to_fragment(ds[m], y[m][0], y[m][1]);
    }
#pragma unroll
    for (int j = 0; j < T::STEPS; j++) {
      uint32_t f[4];
      if constexpr (BOTH) {
        ldmatrix_trans(f, (at ^ (j << 5)) + B);
#pragma unroll
        for (int m = 0; m < M; m++) mma_columns(sum2[m][2 * j], sum2[m][2 * j + 1], p[m], f);
      }
      ldmatrix_trans(f, at ^ (j << 5));
#pragma unroll
      for (int m = 0; m < M; m++) mma_columns(sum[m][2 * j], sum[m][2 * j + 1], ds[m], f);
    }
  }
};

// 8 bytes, aligned so; zero, with nothing read, unless `is`.
__device__ __forceinline__ void cp_async8(uint32_t shared, const void *global, bool is) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(shared), "l"(__cvta_generic_to_global(global)), "r"(is ? 8 : 0) : "memory");
}

// ---- dK and dV -------------------------------------------------------------------------------------------------------

template <int D, int M>
__device__ __forceinline__ void backward_kv(const bf16 *__restrict__ q, const bf16 *__restrict__ k, const bf16 *__restrict__ v, const bf16 *__restrict__ dout,
                                            const float2 *__restrict__ statistics, int stride, const int *__restrict__ table, int count, int queryRows, int keyRows, int kvHeads, int group,
                                            float scale, bf16 *__restrict__ dk, bf16 *__restrict__ dv, Report *report) {
  extern __shared__ __align__(256) unsigned char shared[];
  using T = Tile<D>;
  constexpr int OWN = 64 * M;
  static_assert(OWN <= RING, "the own rows have to fit where the tiles will be");
  struct Rows {
    float2 statistics[RING];
    int limit[RING];  // the last key that a row sees; -1 after the last row
  };
  struct Parked {
    const bf16 *q, *dout;  // of the group's first head in the sequence's first row
    const float2 *statistics;
    long long keyAt;  // where the head's first own key lies
    int rows, first, ahead, there, key;  // packed rows; the first that sees a key of the block; keys before the first query's; own keys; the first of them
    float scale;  // times log2(e)
    int seen[WARPS], full[WARPS];  // the packed rows from which on some, and all, of a warp's keys are seen
  };
  Rows &passing = *reinterpret_cast<Rows *>(shared + 2 * RING * T::ROW);
  Parked &parked = *reinterpret_cast<Parked *>(&passing + 1);
  int kvHead = blockIdx.x % kvHeads;
  Part part = find(table, count, queryRows, keyRows, blockIdx.x / kvHeads, blockIdx.x == 0 && threadIdx.x < 32, report, [](int, int keys) { return keys / OWN + (keys % OWN != 0); });
  if (part.block < 0) return;

  int queryStride = kvHeads * group * D, keyStride = kvHeads * D;
  int warp = threadIdx.x / 32;
  int firstKey = part.block * OWN, warpKey = firstKey + warp * 16 * M;
  int rows = part.queries * group, ahead = part.keys - part.queries;
  long long keyAt = (long long)(part.key + firstKey) * keyStride + kvHead * D;
  if (threadIdx.x == 0) {
    // What is needed once a tile or at the end waits in shared memory: the registers are all taken.
    long long queryAt = (long long)part.query * queryStride + kvHead * group * D;
    parked.q = q + queryAt;
    parked.dout = dout + queryAt;
    parked.statistics = statistics + ((long long)kvHead * group * stride + part.query);
    parked.keyAt = keyAt;
    parked.rows = rows;
    parked.first = max(firstKey - ahead, 0) * group;
    parked.ahead = ahead;
    parked.there = part.keys - firstKey;
    parked.key = firstKey;
    parked.scale = scale * LOG2_E;
  }
  if ((threadIdx.x & 31) == 0) {
    parked.seen[warp] = warpKey < part.keys ? max(warpKey - ahead, 0) * group : rows;
    parked.full[warp] = max(warpKey + 16 * M - 1 - ahead, 0) * group;
  }
  uint32_t base = shared_address(shared);

  T::template load<OWN>(base, k + keyAt, keyStride, part.keys - firstKey);
  T::template load<OWN>(base + OWN * T::ROW, v + keyAt, keyStride, part.keys - firstKey);
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();
  Owner<D, M, true> own;
  own.load(base + warp * 16 * M * T::ROW, base + (OWN + warp * 16 * M) * T::ROW);
  __syncthreads();

  // Rows are counted from parked.first on.
  auto load = [&](int n) {
    int p = parked.first + n, left = parked.rows - p, to = n % RING;
    PackedCopy<D> copy(p, queryStride, group);
    copy.template load<STREAM>(base + to * T::ROW, parked.q, left);
    copy.template load<STREAM>(base + (RING + to) * T::ROW, parked.dout, left);
    if (threadIdx.x < STREAM) {
      Cursor at(p + threadIdx.x, group);
      bool is = (int)threadIdx.x < left;
      cp_async8(shared_address(&passing.statistics[to + threadIdx.x]), parked.statistics + ((long long)at.head * stride + at.query), is);
      passing.limit[to + threadIdx.x] = is ? parked.ahead + at.query : -1;
    }
    cp_async_commit();
  };
  if (parked.first < parked.rows) load(0);
  for (int n = 0; parked.first + n < parked.rows;) {
    cp_async_wait<0>();
    __syncthreads();  // this tile is there, and nobody reads the other any more
    if (parked.first + n + STREAM < parked.rows) load(n + STREAM);
#pragma unroll 1
    do {
      int row = parked.first + n, warp = threadIdx.x / 32;
      if (row + 16 > parked.seen[warp]) {
        bool masked = row < parked.full[warp] || row + 16 > parked.rows;
        uint32_t a = base + n % RING * T::ROW;
        own.pass(a, [&](float(&x)[M][2][4], float(&y)[M][2][4]) {
          int lane = lane_id(), g = lane >> 2, t = lane & 3;
          int column = n % RING + 2 * t;
          float scale2 = parked.scale;
#pragma unroll
          for (int n = 0; n < 2; n++) {
            float4 of = *reinterpret_cast<const float4 *>(&passing.statistics[column + 8 * n]);
            int2 limit = make_int2(0, 0);
            if (masked) {
              limit = *reinterpret_cast<const int2 *>(&passing.limit[column + 8 * n]);
              int key = parked.key + threadIdx.x / 32 * 16 * M + g;
              limit = make_int2(limit.x - key, limit.y - key);
            }
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
              for (int i = 0; i < 4; i++) {
                float p = fast_exp2(fmaf(x[m][n][i], scale2, -(i & 1 ? of.z : of.x)));
                if (masked && m * 16 + (i >> 1) * 8 > (i & 1 ? limit.y : limit.x)) p = 0;
                x[m][n][i] = p;
                y[m][n][i] = p * (y[m][n][i] - (i & 1 ? of.w : of.y));
              }
          }
        });
      }
      n += 16;
    } while (n % STREAM != 0 && parked.first + n < parked.rows);
  }

  __syncthreads();
  warp = threadIdx.x / 32;
  uint32_t mine = base + warp * 16 * M * T::ROW;
  int there = parked.there - warp * 16 * M;
  keyAt = parked.keyAt + (long long)warp * 16 * M * keyStride;
  put<D, M>(mine, own.sum2, [](int, int) { return 1.0f; });
  store_packed<D, M>(mine, dv + keyAt, 0, there, keyStride, 1);
  put<D, M>(mine, own.sum, [scale](int, int) { return scale; });
  store_packed<D, M>(mine, dk + keyAt, 0, there, keyStride, 1);
}

// ---- dQ --------------------------------------------------------------------------------------------------------------

template <int D, int M>
__device__ __forceinline__ void backward_q(const bf16 *__restrict__ q, const bf16 *__restrict__ k, const bf16 *__restrict__ v, const bf16 *__restrict__ dout,
                                           const float2 *__restrict__ statistics, int stride, const int *__restrict__ table, int count, int queryRows, int keyRows, int kvHeads, int group,
                                           float scale, bf16 *__restrict__ dq, Report *report) {
  extern __shared__ __align__(256) unsigned char shared[];
  using T = Tile<D>;
  constexpr int OWN = 64 * M;
  static_assert(OWN <= RING, "the own rows have to fit where the tiles will be");
  int kvHead = blockIdx.x % kvHeads;
  auto blocks = [group](int queries, int) { return (int)(((long long)queries * group + OWN - 1) / OWN); };
  Part part = find(table, count, queryRows, keyRows, blockIdx.x / kvHeads, false, report, blocks);
  if (part.block < 0) return;

  int queryStride = kvHeads * group * D, keyStride = kvHeads * D;
  int warp = threadIdx.x / 32, lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  int rows = part.queries * group, ahead = part.keys - part.queries;
  int first = (blocks(part.queries, 0) - 1 - part.block) * OWN, warpRow = first + warp * 16 * M;  // packed rows; the block that sees most keys comes first
  long long queryAt = (long long)part.query * queryStride + kvHead * group * D;
  long long keyAt = (long long)part.key * keyStride + kvHead * D;
  uint32_t base = shared_address(shared);

  PackedCopy<D> copy(first, queryStride, group);
  copy.template load<OWN>(base, q + queryAt, rows - first);
  copy.template load<OWN>(base + OWN * T::ROW, dout + queryAt, rows - first);
  cp_async_commit();
  float log[M][2], product[M][2];
  int limit[M][2];
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      int p = warpRow + m * 16 + half * 8 + g;
      Cursor at(p, group);
      float2 of = p < rows ? statistics[(long long)(kvHead * group + at.head) * stride + part.query + at.query] : make_float2(0, 0);
      log[m][half] = of.x;
      product[m][half] = of.y;
      limit[m][half] = ahead + at.query;
    }
  cp_async_wait<0>();
  __syncthreads();
  Owner<D, M, false> own;
  own.load(base + warp * 16 * M * T::ROW, base + (OWN + warp * 16 * M) * T::ROW);
  __syncthreads();

  // Keys that some row of the block, some row of the warp and every row of the warp sees.
  int blockKeys = ahead + (min(first + OWN, rows) - 1) / group + 1;
  int warpKeys = warpRow < rows ? ahead + (min(warpRow + 16 * M, rows) - 1) / group + 1 : 0;
  int commonKeys = ahead + warpRow / group + 1;
  auto load = [&](int key) {
    T::template load<STREAM>(base + key % RING * T::ROW, k + keyAt + (long long)key * keyStride, keyStride, part.keys - key);
    T::template load<STREAM>(base + (RING + key % RING) * T::ROW, v + keyAt + (long long)key * keyStride, keyStride, part.keys - key);
    cp_async_commit();
  };
  float scale2 = scale * LOG2_E;
  load(0);
  for (int key = 0; key < blockKeys;) {
    cp_async_wait<0>();
    __syncthreads();  // this tile is there, and nobody reads the other any more
    if (key + STREAM < blockKeys) load(key + STREAM);
#pragma unroll 1
    do {
      if (key < warpKeys) {
        bool masked = key + 16 > commonKeys;
        uint32_t a = base + key % RING * T::ROW;
        own.pass(a, [&](float(&x)[M][2][4], float(&y)[M][2][4]) {
#pragma unroll
          for (int m = 0; m < M; m++)
#pragma unroll
            for (int n = 0; n < 2; n++)
#pragma unroll
              for (int i = 0; i < 4; i++) {
                float p = fast_exp2(fmaf(x[m][n][i], scale2, -log[m][i >> 1]));
                if (masked && key + 8 * n + 2 * t + (i & 1) > limit[m][i >> 1]) p = 0;
                y[m][n][i] = p * (y[m][n][i] - product[m][i >> 1]);
              }
        });
      }
      key += 16;
    } while (key % STREAM != 0 && key < blockKeys);
  }

  __syncthreads();
  if (warpRow >= rows) return;
  uint32_t mine = base + warp * 16 * M * T::ROW;
  put<D, M>(mine, own.sum, [scale](int, int) { return scale; });
  store_packed<D, M>(mine, dq + queryAt, warpRow, rows - warpRow, queryStride, group);
}

}  // namespace attention

#define BACKWARD(D, M_KV, M_Q)                                                                                                                                            \
  extern "C" __global__ void __launch_bounds__(attention::STATISTICS_THREADS)                                                                                             \
      pan_attention_statistics_bf16_##D(const bf16 *out, const bf16 *dout, const float *lse, int rows, int heads, int stride, float2 *statistics) {                       \
    attention::statistics<D>(out, dout, lse, rows, heads, stride, statistics);                                                                                            \
  }                                                                                                                                                                       \
  extern "C" __global__ void __launch_bounds__(attention::THREADS, 2)                                                                                                     \
      pan_attention_backward_kv_bf16_##D(const bf16 *q, const bf16 *k, const bf16 *v, const bf16 *dout, const float2 *statistics, int stride, const int *table, int count, \
                                         int queryRows, int keyRows, int kvHeads, int group, float scale, bf16 *dk, bf16 *dv, Report *report) {                           \
    attention::backward_kv<D, M_KV>(q, k, v, dout, statistics, stride, table, count, queryRows, keyRows, kvHeads, group, scale, dk, dv, report);                          \
  }                                                                                                                                                                       \
  extern "C" __global__ void __launch_bounds__(attention::THREADS, 2)                                                                                                     \
      pan_attention_backward_q_bf16_##D(const bf16 *q, const bf16 *k, const bf16 *v, const bf16 *dout, const float2 *statistics, int stride, const int *table, int count, \
                                        int queryRows, int keyRows, int kvHeads, int group, float scale, bf16 *dq, Report *report) {                                      \
    attention::backward_q<D, M_Q>(q, k, v, dout, statistics, stride, table, count, queryRows, keyRows, kvHeads, group, scale, dq, report);                                \
  }
BACKWARD(64, 2, 2)
BACKWARD(128, 1, 1)
#undef BACKWARD
