// gemm_bf16.cu: products of dense bf16 matrices on the tensor cores, added up in f32.
//
//   nt: C[m, n] = A[m, k] B[n, k]^T      nn: C[m, n] = A[m, k] B[k, n]      tn: C[m, n] = A[k, m]^T B[k, n]
//
// C is f32 or bf16; it may be added to, and nt and nn may have a low-rank term (LoRA's second product):
//   C[i, j] += sum over r of bf16(scaling s[i, r]) bf16(factor[j factor_row + r factor_col]),  s [m, rank] f32, factor f32, any rank.
//
// Mapping: a block makes a tile of C of M x N, its warps parts of WARP_M x WARP_N, in steps of K along k. With SLICES > 1 as many warps make the
// same part of C, each from its share of every step; they are added up at the end. Blocks are numbered so that those which run at the same time
// share rows of A and of B (GROUP rows of tiles at a time). blockIdx.y is a part of k where the tiles alone would leave multiprocessors idle: each
// part writes a matrix of partial sums, and pan_gemm_bf16_add adds these in ascending order.
//
// A step's parts of A and B are copied to shared memory by cp.async, STAGES - 1 steps ahead, in the order in which they lie in global memory:
// lines along k (A of nt, nn; B of nt) or across k (A of tn; B of nn, tn), of which ldmatrix makes fragments, with .trans for the latter.
// The 16-byte chunks of a line are permuted by exclusive or with the line's number (offset()), so that neither the copies nor ldmatrix have bank
// conflicts. Fragments are loaded one k = 16 ahead. What lies beyond k is zero; what lies beyond m or n is some other row's, and is not stored.
//
// The _any kernels take matrices of any alignment (a k or n that is not a multiple of 8): the same with plain loads of 2 bytes.
//
// FLOPs: 2 m n k (+ 2 m n rank). Bytes per block: 2 (M + N) k read, M N of C written (and read). M x N = 128 x 128: 64 FLOPs per byte from L2.
// Per k = 16 a warp of 64 x 64 has 32 mma (8 cycles each of a quarter of an SM of sm_80) for 8 ldmatrix.x4 (4 of 128 bytes each).
// Numerics: products and sums of the tensor core in f32, whose order depends on the shape alone; one rounding at the end.
//
#include "mma.cuh"

namespace gemm_bf16 {

constexpr int GROUP = 8;

template <int M_, int N_, int K_, int WARP_M_, int WARP_N_, int SLICES_, int STAGES_> struct Tile {
  static constexpr int M = M_, N = N_, K = K_, WARP_M = WARP_M_, WARP_N = WARP_N_, SLICES = SLICES_, STAGES = STAGES_;
  static constexpr int WARPS_M = M / WARP_M, WARPS_N = N / WARP_N, THREADS = WARPS_M * WARPS_N * SLICES * 32;
  static constexpr int STEPS = K / 16 / SLICES;  // of k = 16, per warp and stage
  static constexpr int A_BYTES = M * K * 2, STAGE_BYTES = A_BYTES + N * K * 2, SHARED = STAGES * STAGE_BYTES;
};

// ---- one operand -----------------------------------------------------------------------------------------------------

// ROWS: of A, or columns of B, in the tile. ALONG: lines lie along k. ANY: of any alignment.
template <int ROWS, int K, int THREADS, bool ALONG, bool ANY> struct Operand {
  static constexpr int LINE = ALONG ? K : ROWS;  // elements
  static constexpr int CHUNKS = LINE / 8;        // of 16 bytes
  static constexpr int STRIDE = THREADS / CHUNKS, COUNT = ROWS * K / 8 / THREADS;  // lines between a thread's chunks; their number
  static_assert(STRIDE % 8 == 0 && COUNT * THREADS * 8 == ROWS * K, "the permutation of a thread's chunks must be one");

  // Where a chunk stands, in bytes: eight lines' chunks of one number stand in eight different groups of banks.
  static __device__ __forceinline__ uint32_t offset(int line, int chunk) {
    return line * (LINE * 2) + ((chunk ^ (LINE == 32 ? line >> 1 & 3 : line & 7)) << 4);
  }

  const bf16 *at;            // this thread's first chunk of the next step
  int64_t advance;           // from step to step
  int offsets[COUNT];        // of its other chunks from there; unless ANY
  int left;                  // along k, from this thread's first chunk
  int width, stride;         // ANY: elements of a chunk that lie within the matrix, across k; elements from line to line
  uint32_t to;

  // rows: of the whole matrix; k counts from k_from to k_to.
  __device__ __forceinline__ void start(const bf16 *matrix, int rows, int k, int row_from, int k_from, int k_to) {
    int line = threadIdx.x / CHUNKS, chunk = threadIdx.x % CHUNKS;
    to = offset(line, chunk);
    if (ALONG) {
      left = k_to - k_from - chunk * 8;
      at = matrix + k_from + chunk * 8;
      advance = K;
      stride = k;
      if (ANY) {
        width = rows - row_from - line;
        at += (row_from + line) * (int64_t)k;
      } else {
        int64_t first = min(row_from + line, rows - 1);
        at += first * k;
#pragma unroll
        for (int i = 0; i < COUNT; i++) offsets[i] = (int)(min(row_from + line + i * STRIDE, rows - 1) - first) * k;
      }
    } else {
      left = k_to - k_from - line;
      int column = row_from + chunk * 8;
      width = min(8, rows - column);
      at = matrix + (k_from + line) * (int64_t)rows + (ANY || width > 0 ? column : 0);
      advance = K * (int64_t)rows;
      stride = rows;
#pragma unroll
      for (int i = 0; i < COUNT; i++) offsets[i] = ANY ? 0 : i * STRIDE * rows;
    }
  }

  // Asks for the next step's chunks.
  __device__ __forceinline__ void copy(uint32_t stage) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      uint32_t target = stage + to + i * STRIDE * LINE * 2;
      if (ANY) {
        int count = ALONG ? i * STRIDE < width ? left : 0 : left > i * STRIDE ? width : 0;
        store(target, at + i * (int64_t)STRIDE * stride, count);
      } else {
        cp_async(target, at + offsets[i], left > (ALONG ? 0 : i * STRIDE) ? 16 : 0);
      }
    }
    at += advance;
    left -= K;
  }

  // Eight elements, of which count (any integer) are there.
  static __device__ __forceinline__ void store(uint32_t target, const bf16 *from, int count) {
    uint32_t pairs[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
      uint32_t low = 2 * i < count ? __bfloat16_as_ushort(from[2 * i]) : 0, high = 2 * i + 1 < count ? __bfloat16_as_ushort(from[2 * i + 1]) : 0;
      pairs[i] = low | high << 16;
    }
    asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(target), "r"(pairs[0]), "r"(pairs[1]), "r"(pairs[2]), "r"(pairs[3]) : "memory");
  }

  // Fragments: the address that a lane gives to ldmatrix for the first 16 rows from `row` on and the first k = 16 from `k` on; A and B have
  // their matrices of 8 x 8 in different order.
  static __device__ __forceinline__ uint32_t lane_offset(int row, int k, bool a) {
    int lane = threadIdx.x % 32, low = lane % 8, bit3 = lane / 8 % 2, bit4 = lane / 16;
    int row8 = a ? bit3 : bit4, k8 = a ? bit4 : bit3;
    return ALONG ? offset(row + low + 8 * row8, k / 8 + k8) : offset(k + low + 8 * k8, row / 8 + row8);
  }
  // The i-th 16 rows at the k = 16 of number step.
  static __device__ __forceinline__ void load(uint32_t (&to)[4], uint32_t address, int i, int step) {
    if (ALONG) {
      ldmatrix(to, (address ^ step << 5) + i * (16 * LINE * 2));
    } else {
      ldmatrix_trans(to, (address ^ i << 5) + step * (16 * LINE * 2));
    }
  }

  // A step made of f32: element (row, r) is bf16(scale x[row * row_stride + r * r_stride]), zero beyond rows and r_count; 16 r or all K.
  // Lanes run along the stride of 1.
  static __device__ __forceinline__ void fill(unsigned char *stage, const float *__restrict__ x, int rows, int r_count, int64_t row_stride, int64_t r_stride, float scale) {
    int depth = r_count <= 16 ? 16 : K;
    bool along = r_stride == 1;
#pragma unroll 4
    for (int e = threadIdx.x; e < ROWS * depth; e += THREADS) {
      int row = !along ? e % ROWS : depth == 16 ? e / 16 : e / K, r = !along ? e / ROWS : e & depth - 1;
      float value = row < rows && r < r_count ? scale * x[row * row_stride + r * r_stride] : 0.0f;
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

// Among the four lanes of a group: lane t's element i becomes lane i's element t.
__device__ __forceinline__ void transpose4(uint32_t (&v)[4]) {
  bool odd = threadIdx.x & 1, high = threadIdx.x & 2;
#pragma unroll
  for (int i = 0; i < 4; i += 2) {
    uint32_t got = __shfl_xor_sync(0xFFFFFFFFu, odd ? v[i] : v[i + 1], 1);
    if (odd) v[i] = got; else v[i + 1] = got;
  }
#pragma unroll
  for (int i = 0; i < 2; i++) {
    uint32_t got = __shfl_xor_sync(0xFFFFFFFFu, high ? v[i] : v[i + 2], 2);
    if (high) v[i] = got; else v[i + 2] = got;
  }
}

__device__ __forceinline__ float low_f32(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float high_f32(uint32_t pair) { return __uint_as_float(pair & 0xFFFF0000u); }

// Stores fragments from (row, column) on. Lanes of a group exchange elements so that each stores 16 bytes in a row, the group 64.
template <int MI, int NI> __device__ __forceinline__ void store(const float (&sums)[MI][NI][4], int row, int column, const Output &o) {
  int lane = threadIdx.x % 32, t = lane % 4;
  row += lane / 4;
  bool aligned = reinterpret_cast<uintptr_t>(o.c) % 16 == 0 && o.stride % (o.is_bf16 ? 8 : 4) == 0;
  if (aligned && o.is_bf16) {
#pragma unroll
    for (int i = 0; i < MI * 2; i++) {
      int at_row = row + i * 8;
      bf16 *line = static_cast<bf16 *>(o.c) + at_row * o.stride;
#pragma unroll
      for (int q = 0; q < NI / 4; q++) {
        int at = column + q * 32 + t * 8;
        bool there = at_row < o.m && at < o.n;
        uint32_t v[4] = {};
        if (o.accumulate) {
          if (there) *reinterpret_cast<uint4 *>(v) = *reinterpret_cast<const uint4 *>(line + at);
          transpose4(v);
        }
#pragma unroll
        for (int j = 0; j < 4; j++) {
          const float(&sum)[4] = sums[i / 2][q * 4 + j];
          float low = sum[i % 2 * 2], high = sum[i % 2 * 2 + 1];
          v[j] = o.accumulate ? pack_bf16(low + low_f32(v[j]), high + high_f32(v[j])) : pack_bf16(low, high);
        }
        transpose4(v);
        if (there) *reinterpret_cast<uint4 *>(line + at) = *reinterpret_cast<uint4 *>(v);
      }
    }
  } else if (aligned) {
    bool odd = lane & 1;
#pragma unroll
    for (int i = 0; i < MI * 2; i++) {
      int at_row = row + i * 8;
      float *line = static_cast<float *>(o.c) + at_row * o.stride;
#pragma unroll
      for (int q = 0; q < NI / 2; q++) {
        int at = column + q * 16 + (t & 1) * 8 + (t >> 1) * 4;
        const float(&a)[4] = sums[i / 2][q * 2], (&b)[4] = sums[i / 2][q * 2 + 1];
        float a0 = a[i % 2 * 2], a1 = a[i % 2 * 2 + 1], b0 = b[i % 2 * 2], b1 = b[i % 2 * 2 + 1];
        float got0 = __shfl_xor_sync(0xFFFFFFFFu, odd ? a0 : b0, 1), got1 = __shfl_xor_sync(0xFFFFFFFFu, odd ? a1 : b1, 1);
        float4 v = odd ? make_float4(got0, got1, b0, b1) : make_float4(a0, a1, got0, got1);
        if (at_row < o.m && at < o.n) {
          float4 *place = reinterpret_cast<float4 *>(line + at);
          if (o.accumulate) {
            float4 old = *place;
            v = make_float4(v.x + old.x, v.y + old.y, v.z + old.z, v.w + old.w);
          }
          *place = v;
        }
      }
    }
  } else {
#pragma unroll
    for (int i = 0; i < MI * 2; i++) {
      int at_row = row + i * 8;
#pragma unroll
      for (int j = 0; j < NI * 2; j++) {
        int at = column + j / 2 * 8 + t * 2 + j % 2;
        float v = sums[i / 2][j / 2][i % 2 * 2 + j % 2];
        if (at_row < o.m && at < o.n) {
          int64_t place = at_row * o.stride + at;
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
}

// ---- the product -----------------------------------------------------------------------------------------------------

struct LowRank {
  const float *s, *factor;
  int64_t factor_row, factor_col;
  int rank;
  float scaling;
};

template <class T, bool A_ALONG, bool B_ALONG, bool ANY>
__device__ __forceinline__ void run(const bf16 *a_matrix, const bf16 *b_matrix, Output o, int k, LowRank low, float *partial, int k_part) {
  typedef Operand<T::M, T::K, T::THREADS, A_ALONG, ANY> A;
  typedef Operand<T::N, T::K, T::THREADS, B_ALONG, ANY> B;
  constexpr int MI = T::WARP_M / 16, NI = T::WARP_N / 8;
  extern __shared__ __align__(1024) unsigned char shared[];
  uint32_t base = shared_address(shared);

  // Which tile: GROUP rows of tiles at a time, down each column of the group.
  int rows = (o.m + T::M - 1) / T::M, columns = (o.n + T::N - 1) / T::N;
  int group = blockIdx.x / (GROUP * columns), in_group = blockIdx.x % (GROUP * columns);
  int height = min(GROUP, rows - group * GROUP);
  int tile_row = (group * GROUP + in_group % height) * T::M, tile_column = in_group / height * T::N;
  int k_from = blockIdx.y * k_part, k_to = min(k, k_from + k_part);

  A a;
  B b;
  a.start(a_matrix, o.m, k, tile_row, k_from, k_to);
  b.start(b_matrix, o.n, k, tile_column, k_from, k_to);
#pragma unroll
  for (int s = 0; s < T::STAGES - 1; s++) {
    a.copy(base + s * T::STAGE_BYTES);
    b.copy(base + s * T::STAGE_BYTES + T::A_BYTES);
    cp_async_commit();
  }

  int warp = threadIdx.x / 32, slice = warp / (T::WARPS_M * T::WARPS_N);
  int warp_row = warp % T::WARPS_M * T::WARP_M, warp_column = warp / T::WARPS_M % T::WARPS_N * T::WARP_N;
  uint32_t a_lane = base + A::lane_offset(warp_row, slice * T::STEPS * 16, true);
  uint32_t b_lane = base + T::A_BYTES + B::lane_offset(warp_column, slice * T::STEPS * 16, false);
  float sums[MI][NI][4] = {};
  uint32_t a_part[2][MI][4], b_part[2][NI / 2][4];
  auto load = [&](int to, uint32_t stage, int step) {
#pragma unroll
    for (int i = 0; i < MI; i++) A::load(a_part[to][i], a_lane + stage, i, step);
#pragma unroll
    for (int i = 0; i < NI / 2; i++) B::load(b_part[to][i], b_lane + stage, i, step);
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

  // In every iteration: the next step but STAGES - 2 is asked for, in the stage that all warps have left; before the last k = 16 the next step
  // must have come, all of it.
  cp_async_wait<T::STAGES - 2>();
  __syncthreads();
  load(0, 0, 0);
  uint32_t read = 0, write = LAST;
  int iterations = (k_to - k_from + T::K - 1) / T::K;
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
        a.copy(base + write);
        b.copy(base + write + T::A_BYTES);
        cp_async_commit();
        write = write == LAST ? 0 : write + T::STAGE_BYTES;
      }
      multiply(step % 2);
    }
  }
  cp_async_wait<0>();

  if (partial) o = {partial + blockIdx.y * (o.m * o.stride), o.stride, o.m, o.n, false, false};
  if (T::SLICES == 1) {
    store<MI, NI>(sums, tile_row + warp_row, tile_column + warp_column, o);
  } else {
    // Each of the two slices gives the other one half of its rows.
    float half[MI / 2][NI][4];
    float4 *exchange = reinterpret_cast<float4 *>(shared) + warp % (T::WARPS_M * T::WARPS_N) * (2 * (MI / 2) * NI * 32) + threadIdx.x % 32;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < MI / 2 * NI; i++) {
      const float(&first)[4] = sums[i / NI][i % NI], (&second)[4] = sums[MI / 2 + i / NI][i % NI];
      exchange[(slice * (MI / 2 * NI) + i) * 32] = slice ? make_float4(first[0], first[1], first[2], first[3]) : make_float4(second[0], second[1], second[2], second[3]);
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < MI / 2 * NI; i++) {
      const float(&first)[4] = sums[i / NI][i % NI], (&second)[4] = sums[MI / 2 + i / NI][i % NI];
      float4 other = exchange[((slice ^ 1) * (MI / 2 * NI) + i) * 32];
      half[i / NI][i % NI][0] = (slice ? second[0] : first[0]) + other.x;
      half[i / NI][i % NI][1] = (slice ? second[1] : first[1]) + other.y;
      half[i / NI][i % NI][2] = (slice ? second[2] : first[2]) + other.z;
      half[i / NI][i % NI][3] = (slice ? second[3] : first[3]) + other.w;
    }
    store<MI / 2, NI>(half, tile_row + warp_row + slice * (T::WARP_M / 2), tile_column + warp_column, o);
  }
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

//               M    N    K   warp    slices, stages
typedef Tile<128, 256, 32, 64, 64, 1, 4> Tile128x256;
typedef Tile<128, 128, 32, 64, 64, 1, 4> Tile128x128;
typedef Tile<64, 128, 64, 64, 64, 2, 3> Tile64x128;
typedef Tile<64, 64, 64, 64, 32, 2, 3> Tile64x64;

}  // namespace gemm_bf16

// c_stride: n; or, with partial, that of its rows. k_part: what one blockIdx.y takes of k, a multiple of the tile's K unless it is all.
#define KERNEL(NAME, TILE, A_ALONG, B_ALONG, ANY, BLOCKS)                                                                                               extern "C" __global__ void __launch_bounds__(gemm_bf16::TILE::THREADS, BLOCKS)                                                                            pan_gemm_bf16_##NAME(const bf16 *a, const bf16 *b, void *c, long long c_stride, int m, int n, int k, int c_is_bf16, int accumulate,                                        const float *s, const float *factor, long long factor_row, long long factor_col, int rank, float scaling, float *partial,                            int k_part) {                                                                                                                  gemm_bf16::run<gemm_bf16::TILE, A_ALONG, B_ALONG, ANY>(a, b, {c, c_stride, m, n, c_is_bf16 != 0, accumulate != 0}, k,                                                                                        {s, factor, factor_row, factor_col, rank, scaling}, partial, k_part);                        }
#define KERNELS(MODE, A_ALONG, B_ALONG)                            KERNEL(MODE##_128x256, Tile128x256, A_ALONG, B_ALONG, false, 1)   KERNEL(MODE##_128x128, Tile128x128, A_ALONG, B_ALONG, false, 2)   KERNEL(MODE##_64x128, Tile64x128, A_ALONG, B_ALONG, false, 2)     KERNEL(MODE##_64x64, Tile64x64, A_ALONG, B_ALONG, false, 3)       KERNEL(MODE##_any, Tile64x64, A_ALONG, B_ALONG, true, 2)

KERNELS(nt, true, true)
KERNELS(nn, true, false)
KERNELS(tn, false, false)
#undef KERNELS
#undef KERNEL

extern "C" __global__ void __launch_bounds__(256) pan_gemm_bf16_add_f32(const float *partial, long long m, long long n, long long stride, int parts, float *c, int accumulate) {
  gemm_bf16::add(partial, m, n, stride, parts, c, accumulate);
}
extern "C" __global__ void __launch_bounds__(256) pan_gemm_bf16_add_bf16(const float *partial, long long m, long long n, long long stride, int parts, bf16 *c, int accumulate) {
  gemm_bf16::add(partial, m, n, stride, parts, c, accumulate);
}
