// gemm_bf16.cu: products of dense bf16 matrices on the tensor cores, added up in f32.
//
//   nt: C[m, n] = A[m, k] B[n, k]^T      nn: C[m, n] = A[m, k] B[k, n]      tn: C[m, n] = A[k, m]^T B[k, n]
//
// C is f32 or bf16; it may be added to, and nt and nn may have a low-rank term (LoRA's second product):
//   C[i, j] += sum over r of bf16(scaling s[i, r]) bf16(factor[j factor_row + r factor_col]),  s [m, rank] f32, factor f32, any rank.
//
// Mapping: a block makes a tile of C of M x N, a warp 64 x 64 of it, in steps of K along k. With SLICES > 1 as many warps make the same part of C,
// each from its share of every step, so that small tiles too have four warps with the ratio of arithmetic to loads of 64 x 64. Blocks are numbered
// so that those which run at the same time share rows of A and of B (GROUP rows of tiles at a time). blockIdx.y is a part of k, where tiles alone
// would leave multiprocessors idle: each part writes a matrix of partial sums, and pan_gemm_bf16_add adds these in ascending order.
//
// A step's parts of A and B are copied to shared memory by cp.async, STAGES - 1 steps ahead, in the order in which they lie in global memory:
// lines along k (A of nt, nn; B of nt) or across k (A of tn; B of nn, tn), of which ldmatrix makes fragments, with .trans for the latter.
// The 16-byte chunks of a line are permuted by exclusive or with the line's number (offset()), so that neither the copies nor ldmatrix have bank
// conflicts. Fragments are loaded one k = 16 ahead. The first step takes what is left of k by full ones, its rest is zero; what lies beyond m or n
// is some other row's, and is not stored. The low-rank term is some steps before these, converted by the threads. Results pass through shared
// memory, where slices are added, to be stored in 16 bytes per lane and whole lines.
//
// Lines must be aligned to 16 bytes. Where they are not, pan_gemm_bf16_align first makes a copy whose lines are, with zeros before the elements (of a
// line along k: nt takes both so, and nn leaves out as many rows of B) or after them: a read and a write of an operand instead of a slow product.
//
// FLOPs: 2 m n k (+ 2 m n rank). Bytes per block: 2 (M + N) k read, M N of C written (and read): with 128 x 128, 64 FLOPs per byte from L2; from
// global memory, 2 (m + n) k and C, as far as L2 holds A and B. Partial sums: 8 m n bytes for each part. Per k = 16 a warp has 32 mma (each 8
// cycles of a quarter of a multiprocessor of sm_80) for 8 ldmatrix.x4 (each 4 accesses of 128 bytes, of which a multiprocessor has one per cycle).
// Numerics: products and sums of the tensor core in f32, whose order depends on the shape and the plan (tile, parts) alone; one rounding at the end.
// The low-rank term's operands are rounded to bf16.
//
// Warps: 8 (128x256, 1 block per multiprocessor), 4 (the others, 2 blocks). The shared memory is that of the results.
// budget: pan_gemm_bf16_nt_128x256 registers 224 shared 147456
// budget: pan_gemm_bf16_nt_128x128 registers 224 shared 73728
// budget: pan_gemm_bf16_nt_64x128 registers 232 shared 73728
// budget: pan_gemm_bf16_nt_64x64 registers 232 shared 73728
// budget: pan_gemm_bf16_nn_128x256 registers 224 shared 147456
// budget: pan_gemm_bf16_nn_128x128 registers 224 shared 73728
// budget: pan_gemm_bf16_nn_64x128 registers 224 shared 73728
// budget: pan_gemm_bf16_nn_64x64 registers 224 shared 73728
// budget: pan_gemm_bf16_tn_128x256 registers 224 shared 147456
// budget: pan_gemm_bf16_tn_128x128 registers 224 shared 73728
// budget: pan_gemm_bf16_tn_64x128 registers 224 shared 73728
// budget: pan_gemm_bf16_tn_64x64 registers 224 shared 73728
// budget: pan_gemm_bf16_add_f32 registers 40 shared 0
// budget: pan_gemm_bf16_add_bf16 registers 40 shared 0
// budget: pan_gemm_bf16_align registers 40 shared 0
#include "mma.cuh"

namespace gemm_bf16 {

constexpr int GROUP = 8;
constexpr int WARP = 64;                    // a warp makes 64 x 64
constexpr int RESULT_LINE = WARP + 8;       // a row of its results in shared memory; with 8 more there are no bank conflicts
constexpr int RESULT = WARP * RESULT_LINE;  // floats

template <int M_, int N_, int K_, int SLICES_, int STAGES_> struct Tile {
  static constexpr int M = M_, N = N_, K = K_, SLICES = SLICES_, STAGES = STAGES_;
  static constexpr int WARPS_M = M / WARP, WARPS_N = N / WARP, WARPS = WARPS_M * WARPS_N * SLICES, THREADS = WARPS * 32;
  static constexpr int STEPS = K / 16 / SLICES;  // of k = 16, per warp and stage
  static constexpr int A_BYTES = M * K * 2, STAGE_BYTES = A_BYTES + N * K * 2;
  static_assert(STEPS % 2 == 0, "two buffers of fragments take turns");
  static_assert(STAGES * STAGE_BYTES <= WARPS * RESULT * 4, "the stages must find room where the results will stand");
};

// ---- one operand -----------------------------------------------------------------------------------------------------

// ROWS: of A, or columns of B, in the tile. ALONG: lines lie along k.
template <int ROWS, int K, int STEPS, int THREADS, bool ALONG> struct Operand {
  static constexpr int LINE = ALONG ? K : ROWS;  // elements
  static constexpr int CHUNKS = LINE / 8;        // of 16 bytes
  static constexpr int STRIDE = THREADS / CHUNKS, COUNT = ROWS * K / 8 / THREADS;  // lines between a thread's chunks; their number
  static_assert(STRIDE % 8 == 0 && COUNT * THREADS * 8 == ROWS * K, "the permutation of a thread's chunks must be one");

  // Where a chunk stands, in bytes: eight lines' chunks of one number stand in eight different groups of banks.
  static __device__ __forceinline__ uint32_t offset(uint32_t line, uint32_t chunk) {
    return line * (LINE * 2) + ((chunk ^ (LINE == 32 ? line >> 1 & 3 : line & 7)) << 4);
  }

  const bf16 *at;      // this thread's first chunk of the next step
  int stride;          // elements from line to line
  int offsets[COUNT];  // ALONG: of the thread's chunks from the first, in chunks
  int skip;            // unless ALONG: lines of the first step that are not there
  uint32_t to;

  // rows: of the whole matrix; k_skip: as many k are before the matrix, and zero.
  __device__ __forceinline__ void start(const bf16 *matrix, int rows, int stride, int row_from, int k_from, int k_skip) {
    int line = threadIdx.x / CHUNKS, chunk = threadIdx.x % CHUNKS;
    this->stride = stride;
    to = offset(line, chunk);
    if (ALONG) {
      int first = min(row_from + line, rows - 1);
      at = matrix + first * (int64_t)stride + k_from + chunk * 8;
#pragma unroll
      for (int i = 0; i < COUNT; i++) offsets[i] = (min(row_from + line + i * STRIDE, rows - 1) - first) * (stride / 8);
    } else {
      int column = row_from + chunk * 8;
      at = matrix + (k_from + line - k_skip) * (int64_t)stride + (column < rows ? column : 0);
      skip = k_from == 0 ? k_skip - line : 0;
    }
  }

  // Asks for the next step's chunks, of depth elements along k. FIRST: any depth. Else it is K, or at most 0: zeros instead of what lies beyond the end;
  // no branch, around which the compiler could not move the copies.
  template <bool FIRST> __device__ __forceinline__ void copy(uint32_t stage, int depth) {
    int left = FIRST ? depth - (ALONG ? threadIdx.x % CHUNKS * 8 : threadIdx.x / CHUNKS) : depth;
    const bf16 *from = at;
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      bool there = left > (ALONG || !FIRST ? 0 : i * STRIDE) && (ALONG || !FIRST || i * STRIDE >= skip);
      cp_async(stage + to + i * STRIDE * LINE * 2, ALONG ? at + offsets[i] * (int64_t)8 : from, there ? 16 : 0);
      // One instruction, which the compiler would otherwise make several of: every chunk's address from the first one's.
      if (!ALONG) asm("mad.wide.s32 %0, %1, %2, %0;" : "+l"(from) : "r"(stride), "n"(STRIDE * 2));
    }
    at = ALONG ? at + (FIRST ? depth : K) : FIRST ? at + depth * (int64_t)stride : from;
  }

  // Fragments. The places in a stage that a lane gives to ldmatrix, from a warp's first row and its slice's first k on: of its k = 16 (ALONG) or of
  // its 16 rows, by number, as the permutation sets them apart. A and B have their matrices of 8 x 8 in different order.
  static constexpr int PLACES = ALONG ? STEPS : WARP / 16;
  uint32_t places[PLACES];
  __device__ __forceinline__ void place(uint32_t stage, int row, int k, bool a) {
    int lane = threadIdx.x % 32, low = lane % 8, bit3 = lane / 8 % 2, bit4 = lane / 16;
    int row8 = a ? bit3 : bit4, k8 = a ? bit4 : bit3;
    uint32_t first = ALONG ? offset(row + low + 8 * row8, k / 8 + k8) : offset(k + low + 8 * k8, row / 8 + row8);
#pragma unroll
    for (int i = 0; i < PLACES; i++) places[i] = stage + (first ^ i << 5);
  }
  // The i-th 16 rows at the k = 16 of number step.
  __device__ __forceinline__ void load(uint32_t (&to)[4], uint32_t stage, int i, int step) const {
    if (ALONG) {
      ldmatrix(to, places[step] + stage + i * (16 * LINE * 2));
    } else {
      ldmatrix_trans(to, places[i] + stage + step * (16 * LINE * 2));
    }
  }

  // A step made of f32: element (row, r) is bf16(scale x[row * row_stride + r * r_stride]), zero beyond rows and r_count; of as many r
  // as are needed, to a power of 2. Lanes run along the stride of 1.
  static __device__ __forceinline__ void fill(unsigned char *stage, const float *__restrict__ x, int rows, int r_count, int64_t row_stride, int64_t r_stride, float scale) {
    int depth_log = 4;
    while (1 << depth_log < min(r_count, K)) depth_log++;
    bool along = r_stride == 1;
#pragma unroll 4
    for (uint32_t e = threadIdx.x; e < ROWS << depth_log; e += THREADS) {
      uint32_t row = along ? e >> depth_log : e % ROWS, r = along ? e & (1 << depth_log) - 1 : e / ROWS;
      float value = row < (uint32_t)rows && r < (uint32_t)r_count ? scale * x[row * row_stride + r * r_stride] : 0.0f;
      uint32_t place = ALONG ? offset(row, r / 8) + r % 8 * 2 : offset(r, row / 8) + row % 8 * 2;
      *reinterpret_cast<bf16 *>(stage + place) = __float2bfloat16_rn(value);
    }
  }
};

// ---- results ---------------------------------------------------------------------------------------------------------

struct Output {
  void *c;
  int64_t stride;  // elements from row to row
  int m, n;
  bool is_bf16, accumulate;
};

__device__ __forceinline__ float low_f32(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float high_f32(uint32_t pair) { return __uint_as_float(pair & 0xFFFF0000u); }

// The sum of four neighbours over the slices, in ascending order.
template <int SLICES, int APART> __device__ __forceinline__ float4 slices(const float *result) {
  float4 sum = *reinterpret_cast<const float4 *>(result);
#pragma unroll
  for (int i = 1; i < SLICES; i++) {
    float4 v = *reinterpret_cast<const float4 *>(result + i * APART);
    sum = make_float4(sum.x + v.x, sum.y + v.y, sum.z + v.z, sum.w + v.w);
  }
  return sum;
}

// ROWS rows of results to c, from (row, column) on; a warp's slices stand APART.
template <int ROWS, int SLICES, int APART> __device__ __forceinline__ void store(const float *result, int row, int column, const Output &o) {
  int lane = threadIdx.x % 32;
  bool aligned = reinterpret_cast<uintptr_t>(o.c) % 16 == 0 && o.stride % (o.is_bf16 ? 8 : 4) == 0;
  if (aligned && o.is_bf16) {
    // A lane takes 8 columns; of each 8 lanes 4 start with the second half, since 32 bytes apart they would meet in the banks.
    int at = lane % 8 * 8, flip = lane / 4 % 2 * 4;
#pragma unroll 4
    for (int i = lane / 8; i < ROWS; i += 4) {
      float4 a = slices<SLICES, APART>(result + i * RESULT_LINE + at + flip), b = slices<SLICES, APART>(result + i * RESULT_LINE + at + (flip ^ 4));
      float4 low = flip ? b : a, high = flip ? a : b;
      if (row + i < o.m && column + at < o.n) {
        uint4 *c = reinterpret_cast<uint4 *>(static_cast<bf16 *>(o.c) + (row + i) * o.stride + column + at);
        if (o.accumulate) {
          uint4 old = *c;
          low = make_float4(low.x + low_f32(old.x), low.y + high_f32(old.x), low.z + low_f32(old.y), low.w + high_f32(old.y));
          high = make_float4(high.x + low_f32(old.z), high.y + high_f32(old.z), high.z + low_f32(old.w), high.w + high_f32(old.w));
        }
        *c = make_uint4(pack_bf16(low.x, low.y), pack_bf16(low.z, low.w), pack_bf16(high.x, high.y), pack_bf16(high.z, high.w));
      }
    }
  } else if (aligned) {
    int at = lane % 16 * 4;
#pragma unroll 4
    for (int i = lane / 16; i < ROWS; i += 2) {
      float4 v = slices<SLICES, APART>(result + i * RESULT_LINE + at);
      if (row + i < o.m && column + at < o.n) {
        float4 *c = reinterpret_cast<float4 *>(static_cast<float *>(o.c) + (row + i) * o.stride + column + at);
        if (o.accumulate) {
          float4 old = *c;
          v = make_float4(v.x + old.x, v.y + old.y, v.z + old.z, v.w + old.w);
        }
        *c = v;
      }
    }
  } else {
#pragma unroll 4
    for (int i = lane; i < ROWS * WARP; i += 32) {
      int at_row = i / WARP, at = i % WARP;
      float v = result[at_row * RESULT_LINE + at];
#pragma unroll
      for (int j = 1; j < SLICES; j++) v += result[j * APART + at_row * RESULT_LINE + at];
      if (row + at_row < o.m && column + at < o.n) {
        int64_t place = (row + at_row) * o.stride + column + at;
        if (o.is_bf16) {
          bf16 *c = static_cast<bf16 *>(o.c) + place;
          *c = __float2bfloat16_rn(o.accumulate ? v + __bfloat162float(*c) : v);
        } else {
          float *c = static_cast<float *>(o.c) + place;
          *c = o.accumulate ? v + *c : v;
        }
      }
    }
  }
}

// ---- the product -----------------------------------------------------------------------------------------------------

struct LowRank {
  const float *s, *factor;
  int64_t factor_row, factor_col;
  int rank;
  float scaling;
};

template <class T, bool A_ALONG, bool B_ALONG>
__device__ __forceinline__ void run(const bf16 *a_matrix, int a_stride, const bf16 *b_matrix, int b_stride, Output o, int k, int k_skip, LowRank low, float *partial, int k_part) {
  typedef Operand<T::M, T::K, T::STEPS, T::THREADS, A_ALONG> A;
  typedef Operand<T::N, T::K, T::STEPS, T::THREADS, B_ALONG> B;
  constexpr int MI = WARP / 16, NI = WARP / 8;
  extern __shared__ __align__(1024) unsigned char shared[];
  uint32_t base = shared_address(shared);

  // Which tile: GROUP rows of tiles at a time, down each column of the group.
  int rows = (o.m + T::M - 1) / T::M, columns = (o.n + T::N - 1) / T::N;
  int group = blockIdx.x / (GROUP * columns), in_group = blockIdx.x % (GROUP * columns);
  int height = min(GROUP, rows - group * GROUP);
  int tile_row = (group * GROUP + in_group % height) * T::M, tile_column = in_group / height * T::N;
  int k_from = blockIdx.y * k_part, k_to = min(k, k_from + k_part);

  // The first step takes what full ones leave.
  int iterations = (k_to - k_from + T::K - 1) / T::K, first = k_to - k_from - (iterations - 1) * T::K;
  A a;
  B b;
  a.start(a_matrix, o.m, a_stride, tile_row, k_from, k_skip);
  b.start(b_matrix, o.n, b_stride, tile_column, k_from, k_skip);
  a.template copy<true>(base, first);
  b.template copy<true>(base + T::A_BYTES, first);
  cp_async_commit();
#pragma unroll
  for (int s = 1; s < T::STAGES - 1; s++) {
    a.template copy<false>(base + s * T::STAGE_BYTES, iterations - s);
    b.template copy<false>(base + s * T::STAGE_BYTES + T::A_BYTES, iterations - s);
    cp_async_commit();
  }

  int warp = threadIdx.x / 32, slice = warp / (T::WARPS_M * T::WARPS_N);
  int warp_row = warp % T::WARPS_M * WARP, warp_column = warp / T::WARPS_M % T::WARPS_N * WARP;
  a.place(base, warp_row, slice * T::STEPS * 16, true);
  b.place(base + T::A_BYTES, warp_column, slice * T::STEPS * 16, false);
  float sums[MI][NI][4] = {};
  uint32_t a_part[2][MI][4], b_part[2][NI / 2][4];
  auto load = [&](int to, uint32_t stage, int step) {
#pragma unroll
    for (int i = 0; i < MI; i++) a.load(a_part[to][i], stage, i, step);
#pragma unroll
    for (int i = 0; i < NI / 2; i++) b.load(b_part[to][i], stage, i, step);
  };
  auto multiply = [&](int from) {
#pragma unroll
    for (int i = 0; i < MI; i++) {
#pragma unroll
      for (int j = 0; j < NI; j++) mma_bf16(sums[i][j], a_part[from][i], b_part[from][j / 2][j % 2 * 2], b_part[from][j / 2][j % 2 * 2 + 1]);
    }
  };

  // The low-rank term as steps of its own, in the stage that is still free, while the first copies are under way.
  constexpr uint32_t LAST = (T::STAGES - 1) * T::STAGE_BYTES;
  for (int r = 0; r < low.rank && blockIdx.y == 0; r += T::K) {
    if (r > 0) __syncthreads();
    A::fill(shared + LAST, low.s + tile_row * (int64_t)low.rank + r, o.m - tile_row, low.rank - r, low.rank, 1, low.scaling);
    B::fill(shared + LAST + T::A_BYTES, low.factor + tile_column * low.factor_row + r * low.factor_col, o.n - tile_column, low.rank - r, low.factor_row, low.factor_col, 1.0f);
    __syncthreads();
#pragma unroll
    for (int step = 0; step < T::STEPS; step++) {
      if ((slice * T::STEPS + step) * 16 < low.rank - r) {
        load(0, LAST, step);
        multiply(0);
      }
    }
  }

  // In every iteration the step STAGES - 1 further on is asked for, in the stage that all warps have left; before the last k = 16 the next step
  // must have come, all of it.
  cp_async_wait<T::STAGES - 2>();
  __syncthreads();
  load(0, 0, 0);
  uint32_t read = 0, write = LAST;
  for (int iteration = 0; iteration < iterations; iteration++) {
#pragma unroll
    for (int step = 0; step < T::STEPS; step++) {
      if (step == T::STEPS - 1) {
        cp_async_wait<T::STAGES - 2>();
        __syncthreads();
        read = read == LAST ? 0 : read + T::STAGE_BYTES;
      }
      load((step + 1) % 2, read, (step + 1) % T::STEPS);
      if (step == 0) {
        a.template copy<false>(base + write, iterations - iteration - (T::STAGES - 1));
        b.template copy<false>(base + write + T::A_BYTES, iterations - iteration - (T::STAGES - 1));
        cp_async_commit();
        write = write == LAST ? 0 : write + T::STAGE_BYTES;
      }
      multiply(step % 2);
    }
  }
  cp_async_wait<0>();
  __syncthreads();

  // By way of shared memory, in whole lines.
  float *results = reinterpret_cast<float *>(shared), *own = results + warp * RESULT + threadIdx.x % 32 / 4 * RESULT_LINE + threadIdx.x % 4 * 2;
#pragma unroll
  for (int i = 0; i < MI * 2; i++) {
#pragma unroll
    for (int j = 0; j < NI; j++) *reinterpret_cast<float2 *>(own + i * 8 * RESULT_LINE + j * 8) = make_float2(sums[i / 2][j][i % 2 * 2], sums[i / 2][j][i % 2 * 2 + 1]);
  }
  __syncthreads();
  if (partial) o = {partial + blockIdx.y * (o.m * o.stride), o.stride, o.m, o.n, false, false};
  constexpr int PARTS = T::WARPS_M * T::WARPS_N, ROWS = WARP / T::SLICES;
  store<ROWS, T::SLICES, PARTS * RESULT>(results + warp % PARTS * RESULT + slice * ROWS * RESULT_LINE, tile_row + warp_row + slice * ROWS, tile_column + warp_column, o);
}

// c = sum of parts (+ c), each [m, stride] f32, in ascending order.
template <typename C> __device__ __forceinline__ void add(const float *__restrict__ partial, int64_t m, int64_t n, int64_t stride, int parts, C *__restrict__ c, int accumulate) {
  int64_t from = (blockIdx.x * (int64_t)blockDim.x + threadIdx.x) * 4;
  struct alignas(4 * sizeof(C)) Pack {
    C at[4];
  };
  if (stride == n && reinterpret_cast<uintptr_t>(c) % sizeof(Pack) == 0) {
    if (from >= m * n) return;
    float sums[4] = {};
#pragma unroll 4
    for (int p = 0; p < parts; p++) {
      float4 v = *reinterpret_cast<const float4 *>(partial + p * (m * stride) + from);
      sums[0] += v.x, sums[1] += v.y, sums[2] += v.z, sums[3] += v.w;
    }
    Pack pack;
    if (accumulate) pack = *reinterpret_cast<const Pack *>(c + from);
#pragma unroll
    for (int i = 0; i < 4; i++) pack.at[i] = from_f32<C>(accumulate ? sums[i] + to_f32(pack.at[i]) : sums[i]);
    *reinterpret_cast<Pack *>(c + from) = pack;
  } else {
    for (int64_t e = from; e < from + 4 && e < m * n; e++) {
      float sum = 0;
      for (int p = 0; p < parts; p++) sum += partial[p * (m * stride) + e / n * stride + e % n];
      c[e] = from_f32<C>(accumulate ? sum + to_f32(c[e]) : sum);
    }
  }
}

// Eight elements at an aligned address, of which those from begin to end are read.
__device__ __forceinline__ uint4 chunk(const bf16 *at, const bf16 *begin, const bf16 *end) {
  if (at >= begin && at + 8 <= end) return *reinterpret_cast<const uint4 *>(at);
  alignas(16) uint16_t elements[8];
#pragma unroll
  for (int i = 0; i < 8; i++) elements[i] = at + i >= begin && at + i < end ? __bfloat16_as_ushort(at[i]) : 0;
  return *reinterpret_cast<uint4 *>(elements);
}

//           M    N    K  slices, stages
typedef Tile<128, 256, 32, 1, 4> Tile128x256;
typedef Tile<128, 128, 32, 1, 4> Tile128x128;
typedef Tile<64, 128, 64, 2, 3> Tile64x128;
typedef Tile<64, 64, 128, 4, 2> Tile64x64;

}  // namespace gemm_bf16

// c_stride: n; or, with partial, that of its rows. k, with the k_skip that are not there, is a multiple of 8 where lines lie along k; k_part: what
// one blockIdx.y takes of it.
#define KERNEL(NAME, TILE, A_ALONG, B_ALONG, BLOCKS)                                                                                                    \
  extern "C" __global__ void __launch_bounds__(gemm_bf16::TILE::THREADS, BLOCKS)                                                                        \
      pan_gemm_bf16_##NAME(const bf16 *a, int a_stride, const bf16 *b, int b_stride, void *c, long long c_stride, int m, int n, int k, int k_skip,      \
                           int c_is_bf16, int accumulate, const float *s, const float *factor, long long factor_row, long long factor_col, int rank,    \
                           float scaling, float *partial, int k_part) {                                                                                 \
    gemm_bf16::run<gemm_bf16::TILE, A_ALONG, B_ALONG>(a, a_stride, b, b_stride, {c, c_stride, m, n, c_is_bf16 != 0, accumulate != 0}, k, k_skip,        \
                                                      {s, factor, factor_row, factor_col, rank, scaling}, partial, k_part);                             \
  }
#define KERNELS(MODE, A_ALONG, B_ALONG)                    \
  KERNEL(MODE##_128x256, Tile128x256, A_ALONG, B_ALONG, 1) \
  KERNEL(MODE##_128x128, Tile128x128, A_ALONG, B_ALONG, 2) \
  KERNEL(MODE##_64x128, Tile64x128, A_ALONG, B_ALONG, 2)   \
  KERNEL(MODE##_64x64, Tile64x64, A_ALONG, B_ALONG, 2)

KERNELS(nt, true, true)
KERNELS(nn, true, false)
KERNELS(tn, false, false)
#undef KERNELS
#undef KERNEL

// to[lines, stride] = zeros, then [lines, length], then zeros, where the first are front; to is aligned to 16 bytes, stride a multiple of 8. A
// thread makes 8 elements from the two aligned chunks in which they lie.
extern "C" __global__ void __launch_bounds__(256) pan_gemm_bf16_align(const bf16 *from, long long lines, int length, int front, bf16 *to, int stride) {
  long long index = blockIdx.x * (long long)blockDim.x + threadIdx.x;
  if (index >= lines * (stride / 8)) return;
  long long line = index / (stride / 8);
  int first = (int)(index % (stride / 8)) * 8 - front;  // of the line's elements
  const bf16 *begin = from + line * length, *at = begin + first;
  int shift = reinterpret_cast<uintptr_t>(at) / 2 % 8;
  uint4 low = gemm_bf16::chunk(at - shift, begin, begin + length), high = gemm_bf16::chunk(at - shift + 8, begin, begin + length);
  uint32_t words[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
  for (int by = 2; by > 0; by--) {  // by 4 elements, by 2
#pragma unroll
    for (int i = 0; i < 8 - by; i++) words[i] = shift & by * 2 ? words[i + by] : words[i];
  }
#pragma unroll
  for (int i = 0; i < 4; i++) words[i] = __funnelshift_r(words[i], words[i + 1], shift % 2 * 16);
  *reinterpret_cast<uint4 *>(to + line * stride + first + front) = make_uint4(words[0], words[1], words[2], words[3]);
}

extern "C" __global__ void __launch_bounds__(256) pan_gemm_bf16_add_f32(const float *partial, long long m, long long n, long long stride, int parts, float *c, int accumulate) {
  gemm_bf16::add(partial, m, n, stride, parts, c, accumulate);
}
extern "C" __global__ void __launch_bounds__(256) pan_gemm_bf16_add_bf16(const float *partial, long long m, long long n, long long stride, int parts, bf16 *c, int accumulate) {
  gemm_bf16::add(partial, m, n, stride, parts, c, accumulate);
}
