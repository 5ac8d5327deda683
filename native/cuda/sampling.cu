// sampling.cu: the arg max of the rows of logits[rows, vocab] (f32); the k largest with their ids, largest first, and the sum over the whole row of
// exp((logit - largest) / temperature).
//
// An element is a key of 64 bits: its value as an integer of the same order, then its id complemented, so that greater keys are greater values and, of
// equal values, lower ids; -0 equals 0, and what is not a number is the least. All keys of a row differ: no order of comparisons changes a result.
//
// Arg max: pan_arg_max_parts gives each block 256 threads and a range of a row, whose greatest key it writes; pan_arg_max gives each row a warp.
// The k largest, k <= 1024: pan_top_k_logits gives each block TILE elements of a row, sorts their keys in shared memory (bitonic, Batcher 1968) and writes
// the first k; pan_top_k_keys does the same with keys, as often as it takes until a row has k; pan_top_k_results writes ids and values.
// The sum: of every tile relative to its own largest, by pan_top_k_logits, which has the elements at hand; pan_top_k_results adds these up. f32, in an order
// that the shape decides. Its error is that of the exponents' rounding (fast.cuh), 2^-24 for each unit of an exponent, and of the additions: 22 in a row.
// Bytes: the logits once, and for the k largest 16 k for every TILE elements. Comparisons: one for an element; TILE log2(TILE) (log2(TILE) + 1) / 4 for a tile.
//
// budget: pan_arg_max_parts registers 40 shared 1024
// budget: pan_arg_max registers 64 shared 0
// budget: pan_top_k_logits registers 40 shared 32896
// budget: pan_top_k_keys registers 40 shared 32768
// budget: pan_top_k_results registers 32 shared 0
#include "common.cuh"
#include "fast.cuh"

namespace sampling {

typedef unsigned long long Key;

constexpr int THREADS = 256, TILE = 4096, SORT_THREADS = 1024;

__device__ __forceinline__ Key key(float x, int id) {
  const unsigned bits = __float_as_uint(x + 0.0f), ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return (Key)(x == x ? ordered : 0) << 32 | (unsigned)~id;
}
__device__ __forceinline__ int id(Key k) { return (int)~(unsigned)k; }

__device__ __forceinline__ Key warp_max(Key x) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) x = max(x, __shfl_xor_sync(0xFFFFFFFFu, x, offset));
  return x;
}

// exp((x - largest) / temperature); 1 of the largest, although it be infinite.
__device__ __forceinline__ float exponential(float x, float largest, float inverse_temperature) { return x == largest ? 1.0f : fast_exp((x - largest) * inverse_temperature); }

// Sorts the tile, the greatest first. Every thread has TILE / 2 / SORT_THREADS pairs; a stage puts together sorted runs of half the size.
__device__ __forceinline__ void sort(Key *tile) {
  for (int size = 2; size <= TILE; size *= 2) {
    for (int distance = size / 2; distance > 0; distance /= 2) {
      __syncthreads();
#pragma unroll
      for (int pair = threadIdx.x; pair < TILE / 2; pair += SORT_THREADS) {
        const int low = pair / distance * 2 * distance + pair % distance, high = low + distance;
        const Key a = tile[low], b = tile[high];
        // Runs are in turn falling and rising, so that two of them make one that first falls and then rises.
        if ((low & size) == 0 ? a < b : a > b) {
          tile[low] = b;
          tile[high] = a;
        }
      }
    }
  }
  __syncthreads();
}

}  // namespace sampling

extern "C" __global__ void __launch_bounds__(sampling::THREADS)
    pan_arg_max_parts(const float *__restrict__ logits, int vocab, int per_part, unsigned long long *__restrict__ keys) {
  using namespace sampling;
  __shared__ Key warps[THREADS / 32];
  const float *row = logits + (long long)blockIdx.y * vocab;
  const int from = blockIdx.x * per_part, to = (int)min((long long)vocab, (long long)from + per_part);
  Key best = 0;
#pragma unroll 8
  for (int i = from + threadIdx.x; i < to; i += THREADS) best = max(best, key(row[i], i));
  best = warp_max(best);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = best;
  __syncthreads();
  if (threadIdx.x >= 32) return;
  best = warp_max(warps[threadIdx.x % (THREADS / 32)]);
  if (threadIdx.x == 0) keys[(long long)blockIdx.y * gridDim.x + blockIdx.x] = best;
}

extern "C" __global__ void __launch_bounds__(32) pan_arg_max(const unsigned long long *__restrict__ keys, int parts, int *__restrict__ ids) {
  using namespace sampling;
  Key best = 0;
  for (int i = threadIdx.x; i < parts; i += 32) best = max(best, keys[(long long)blockIdx.x * parts + i]);
  best = warp_max(best);
  if (threadIdx.x == 0) ids[blockIdx.x] = id(best);
}

// sums: (largest, sum of the exponentials relative to it) of each tile.
extern "C" __global__ void __launch_bounds__(sampling::SORT_THREADS)
    pan_top_k_logits(const float *__restrict__ logits, int vocab, int k, float inverse_temperature, unsigned long long *__restrict__ keys, float2 *__restrict__ sums) {
  using namespace sampling;
  constexpr int EACH = TILE / SORT_THREADS;
  __shared__ Key tile[TILE];
  __shared__ float warps[SORT_THREADS / 32];
  const float *row = logits + (long long)blockIdx.y * vocab;
  float mine[EACH];
#pragma unroll
  for (int j = 0; j < EACH; j++) {
    const int i = threadIdx.x + j * SORT_THREADS;
    const long long at = (long long)blockIdx.x * TILE + i;
    mine[j] = at < vocab ? row[at] : -INFINITY;
    tile[i] = at < vocab ? key(mine[j], (int)at) : 0;
  }
  sort(tile);
  const long long part = (long long)blockIdx.y * gridDim.x + blockIdx.x;
  for (int i = threadIdx.x; i < k; i += SORT_THREADS) keys[part * k + i] = tile[i];
  const float largest = row[id(tile[0])];
  float sum = 0;
#pragma unroll
  for (int j = 0; j < EACH; j++) {
    const bool there = (long long)blockIdx.x * TILE + threadIdx.x + j * SORT_THREADS < vocab;
    if (there) sum += exponential(mine[j], largest, inverse_temperature);
  }
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x >= 32) return;
  sum = warp_sum(warps[threadIdx.x]);
  if (threadIdx.x == 0) sums[part] = make_float2(largest, sum);
}

// `count` keys of each row to the k greatest of every TILE; a key of 0 is none.
extern "C" __global__ void __launch_bounds__(sampling::SORT_THREADS)
    pan_top_k_keys(const unsigned long long *__restrict__ from, int count, int k, unsigned long long *__restrict__ keys) {
  using namespace sampling;
  __shared__ Key tile[TILE];
  for (int i = threadIdx.x; i < TILE; i += SORT_THREADS) {
    const long long at = (long long)blockIdx.x * TILE + i;
    tile[i] = at < count ? from[(long long)blockIdx.y * count + at] : 0;
  }
  sort(tile);
  for (int i = threadIdx.x; i < k; i += SORT_THREADS) keys[((long long)blockIdx.y * gridDim.x + blockIdx.x) * k + i] = tile[i];
}

extern "C" __global__ void __launch_bounds__(sampling::THREADS)
    pan_top_k_results(const unsigned long long *__restrict__ keys, const float2 *__restrict__ tile_sums, int tiles, const float *__restrict__ logits, int vocab, int k,
                      float inverse_temperature, int *__restrict__ ids, float *__restrict__ values, float *__restrict__ sums) {
  using namespace sampling;
  const float *row = logits + (long long)blockIdx.x * vocab;
  for (int i = threadIdx.x; i < k; i += THREADS) {
    const long long at = (long long)blockIdx.x * k + i;
    const int of = id(keys[at]);
    ids[at] = of;
    values[at] = row[of];
  }
  if (threadIdx.x >= 32) return;
  const float largest = row[id(keys[(long long)blockIdx.x * k])];
  float sum = 0;
  for (int i = threadIdx.x; i < tiles; i += 32) {
    const float2 tile = tile_sums[(long long)blockIdx.x * tiles + i];
    sum = fmaf(tile.y, exponential(tile.x, largest, inverse_temperature), sum);
  }
  sum = warp_sum(sum);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}
