// gemm_few_rows.cu: products of up to 64 rows of bf16 x with a weight of 4-bit codes, on the tensor cores, the codes decoded on the way.
//
//   y[r, j] = sum over i of x[r, i] W[j, i] (+ scaling * sum over q of s[r, q] factor[j, q]) (+ y[r, j]),   r < m, j < n, i < k
//
// Weights as in gemv.cu: element e = j k + i in byte e/2, the even one in the high nibble; W = bf16(level[code] * scale[e >> shift]), one
// rounding of the f32 product, so the products are those of a dense bf16 copy. k is a multiple of 64, x and the codes aligned to 16 bytes.
//
// Mapping. The tensor cores compute y^T = W x^T: 16 rows of W are the A of an mma.m16n8k16, 8 rows of x the B. A block owns ROWS rows of W
// and all of x; its warps share out the rows (WARPS_N of them, 16 GROUPS rows each) and, since x is short, k: the warps of one set of rows take
// 64 consecutive elements of a stage each, and their sums are added at the end, in shared memory. Where there are still too few blocks
// for the GPU, k is shared out over blocks too; they write f32 sums [part][m][n] and pan_few_rows_sum adds these, in the order of the parts.
//
// An mma may take the elements of k in any order as long as A and B agree, so W needs no turning and never stands decoded in memory: lane
// (g, t) = 4 g + t takes 8 consecutive bytes of a row, elements 16 t to 16 t + 15 of its warp's 64, and decodes four of them for each of four
// mma, just where the fragments want them. The levels stand one in a lane, twice; a code picks its own by a shuffle. All 16 have one
// scale, as blocks are at least 32 long. B's fragments are 16 bytes of x for two mma; row r of x keeps its 16-byte chunks in shared memory in
// the order (c % 2 ^ r % 2, c / 2), so that 8 lanes read 128 consecutive bytes' worth of banks.
// W and x come by cp.async, SLOTS stages of 512 or 256 elements of k in a ring; the scales of SCALE_ELEMENTS elements of k at a time through
// registers, since nested ones are decoded.
//
// Bytes: n k / 2 and the scales once; x once for each block (from L2 but for the first), (k / 16) / ROWS times as much as y. FLOPs: 2 m n k,
// m rounded up to 8, 16, 32 or 64. For 512 bytes of codes a multiprocessor (A100; 39 cycles of its share of memory): 32 shuffles, 4 wavefronts
// of codes, 8 m / 8 / GROUPS of x, and 8 m / 8 cycles of tensor cores.
//
// Numerics: products of bf16 summed in f32 by the tensor cores, over k by warp and by block in an order that depends on the shape and on the
// number of multiprocessors; y rounded once. The low-rank term is f32.
//
// budget: pan_few_rows_q4_8 registers 80 shared 60000
// budget: pan_few_rows_q4_16 registers 128 shared 75000
// budget: pan_few_rows_q4_32 registers 128 shared 75000
// budget: pan_few_rows_q4_64 registers 168 shared 155000
// budget: pan_few_rows_sum registers 32 shared 0
#include "common.cuh"
#include "mma.cuh"

namespace few_rows {

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;
constexpr int SLICE = 64;  // elements of k of a warp in a stage
constexpr int RANKS = 32;  // of the low-rank term at a time

struct Operands {
  const uint8_t *packed;
  const float *levels;
  const void *absmax;
  const float *nested_levels;  // in shared memory
  const float *nested_scale;   // null: absmax are f32
  float offset;
  int shift;
  int n, k, m;
  const bf16 *x;
  void *y;
  int y_bf16, accumulate;
  const float *s, *factor;
  long long factor_row, factor_col;
  int rank;
  float scaling;
  float *parts;  // null: y is written
  int part_elements, scale_elements, scale_pitch;

  __device__ __forceinline__ float scale(long long block) const {
    if (nested_scale == nullptr) return static_cast<const float *>(absmax)[block];
    return __fadd_rn(__fmul_rn(nested_levels[static_cast<const uint8_t *>(absmax)[block]], nested_scale[block / 256]), offset);
  }
};

__device__ __forceinline__ void store(void *y, int y_bf16, int accumulate, long long i, float sum) {
  if (y_bf16) {
    bf16 *to = static_cast<bf16 *>(y) + i;
    *to = from_f32<bf16>(accumulate ? to_f32(*to) + sum : sum);
  } else {
    float *to = static_cast<float *>(y) + i;
    *to = accumulate ? *to + sum : sum;
  }
}

// TILES: of 8 rows of x. GROUPS: of 16 rows of W in a warp.
template <int TILES, int GROUPS, int WARPS_N, int SLOTS> struct Kernel {
  static constexpr int WARPS_K = WARPS / WARPS_N;
  static constexpr int M = 8 * TILES, WARP_ROWS = 16 * GROUPS, ROWS = WARP_ROWS * WARPS_N, STAGE = SLICE * WARPS_K;
  static constexpr int X_PITCH = 2 * STAGE;        // bytes
  static constexpr int W_PITCH = STAGE / 2 + 32;   // the surplus spreads 4 rows' 32 bytes over all banks
  static constexpr int X_BYTES = M * X_PITCH, SLOT = X_BYTES + ROWS * W_PITCH;
  static constexpr int SUM_PITCH = WARP_ROWS + 4;  // floats; the surplus spreads the 4 columns that a group of lanes holds

  // A thread fetches the same chunks of 16 bytes of each stage: one of every X_STEP-th row of x, one of every W_STEP-th row of W.
  static constexpr int X_CHUNKS = STAGE / 8, X_STEP = THREADS / X_CHUNKS, W_CHUNKS = STAGE / 32, W_STEP = THREADS / W_CHUNKS;
  static_assert(M % X_STEP == 0 && ROWS % W_STEP == 0 && X_STEP % 2 == 0, "threads fetch alike");

  const Operands &o;
  char *shared;
  float *scales;  // [ROWS][scale_pitch]
  const long long first_row;
  const int from, to;  // of k
  const int lane, g, t, warp_n, warp_k;
  const bf16 *x;
  const uint8_t *w;
  uint32_t x_place, w_place;  // in shared memory
  int first_in_block[2 * GROUPS];
  float sums[GROUPS][TILES][4];

  __device__ __forceinline__ Kernel(const Operands &o, char *shared)
      : o(o), shared(shared), scales(reinterpret_cast<float *>(shared + SLOTS * SLOT)), first_row(blockIdx.x * (long long)ROWS), from(blockIdx.y * o.part_elements),
        to(min(from + o.part_elements, o.k)), lane(threadIdx.x % 32), g(lane / 4), t(lane % 4), warp_n(threadIdx.x / 32 % WARPS_N), warp_k(threadIdx.x / 32 / WARPS_N) {
    int row = threadIdx.x / X_CHUNKS, chunk = threadIdx.x % X_CHUNKS;
    x = o.x + (long long)row * o.k + from + 8 * chunk;
    x_place = shared_address(shared) + row * X_PITCH + 16 * (chunk / 8 * 8 + (chunk % 2 ^ row % 2) * 4 + chunk % 8 / 2);
    row = threadIdx.x / W_CHUNKS, chunk = threadIdx.x % W_CHUNKS;
    w = o.packed + ((first_row + row) * o.k + from + 32 * chunk) / 2;
    w_place = shared_address(shared) + X_BYTES + row * W_PITCH + 16 * chunk;
#pragma unroll
    for (int i = 0; i < 2 * GROUPS; i++) first_in_block[i] = (int)(((first_row + warp_n * WARP_ROWS + 8 * i + g) * o.k + from) & ((1 << o.shift) - 1));
#pragma unroll
    for (int group = 0; group < GROUPS; group++) {
#pragma unroll
      for (int tile = 0; tile < TILES; tile++) {
#pragma unroll
        for (int i = 0; i < 4; i++) sums[group][tile][i] = 0;
      }
    }
  }

  // Asks for a stage; what lies beyond m, n or k is zero.
  __device__ __forceinline__ void fetch(int stage) const {
    const int at = stage * STAGE, left = to - from - at;
    const uint32_t slot = stage % SLOTS * SLOT;
    const bool x_inside = 8 * (int)(threadIdx.x % X_CHUNKS) < left, w_inside = 32 * (int)(threadIdx.x % W_CHUNKS) < left;
#pragma unroll
    for (int i = 0; i < M / X_STEP; i++)
      cp_async(x_place + slot + i * (X_STEP * X_PITCH), x + at + i * (X_STEP * (long long)o.k), x_inside && (int)threadIdx.x / X_CHUNKS + i * X_STEP < o.m ? 16 : 0);
#pragma unroll
    for (int i = 0; i < ROWS / W_STEP; i++)
      cp_async(w_place + slot + i * (W_STEP * W_PITCH), w + at / 2 + i * (W_STEP * (long long)o.k / 2), w_inside && first_row + threadIdx.x / W_CHUNKS + i * W_STEP < o.n ? 16 : 0);
  }

  // The scales of every row from element `at` of k on, for scale_elements elements; a warp a row, so that the sectors of a row are read once.
  __device__ __forceinline__ void fetch_scales(int at) const {
    const int last = min(at + o.scale_elements, to) - 1;
    for (int row = threadIdx.x / 32; row < ROWS; row += WARPS) {
      if (first_row + row >= o.n) {
        for (int block = lane; block < o.scale_pitch; block += 32) scales[row * o.scale_pitch + block] = 0;
        continue;
      }
      long long start = (first_row + row) * o.k, first = (start + at) >> o.shift;
      int blocks = (int)(((start + last) >> o.shift) - first) + 1;
      for (int block = lane; block < blocks; block += 32) scales[row * o.scale_pitch + block] = o.scale(first + block);
    }
  }

  // The warp's 64 elements of k of a stage. scales_at: where the scales in shared memory begin.
  __device__ __forceinline__ void multiply(int stage, int scales_at, float level) {
    const int at = from + stage * STAGE + warp_k * SLICE;
    if (at >= to) return;
    const char *slot = shared + stage % SLOTS * SLOT;
    uint2 codes[2 * GROUPS];
    float scale[2 * GROUPS];
#pragma unroll
    for (int i = 0; i < 2 * GROUPS; i++) {
      int row = warp_n * WARP_ROWS + 8 * i + g;
      codes[i] = *reinterpret_cast<const uint2 *>(slot + X_BYTES + row * W_PITCH + warp_k * (SLICE / 2) + 8 * t);
      int place = first_in_block[i] - from;  // such that (place + element of k) / block length counts the row's blocks
      scale[i] = scales[row * o.scale_pitch + ((place + at + 16 * t) >> o.shift) - ((place + scales_at) >> o.shift)];
    }
    const char *xs = slot + g * X_PITCH + warp_k * (2 * SLICE) + 16 * t;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      uint32_t a[2][GROUPS][4];  // of two mma
#pragma unroll
      for (int i = 0; i < 2 * GROUPS; i++) {
        uint32_t word = half == 0 ? codes[i].x : codes[i].y;
#pragma unroll
        for (int byte = 0; byte < 4; byte++) {
          float even = __shfl_sync(~0u, level, word >> (8 * byte + 4)), odd = __shfl_sync(~0u, level, word >> 8 * byte);
          a[byte / 2][i / 2][i % 2 + byte % 2 * 2] = pack_bf16(even * scale[i], odd * scale[i]);
        }
      }
#pragma unroll
      for (int tile = 0; tile < TILES; tile++) {
        uint4 b = *reinterpret_cast<const uint4 *>(xs + tile * 8 * X_PITCH + 64 * (half ^ g % 2));
#pragma unroll
        for (int group = 0; group < GROUPS; group++) {
          mma_bf16(sums[group][tile], a[0][group], b.x, b.y);
          mma_bf16(sums[group][tile], a[1][group], b.z, b.w);
        }
      }
    }
  }

  __device__ __forceinline__ void run() {
    const int stages = (to - from + STAGE - 1) / STAGE;
#pragma unroll
    for (int stage = 0; stage < SLOTS - 1; stage++) {
      if (stage < stages) fetch(stage);
      cp_async_commit();
    }
    const float level = o.levels[lane % 16];
    int scales_at = from;
    if (o.nested_scale != nullptr) __syncthreads();
    fetch_scales(from);
    for (int stage = 0; stage < stages; stage++) {
      cp_async_wait<SLOTS - 2>();
      __syncthreads();  // the stage is there, and all are done with the one before
      if (stage + SLOTS - 1 < stages) fetch(stage + SLOTS - 1);
      cp_async_commit();
      if (from + stage * STAGE == scales_at + o.scale_elements) {
        scales_at += o.scale_elements;
        fetch_scales(scales_at);
        __syncthreads();
      }
      multiply(stage, scales_at, level);
    }
    cp_async_wait<0>();
    __syncthreads();
    finish();
  }

  // Adds the sums of the warps that share rows, then the low-rank term, and writes: a warp 32 consecutive columns of y.
  __device__ __forceinline__ void finish() {
    float *all = reinterpret_cast<float *>(shared);  // [warp][M][SUM_PITCH]
#pragma unroll
    for (int group = 0; group < GROUPS; group++) {
#pragma unroll
      for (int tile = 0; tile < TILES; tile++) {
#pragma unroll
        for (int i = 0; i < 4; i++) all[((warp_k * WARPS_N + warp_n) * M + tile * 8 + 2 * t + i % 2) * SUM_PITCH + group * 16 + i / 2 * 8 + g] = sums[group][tile][i];
      }
    }
    __syncthreads();
    constexpr int EACH = (ROWS * M + THREADS - 1) / THREADS, STEP = THREADS / ROWS;
    static_assert(THREADS % ROWS == 0, "a thread keeps to one row of W");
    const int row = threadIdx.x % ROWS, first_m = threadIdx.x / ROWS;
    float results[EACH];
#pragma unroll
    for (int i = 0; i < EACH; i++) {
      int r = first_m + i * STEP;
      results[i] = 0;
      if (r < M) {
#pragma unroll
        for (int w = 0; w < WARPS_K; w++) results[i] += all[((w * WARPS_N + row / WARP_ROWS) * M + r) * SUM_PITCH + row % WARP_ROWS];
      }
    }
    if (blockIdx.y == 0) add_low_rank(results, row, first_m, STEP);
    if (first_row + row >= o.n) return;
#pragma unroll
    for (int i = 0; i < EACH; i++) {
      int r = first_m + i * STEP;
      if (r >= o.m) continue;
      long long at = (long long)r * o.n + first_row + row;
      if (o.parts != nullptr) {
        o.parts[blockIdx.y * ((long long)o.m * o.n) + at] = results[i];
      } else {
        store(o.y, o.y_bf16, o.accumulate, at, results[i]);
      }
    }
  }

  template <int EACH> __device__ __forceinline__ void add_low_rank(float (&results)[EACH], int row, int first_m, int step) const {
    float *factors = reinterpret_cast<float *>(shared), *s = factors + ROWS * (RANKS + 1);
    for (int first = 0; first < o.rank; first += RANKS) {
      __syncthreads();
      for (int i = threadIdx.x; i < ROWS * RANKS; i += THREADS) {
        int r = i / RANKS, q = i % RANKS;
        factors[r * (RANKS + 1) + q] = first + q < o.rank && first_row + r < o.n ? o.scaling * o.factor[(first_row + r) * o.factor_row + (first + q) * o.factor_col] : 0.0f;
      }
      for (int i = threadIdx.x; i < M * RANKS; i += THREADS) {
        int r = i / RANKS, q = i % RANKS;
        s[r * (RANKS + 1) + q] = first + q < o.rank && r < o.m ? o.s[(long long)r * o.rank + first + q] : 0.0f;
      }
      __syncthreads();
      const int count = min(RANKS, o.rank - first);
#pragma unroll 1
      for (int q = 0; q < count; q++) {
        float factor = factors[row * (RANKS + 1) + q];
#pragma unroll
        for (int i = 0; i < EACH; i++) {
          int r = first_m + i * step;
          if (r < M) results[i] = fmaf(factor, s[r * (RANKS + 1) + q], results[i]);
        }
      }
    }
  }
};

}  // namespace few_rows

#define FEW_ROWS_KERNEL(NAME, BLOCKS, ...)                                                                                                                  \
  extern "C" __global__ void __launch_bounds__(few_rows::THREADS, BLOCKS)                                                                                  \
      NAME(const uint8_t *packed, const float *levels, const void *absmax, const float *nested_levels, const float *nested_scale, float offset, int shift, int n, \
           int k, int m, const bf16 *x, void *y, int y_bf16, int accumulate, const float *s, const float *factor, long long factor_row, long long factor_col,     \
           int rank, float scaling, float *parts, int part_elements, int scale_elements, int scale_pitch) {                                                      \
    extern __shared__ float4 shared[];                                                                                                                            \
    __shared__ float table[256];                                                                                                                                  \
    if (nested_scale != nullptr) table[threadIdx.x] = nested_levels[threadIdx.x];                                                                                 \
    few_rows::Operands o = {packed,     levels, absmax, table,         nested_scale, offset, shift, n,       k,    m,       x,     y,             y_bf16,         \
                            accumulate, s,      factor, factor_row,    factor_col,   rank,   scaling, parts, part_elements, scale_elements, scale_pitch};   \
    few_rows::Kernel<__VA_ARGS__>(o, reinterpret_cast<char *>(shared)).run();                                                                                     \
  }
// TILES, GROUPS, WARPS_N, SLOTS: also in CudaFewRows.
FEW_ROWS_KERNEL(pan_few_rows_q4_8, 3, 1, 1, 1, 4)
FEW_ROWS_KERNEL(pan_few_rows_q4_16, 2, 2, 2, 2, 3)
FEW_ROWS_KERNEL(pan_few_rows_q4_32, 2, 4, 2, 2, 2)
FEW_ROWS_KERNEL(pan_few_rows_q4_64, 1, 8, 2, 2, 3)
#undef FEW_ROWS_KERNEL

// y = the sum of the parts (+ y), `count` elements each.
extern "C" __global__ void __launch_bounds__(256) pan_few_rows_sum(const float *parts, int number, long long count, void *y, int y_bf16, int accumulate) {
  long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
  if (i >= count) return;
  float sum = 0;
  for (int part = 0; part < number; part++) sum += parts[part * count + i];
  few_rows::store(y, y_bf16, accumulate, i, sum);
}
