// gemm_few_rows.cu: products of up to 64 rows of bf16 x with a weight of 4-bit codes, on the tensor cores, the codes decoded on the way.
//
//   y[r, j] = sum over i of x[r, i] W[j, i] (+ scaling * sum over q of s[r, q] factor[j, q]) (+ y[r, j]),   r < m, j < n, i < k
//
// Weights as in gemv.cu: element e = j k + i in byte e/2, the even one in the high nibble, W = level[code] * scale[e >> shift]. k is a multiple
// of 64, x and the codes are aligned to 16 bytes.
//
// Numerics. The tensor cores multiply bf16(LEVEL_SCALE * level) with x and sum in f32; every block's sum is multiplied by its scale in f32, the
// whole sum by 1 / LEVEL_SCALE in the end. So the levels are rounded instead of the weights, and LEVEL_SCALE is chosen such that bf16 holds them
// well: FP4's are exact (2/3 of it is 106/256), and the mean square error of NF4's is a third of that of weights rounded to bf16 (root 0.58;
// 0.83 without the factor; for normally distributed weights and blocks of 64). Sums over k are in an order that depends on the shape and on
// the number of multiprocessors; y is rounded once. The low-rank term is f32.
//
// Mapping. The tensor cores compute y^T = W x^T: 16 rows of W are the A of an mma.m16n8k16, 8 rows of x the B. A block owns ROWS rows of W
// and all of x; its warps share out the rows (WARPS_N of them, 16 GROUPS rows each) and, since x is short, k: the warps of one set of rows take
// 64 consecutive elements of a stage each, and their sums are added at the end, in shared memory. Where there are still too few blocks
// for the GPU, k is shared out over blocks too; they write f32 sums [part][m][n] and pan_few_rows_sum adds these, in the order of the parts.
//
// An mma may take the elements of k in any order as long as A and B agree, so W needs no turning and never stands decoded in memory: of each
// 16 bytes (32 elements, never of two blocks) of a row lane (g, t) = 4 g + t takes bytes 4 t to 4 t + 3, which are 8 consecutive elements, four
// for each of two mma, and looks up each byte in a table of 256 pairs of bf16: the register that the fragment wants. The table stands in
// shared memory 32 times, once for each bank, so that no two lanes ever meet. B's fragments are 16 bytes of x for two mma; the rows of x in
// shared memory have their 16-byte chunks in places c ^ 4 (r % 2), so that 8 lanes read all banks.
// W and x come by cp.async, SLOTS stages of 512 or 256 elements of k in a ring; the scales of scale_elements elements of k at a time through
// registers, since nested ones are decoded.
//
// Bytes: n k / 2 and the scales once; x once for each block (from L2 but for the first). FLOPs: 2 m n k, m rounded up to 8, 16, 32 or 64. A
// multiprocessor of an A100 gets 512 bytes of codes in 39 cycles from memory. For these: 16 wavefronts of the table, 6 of codes, M / GROUPS of x
// for reading and 1024 M / ROWS / 8 for storing it, 48 instructions of decoding, and M cycles of tensor cores.
//
// budget: pan_few_rows_q4_8 registers 80 shared 75000
// budget: pan_few_rows_q4_16 registers 128 shared 78000
// budget: pan_few_rows_q4_32 registers 160 shared 120000
// budget: pan_few_rows_q4_64 registers 224 shared 128000
// budget: pan_few_rows_sum registers 32 shared 0
#include "common.cuh"
#include "mma.cuh"

namespace few_rows {

constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;
constexpr int SLICE = 64;  // elements of k of a warp in a stage
constexpr int RANKS = 32;  // of the low-rank term at a time
constexpr float LEVEL_SCALE = 159.0f / 256.0f;
constexpr int TABLE_BYTES = 256 * 32 * 4;

// c = a b: the first of a chain of mma_bf16.
__device__ __forceinline__ void mma_bf16_first(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%10, %10, %10, %10};"
      : "=f"(c[0]), "=f"(c[1]), "=f"(c[2]), "=f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(0.0f));
}

struct Operands {
  const uint8_t *packed;
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

// The table: for each byte its two levels, the high nibble's first, 32 times. A thread a byte; neighbours begin at different banks.
__device__ __forceinline__ void fill(char *table, const float *levels) {
  const uint32_t pair = pack_bf16(LEVEL_SCALE * levels[threadIdx.x / 16], LEVEL_SCALE * levels[threadIdx.x % 16]);
#pragma unroll
  for (int i = 0; i < 8; i++) *reinterpret_cast<uint4 *>(table + 128 * threadIdx.x + 16 * ((i + threadIdx.x) % 8)) = make_uint4(pair, pair, pair, pair);
}

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
  static constexpr int W_PITCH = STAGE / 2 + 16;   // the surplus spreads 8 rows' 16 bytes over all banks
  static constexpr int X_BYTES = M * X_PITCH, SLOT = X_BYTES + ROWS * W_PITCH;
  static constexpr int SUM_PITCH = WARP_ROWS + 4;  // floats; the surplus spreads the 4 columns that a group of lanes holds

  // A thread fetches the same chunks of 16 bytes of each stage: one of every X_STEP-th row of x, one of every W_STEP-th row of W.
  static constexpr int X_CHUNKS = STAGE / 8, X_STEP = THREADS / X_CHUNKS, W_CHUNKS = STAGE / 32, W_STEP = THREADS / W_CHUNKS;
  static_assert(M % X_STEP == 0 && ROWS % W_STEP == 0 && X_STEP % 2 == 0, "threads fetch alike");

  const Operands &o;
  char *shared;
  char *table;
  float *scales;  // [ROWS][scale_pitch]
  const long long first_row;
  const int from, to;  // of k
  const int lane, g, t, warp_n, warp_k;
  const bf16 *x;
  const uint8_t *w;
  uint32_t x_place, w_place;  // in shared memory
  int left;                   // elements of k from the next stage to fetch on
  int first_in_block[2 * GROUPS];
  float sums[GROUPS][TILES][4];

  __device__ __forceinline__ Kernel(const Operands &o, char *shared, char *table)
      : o(o), shared(shared), table(table), scales(reinterpret_cast<float *>(shared + SLOTS * SLOT)), first_row(blockIdx.x * (long long)ROWS), from(blockIdx.y * o.part_elements),
        to(min(from + o.part_elements, o.k)), lane(threadIdx.x % 32), g(lane / 4), t(lane % 4), warp_n(threadIdx.x / 32 % WARPS_N), warp_k(threadIdx.x / 32 / WARPS_N), left(to - from) {
    int row = threadIdx.x / X_CHUNKS, chunk = threadIdx.x % X_CHUNKS;
    x = o.x + (long long)row * o.k + from + 8 * chunk;
    x_place = shared_address(shared) + row * X_PITCH + 16 * (chunk ^ 4 * (row % 2));
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

  // Asks for the next stage; what lies beyond m, n or k is zero.
  __device__ __forceinline__ void fetch(int slot) {
    const bool x_inside = 8 * (int)(threadIdx.x % X_CHUNKS) < left, w_inside = 32 * (int)(threadIdx.x % W_CHUNKS) < left;
#pragma unroll
    for (int i = 0; i < M / X_STEP; i++)
      cp_async(x_place + slot * SLOT + i * (X_STEP * X_PITCH), x + i * (X_STEP * (long long)o.k), x_inside && (int)threadIdx.x / X_CHUNKS + i * X_STEP < o.m ? 16 : 0);
#pragma unroll
    for (int i = 0; i < ROWS / W_STEP; i++)
      cp_async(w_place + slot * SLOT + i * (W_STEP * W_PITCH), w + i * (W_STEP * (long long)o.k / 2), w_inside && first_row + threadIdx.x / W_CHUNKS + i * W_STEP < o.n ? 16 : 0);
    x += STAGE;
    w += STAGE / 2;
    left -= STAGE;
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

  // The warp's 64 elements of k of a stage, which begins at element `at`. scales_at: where the scales in shared memory begin. HALVES: blocks of 32.
  template <bool HALVES> __device__ __forceinline__ void multiply(int slot, int at, int scales_at) {
    constexpr int SCALES = HALVES ? 2 : 1;
    at += warp_k * SLICE;
    if (at >= to) return;
    const char *stage = shared + slot * SLOT;
    uint32_t a[4][GROUPS][4];  // of four mma
    float scale[SCALES][2 * GROUPS];
#pragma unroll
    for (int i = 0; i < 2 * GROUPS; i++) {
      const int row = warp_n * WARP_ROWS + 8 * i + g;
      const int place = first_in_block[i] - from;  // such that (place + element of k) / block length counts the row's blocks
#pragma unroll
      for (int j = 0; j < SCALES; j++) scale[j][i] = scales[row * o.scale_pitch + ((place + at + 32 * j) >> o.shift) - ((place + scales_at) >> o.shift)];
#pragma unroll
      for (int half = 0; half < 2; half++) {
        uint32_t codes = *reinterpret_cast<const uint32_t *>(stage + X_BYTES + row * W_PITCH + warp_k * (SLICE / 2) + 16 * half + 4 * t);
#pragma unroll
        for (int byte = 0; byte < 4; byte++) {
          uint32_t entry = (byte == 0 ? codes << 7 : codes >> (8 * byte - 7)) & 0xFF << 7 | lane << 2;
          a[2 * half + byte / 2][i / 2][i % 2 + byte % 2 * 2] = *reinterpret_cast<const uint32_t *>(table + entry);
        }
      }
    }
    const char *xs = stage + g * X_PITCH + warp_k * (2 * SLICE) + 16 * t;
#pragma unroll
    for (int tile = 0; tile < TILES; tile++) {
      const uint4 low = *reinterpret_cast<const uint4 *>(xs + tile * 8 * X_PITCH + 64 * (g % 2)), high = *reinterpret_cast<const uint4 *>(xs + tile * 8 * X_PITCH + 64 * (1 - g % 2));
#pragma unroll
      for (int group = 0; group < GROUPS; group++) {
        float(&sum)[4] = sums[group][tile];
        float part[4];
        mma_bf16_first(part, a[0][group], low.x, low.y);
        mma_bf16(part, a[1][group], low.z, low.w);
        if constexpr (HALVES) {
#pragma unroll
          for (int i = 0; i < 4; i++) sum[i] = fmaf(scale[0][2 * group + i / 2], part[i], sum[i]);
          mma_bf16_first(part, a[2][group], high.x, high.y);
        } else {
          mma_bf16(part, a[2][group], high.x, high.y);
        }
        mma_bf16(part, a[3][group], high.z, high.w);
#pragma unroll
        for (int i = 0; i < 4; i++) sum[i] = fmaf(scale[SCALES - 1][2 * group + i / 2], part[i], sum[i]);
      }
    }
  }

  // nested: room for nested_levels, which stand in global memory.
  __device__ __forceinline__ void run(const float *levels, float *nested, const float *nested_levels) {
    const int stages = (to - from + STAGE - 1) / STAGE;
#pragma unroll
    for (int stage = 0; stage < SLOTS - 1; stage++) {
      if (stage < stages) fetch(stage);
      cp_async_commit();
    }
    fill(table, levels);
    if (o.nested_scale != nullptr) {
      nested[threadIdx.x] = nested_levels[threadIdx.x];
      __syncthreads();
    }
    int scales_at = from;
    fetch_scales(from);
    for (int stage = 0, at = from, slot = 0; stage < stages; stage++, at += STAGE) {
      cp_async_wait<SLOTS - 2>();
      __syncthreads();  // the stage is there, and all are done with the one before
      if (stage + SLOTS - 1 < stages) fetch(slot == 0 ? SLOTS - 1 : slot - 1);
      cp_async_commit();
      if (at == scales_at + o.scale_elements) {
        scales_at = at;
        fetch_scales(at);
        __syncthreads();
      }
      if (o.shift == 5) {
        multiply<true>(slot, at, scales_at);
      } else {
        multiply<false>(slot, at, scales_at);
      }
      slot = slot + 1 == SLOTS ? 0 : slot + 1;
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
      results[i] *= 1.0f / LEVEL_SCALE;
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
    __shared__ float nested[256];                                                                                                                                 \
    __shared__ __align__(16) char table[few_rows::TABLE_BYTES];                                                                                                   \
    few_rows::Operands o = {packed,     absmax, nested,        nested_scale, offset, shift, n,       k,    m,       x,     y,             y_bf16,         \
                            accumulate, s,      factor, factor_row,    factor_col,   rank,   scaling, parts, part_elements, scale_elements, scale_pitch};   \
    few_rows::Kernel<__VA_ARGS__>(o, reinterpret_cast<char *>(shared), table).run(levels, nested, nested_levels);                                                                                     \
  }
// TILES, GROUPS, WARPS_N, SLOTS: also in CudaFewRows.
FEW_ROWS_KERNEL(pan_few_rows_q4_8, 2, 1, 1, 1, 3)
FEW_ROWS_KERNEL(pan_few_rows_q4_16, 2, 2, 2, 2, 2)
FEW_ROWS_KERNEL(pan_few_rows_q4_32, 1, 4, 2, 2, 3)
FEW_ROWS_KERNEL(pan_few_rows_q4_64, 1, 8, 2, 2, 2)
#undef FEW_ROWS_KERNEL

// y = the sum of the parts (+ y), `count` elements each.
extern "C" __global__ void __launch_bounds__(256) pan_few_rows_sum(const float *parts, int number, long long count, void *y, int y_bf16, int accumulate) {
  long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
  if (i >= count) return;
  float sum = 0;
  for (int part = 0; part < number; part++) sum += parts[part * count + i];
  few_rows::store(y, y_bf16, accumulate, i, sum);
}
