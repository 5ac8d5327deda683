// attention_few.cu: attention.cu for few query rows and many keys, as when tokens are generated: the keys are split over blocks, and these over warps.
//
// Mathematics, shapes and numerics: attention.cu. A block takes 16 packed rows (attention.cuh: the query heads of a group, and a few queries) of one
// key/value head and one split of the sequence's keys; each warp takes every fourth run of 16 keys of it, with maxima, sums and output of its own, and
// copies them to shared memory itself, two runs ahead, so that warps never wait for each other. At the end of the block the four are merged, in order.
// Splits. A sequence of K keys has splits of max(256, K / splits rounded up to 64) keys, so at most `splits`, which the host chooses so that the grid
// fills a GPU. A block whose rows see one split writes out and lse itself. Others write f32 partial results, per row, head and split: the output
// relative to the maximum of the split's scores, that maximum and the sum of the probabilities; the second kernel merges them, in order.
// Bytes: k and v once (per 16 packed rows); partial results 4 D + 8 per row, head and split, written and read. FLOPs: 4 D per packed row and key, in tiles of 16
// rows of which few may be there: memory decides.
// budget: pan_attention_few_bf16_64 registers 128 shared 35328
// budget: pan_attention_few_bf16_128 registers 168 shared 70144
// budget: pan_attention_merge_bf16_64 registers 64 shared 0
// budget: pan_attention_merge_bf16_128 registers 64 shared 0
#include "attention.cuh"

namespace attention {

constexpr int FEW = 16;           // packed rows of a block
constexpr int RUN = 16;           // keys that a warp takes at once
constexpr int LEAST_SPLIT = 256;  // keys

// Keys of a split of a sequence; a multiple of what the warps of a block take at once.
__device__ __forceinline__ int split_keys(int keys, int splits) { return max(LEAST_SPLIT, ((keys - 1) / splits / (WARPS * RUN) + 1) * (WARPS * RUN)); }
// Keys that some of the block's rows, of which p is one, see.
__device__ __forceinline__ int keys_of_block(const Part &part, int p, int group) {
  return part.keys - part.queries + (min(p / FEW * FEW + FEW, part.queries * group) - 1) / group + 1;
}

// What brings sums relative to the maximum x to the maximum `most`; 0 where x is of no keys.
__device__ __forceinline__ float weight(float x, float most, float scale) { return x == -INFINITY ? 0.0f : fast_exp2((x - most) * scale); }

template <int D> struct Few {
  using T = Tile<D>;
  static constexpr int TILE = RUN * T::ROW;
  static constexpr int PITCH = D + 8;  // floats: rows begin 8 banks apart
  static constexpr int WARP = 4 * TILE;  // bytes: K and V of two runs, afterwards a warp's output
  static_assert(FEW * PITCH * 4 <= WARP, "a warp's output has to fit where its tiles were");

  uint32_t a[T::STEPS][4];
  float o[D / 8][4], max[2], sum[2];

  // The warp's lanes copy `there` rows of a tile.
  __device__ static __forceinline__ void load(uint32_t tile, const bf16 *from, unsigned stride, int there) {
    unsigned lane = lane_id(), row = lane / T::CHUNKS, c = lane % T::CHUNKS;
    from += row * (unsigned long long)stride + c * 8;
#pragma unroll
    for (int r = 0; r < RUN; r += 32 / T::CHUNKS) {
      cp_async(tile + T::chunk(row + r, c), from, (int)row + r < there ? 16 : 0);
      from += (unsigned long long)(32 / T::CHUNKS) * stride;
    }
  }

  // A run of 16 keys; limit: the last of them that rows g and g + 8 see.
  __device__ __forceinline__ void run(uint32_t k, uint32_t v, bool masked, const int (&limit)[2], float scale) {
    float s[2][4];
#pragma unroll
    for (int n = 0; n < 2; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) s[n][i] = 0;
#pragma unroll
    for (int step = 0; step < T::STEPS; step++) {
      uint32_t b[4];
      ldmatrix(b, (k + T::lane()) ^ (step << 5));
      mma_rows(s[0], s[1], a[step], b);
    }
    int t = threadIdx.x & 3;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float most = max[half];
#pragma unroll
      for (int n = 0; n < 2; n++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
          float &x = s[n][2 * half + i];
          if (masked && 8 * n + 2 * t + i > limit[half]) x = -INFINITY;
          most = fmaxf(most, x);
        }
      most = fmaxf(most, __shfl_xor_sync(0xFFFFFFFFu, most, 1));
      most = fmaxf(most, __shfl_xor_sync(0xFFFFFFFFu, most, 2));
      float shift = most == -INFINITY ? 0.0f : -most * scale;  // a row may see none of the keys so far
      float shrink = weight(max[half], most, scale);  // exactly 1 where the maximum stays
      max[half] = most;
      float total = 0;
#pragma unroll
      for (int n = 0; n < 2; n++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
          float &x = s[n][2 * half + i];
          x = fast_exp2(fmaf(x, scale, shift));
          total += x;
        }
      sum[half] = fmaf(sum[half], shrink, total);
#pragma unroll
      for (int j = 0; j < D / 8; j++) {
        o[j][2 * half] *= shrink;
        o[j][2 * half + 1] *= shrink;
      }
    }
    uint32_t p[4];
    to_fragment(p, s[0], s[1]);
#pragma unroll
    for (int j = 0; j < T::STEPS; j++) {
      uint32_t b[4];
      ldmatrix_trans(b, (v + T::lane()) ^ (j << 5));
      mma_columns(o[2 * j], o[2 * j + 1], p, b);
    }
  }
};

template <int D>
__device__ __forceinline__ void few(const bf16 *__restrict__ q, const bf16 *__restrict__ k, const bf16 *__restrict__ v, const int *__restrict__ table, int count, int queryRows, int keyRows,
                                    int kvHeads, int group, float scale, int splits, float *__restrict__ partial, float2 *__restrict__ statistics, bf16 *__restrict__ out,
                                    float *__restrict__ lse, Report *report) {
  extern __shared__ __align__(256) unsigned char shared[];
  using F = Few<D>;
  using T = Tile<D>;
  int kvHead = blockIdx.x % kvHeads;
  auto blocks = [group](int queries, int) { return (int)(((long long)queries * group + FEW - 1) / FEW); };
  Part part = find(table, count, queryRows, keyRows, blockIdx.x / kvHeads, blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x < 32, report, blocks);
  if (part.block < 0) return;
  int first = part.block * FEW, rows = part.queries * group, ahead = part.keys - part.queries;
  int blockKeys = keys_of_block(part, first, group), commonKeys = ahead + first / group + 1;
  int size = split_keys(part.keys, splits), from = blockIdx.y * size, to = min(from + size, blockKeys);
  if (from >= blockKeys) return;

  int heads = kvHeads * group, keyStride = kvHeads * D;
  int warp = threadIdx.x / 32, lane = threadIdx.x & 31, g = lane >> 2, t = lane & 3;
  uint32_t base = shared_address(shared), mine = base + F::TILE + warp * F::WARP;
  PackedCopy<D> copy(first, heads * D, group);
  copy.template load<FEW>(base, q + ((long long)part.query * heads + kvHead * group) * D, rows - first);
  cp_async_commit();
  k += (long long)part.key * keyStride + kvHead * D;
  v += (long long)part.key * keyStride + kvHead * D;
  auto load = [&](int key, int stage) {
    if (key < to) {
      F::load(mine + stage * 2 * F::TILE, k + (long long)key * keyStride, keyStride, part.keys - key);
      F::load(mine + stage * 2 * F::TILE + F::TILE, v + (long long)key * keyStride, keyStride, part.keys - key);
    }
    cp_async_commit();
  };
  int key = from + warp * RUN;
  load(key, 0);
  load(key + WARPS * RUN, 1);

  F f;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    f.max[half] = -INFINITY;
    f.sum[half] = 0;
  }
#pragma unroll
  for (int j = 0; j < D / 8; j++)
#pragma unroll
    for (int i = 0; i < 4; i++) f.o[j][i] = 0;
  int limit[2] = {ahead + (first + g) / group, ahead + (first + g + 8) / group};
  cp_async_wait<2>();
  __syncthreads();  // the queries are there
#pragma unroll
  for (int step = 0; step < T::STEPS; step++) ldmatrix(f.a[step], (base + T::lane()) ^ (step << 5));
  float scale2 = scale * LOG2_E;
#pragma unroll 1
  for (int stage = 0; key < to; key += WARPS * RUN, stage ^= 1) {
    cp_async_wait<1>();
    __syncwarp();  // this run is there
    int here[2] = {limit[0] - key, limit[1] - key};
    f.run(mine + stage * 2 * F::TILE, mine + stage * 2 * F::TILE + F::TILE, key + RUN > commonKeys, here, scale2);
    __syncwarp();  // and no lane reads it any more
    load(key + 2 * WARPS * RUN, stage);
  }
  cp_async_wait<0>();
  __syncwarp();

  float *output = reinterpret_cast<float *>(shared + F::TILE);
  float *maxima = reinterpret_cast<float *>(shared + F::TILE + WARPS * F::WARP), *sums = maxima + WARPS * FEW;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    int row = half * 8 + g;
    float total = f.sum[half];
    total += __shfl_xor_sync(0xFFFFFFFFu, total, 1);
    total += __shfl_xor_sync(0xFFFFFFFFu, total, 2);
    if (t == 0) {
      maxima[warp * FEW + row] = f.max[half];
      sums[warp * FEW + row] = total;
    }
    float *at = output + warp * (F::WARP / 4) + row * F::PITCH + 2 * t;
#pragma unroll
    for (int j = 0; j < D / 8; j++) *reinterpret_cast<float2 *>(at + 8 * j) = make_float2(f.o[j][2 * half], f.o[j][2 * half + 1]);
  }
  __syncthreads();

  bool whole = blockKeys <= size;  // one split
  for (int i = threadIdx.x; i < FEW * D / 4; i += THREADS) {
    int row = i / (D / 4), c = i % (D / 4) * 4;
    if (first + row >= rows) break;
    float most = maxima[row];
#pragma unroll
    for (int w = 1; w < WARPS; w++) most = fmaxf(most, maxima[w * FEW + row]);
    float total = 0;
    float4 o = make_float4(0, 0, 0, 0);
#pragma unroll
    for (int w = 0; w < WARPS; w++) {
      float factor = weight(maxima[w * FEW + row], most, scale2);
      float4 x = *reinterpret_cast<const float4 *>(output + w * (F::WARP / 4) + row * F::PITCH + c);
      total = fmaf(sums[w * FEW + row], factor, total);
      o.x = fmaf(x.x, factor, o.x);
      o.y = fmaf(x.y, factor, o.y);
      o.z = fmaf(x.z, factor, o.z);
      o.w = fmaf(x.w, factor, o.w);
    }
    Cursor at(first + row, group);
    long long rowHead = ((long long)part.query + at.query) * heads + kvHead * group + at.head;
    if (whole) {
      float factor = 1.0f / total;
      *reinterpret_cast<uint2 *>(out + rowHead * D + c) = make_uint2(pack_bf16(o.x * factor, o.y * factor), pack_bf16(o.z * factor, o.w * factor));
      if (c == 0) lse[rowHead] = fmaf(most, scale, logf(total));
    } else {
      long long split = rowHead * splits + blockIdx.y;
      *reinterpret_cast<float4 *>(partial + split * D + c) = o;
      if (c == 0) statistics[split] = make_float2(most, total);
    }
  }
}

// A warp per row and head.
template <int D>
__device__ __forceinline__ void merge(const float *__restrict__ partial, const float2 *__restrict__ statistics, const int *__restrict__ table, int count, int queryRows, int keyRows, int heads,
                                      int group, float scale, int splits, bf16 *__restrict__ out, float *__restrict__ lse) {
  constexpr int EACH = D / 32;
  int lane = threadIdx.x & 31;
  long long rowHead = blockIdx.x * (long long)WARPS + threadIdx.x / 32;
  if (rowHead >= (long long)queryRows * heads) return;
  int row = (int)(rowHead / heads), head = (int)(rowHead % heads);
  Part part = find_row(table, count, queryRows, keyRows, row);
  if (part.block < 0) return;
  int keys = keys_of_block(part, (row - part.query) * group + head % group, group), size = split_keys(part.keys, splits);
  if (keys <= size) return;  // the block has written its results
  int n = (keys - 1) / size + 1;
  statistics += rowHead * splits;
  partial += rowHead * splits * D + lane * EACH;
  float most = -INFINITY;
  for (int s = lane; s < n; s += 32) most = fmaxf(most, statistics[s].x);
  most = warp_max(most);
  float scale2 = scale * LOG2_E, total = 0, o[EACH];
#pragma unroll
  for (int i = 0; i < EACH; i++) o[i] = 0;
  for (int s = 0; s < n; s++) {
    float2 of = statistics[s];
    float factor = weight(of.x, most, scale2);
    total = fmaf(of.y, factor, total);
    float x[EACH];
    if constexpr (EACH == 2) {
      *reinterpret_cast<float2 *>(x) = *reinterpret_cast<const float2 *>(partial + (long long)s * D);
    } else {
      *reinterpret_cast<float4 *>(x) = *reinterpret_cast<const float4 *>(partial + (long long)s * D);
    }
#pragma unroll
    for (int i = 0; i < EACH; i++) o[i] = fmaf(x[i], factor, o[i]);
  }
  float factor = 1.0f / total;
  uint32_t *to = reinterpret_cast<uint32_t *>(out + rowHead * D + lane * EACH);
  if constexpr (EACH == 2) {
    *to = pack_bf16(o[0] * factor, o[1] * factor);
  } else {
    *reinterpret_cast<uint2 *>(to) = make_uint2(pack_bf16(o[0] * factor, o[1] * factor), pack_bf16(o[2] * factor, o[3] * factor));
  }
  if (lane == 0) lse[rowHead] = fmaf(most, scale, logf(total));
}

}  // namespace attention

#define FEW_ROWS(D, BLOCKS)                                                                                                                                                      \
  extern "C" __global__ void __launch_bounds__(attention::THREADS, BLOCKS)                                                                                                       \
      pan_attention_few_bf16_##D(const bf16 *q, const bf16 *k, const bf16 *v, const int *table, int count, int queryRows, int keyRows, int kvHeads, int group, float scale,      \
                                 int splits, float *partial, float2 *statistics, bf16 *out, float *lse, Report *report) {                                                        \
    attention::few<D>(q, k, v, table, count, queryRows, keyRows, kvHeads, group, scale, splits, partial, statistics, out, lse, report);                                          \
  }                                                                                                                                                                              \
  extern "C" __global__ void __launch_bounds__(attention::THREADS)                                                                                                               \
      pan_attention_merge_bf16_##D(const float *partial, const float2 *statistics, const int *table, int count, int queryRows, int keyRows, int heads, int group, float scale,   \
                                   int splits, bf16 *out, float *lse) {                                                                                                          \
    attention::merge<D>(partial, statistics, table, count, queryRows, keyRows, heads, group, scale, splits, out, lse);                                                           \
  }
FEW_ROWS(64, 4)
FEW_ROWS(128, 3)
#undef FEW_ROWS
