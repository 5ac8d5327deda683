// lora.cu: the low-rank products of LoRA with bf16 activations. (F32 ones are products of gemm_f32.cu, with tiles for low ranks.)
//
//   down: S[m, r] = X[m, k] A[r, k]^T             up: T[m, r] = dY[m, n] B[n, r]
//   gradA: dA[r, k] += scaling T[m, r]^T X[m, k]  gradB: dB[n, r] += scaling dY[m, n]^T S[m, r]
//
// X and dY are bf16, everything else f32. The tensor cores take the f32 factor as the sum of two bf16, v = high + low to 2^-17 of v, in two
// products with the same sums: little work beside the reading of X, and dA and dB move as the f32 factors say.
//
// X goes from global memory to the fragments of mma.m16n8k16 without shared memory: which row, column or step of the reduced dimension a place
// of a fragment stands for is ours to choose, so lanes take neighbours. In lane = 4 g + t:
//   - pan_lora_rows (down, up; the reduced dimension runs along X). A warp has 32 rows and TILES x 8 ranks, and takes 64 or 32 steps of k at a time: lane's
//     8 bytes are steps 4 t .. 4 t + 3 of 16 of row g. Steps 2 t, 2 t + 1, 2 t + 8, 2 t + 9 of a fragment stand for those. The factor likewise.
//   - pan_lora_columns (gradA, gradB; the tokens are reduced). A warp has 16 MT columns of X and TILES x 8 ranks, and takes 32 tokens at a time: lane's
//     4 MT bytes are columns 2 MT g .. of token 4 i + t. Rows g and g + 8 of fragment j stand for columns 2 MT g + 2 j and the next one; pairs of
//     tokens are put together from two loads by byte permutation. The sums go to memory by way of shared memory, a warp's 8 ranks at a time.
// Of the 8 warps of a block, groups of `across` share a part of the reduced dimension, parts in turns of a step; their sums are added up in shared
// memory, by halves. Grid: (rows or columns / those of a block, parts of the reduced dimension, 8 TILES ranks each). With more than one part
// the sums go to scratch memory, for pan_gemm_f32_join. TILES is 2 up to rank 16, else 8; tiles beyond the rank are left out.
//
// Bytes: X once, from every block the factor once, out of the L2 cache: 2 m k + 4 r (m + k). FLOPs: 4 m k r, rounded up to 8 ranks.
//
// budget: pan_lora_down_16 registers 128 shared 8192
// budget: pan_lora_down_64 registers 128 shared 32768
// budget: pan_lora_up_16 registers 128 shared 8192
// budget: pan_lora_up_64 registers 128 shared 32768
// budget: pan_lora_columns_16 registers 128 shared 17408
// budget: pan_lora_columns_64 registers 128 shared 32768
// budget: pan_lora_down_16_scalar registers 128 shared 8192
// budget: pan_lora_down_64_scalar registers 128 shared 32768
// budget: pan_lora_up_16_scalar registers 128 shared 8192
// budget: pan_lora_up_64_scalar registers 128 shared 32768
// budget: pan_lora_columns_16_scalar registers 128 shared 17408
// budget: pan_lora_columns_64_scalar registers 128 shared 32768
#include "common.cuh"
#include "mma.cuh"

namespace lora {

constexpr int WARPS = 8;
constexpr int THREADS = 32 * WARPS;

// A fragment of the factor, four f32 as high + low.
struct Factor {
  uint32_t high[2], low[2];

  __device__ __forceinline__ Factor(float v0, float v1, float v2, float v3) {
    split(v0, v1, high[0], low[0]);
    split(v2, v3, high[1], low[1]);
  }

  __device__ __forceinline__ static void split(float a, float b, uint32_t &high, uint32_t &low) {
    high = pack_bf16(a, b);
    low = pack_bf16(a - __uint_as_float(high << 16), b - __uint_as_float(high & 0xFFFF0000u));
  }

  __device__ __forceinline__ void multiply(const uint32_t (&x)[4], float (&sum)[4]) const {
    mma_bf16(sum, x, high[0], high[1]);
    mma_bf16(sum, x, low[0], low[1]);
  }
};

__device__ __forceinline__ uint32_t bits(bf16 x) { return __bfloat16_as_ushort(x); }

// COUNT neighbours of which the first `there` exist, in pairs; zero in place of the others.
template <int COUNT, bool WIDE> __device__ __forceinline__ void load(const bf16 *x, int there, uint32_t (&to)[COUNT / 2]) {
  if (WIDE) {
    static_assert(COUNT == 4 || COUNT == 8, "8 or 16 bytes");
    if constexpr (COUNT == 8) {
      uint4 v = there > 0 ? *reinterpret_cast<const uint4 *>(x) : make_uint4(0, 0, 0, 0);
      to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
    } else {
      uint2 v = there > 0 ? *reinterpret_cast<const uint2 *>(x) : make_uint2(0, 0);
      to[0] = v.x, to[1] = v.y;
    }
  } else {
#pragma unroll
    for (int i = 0; i < COUNT; i += 2) {
      to[i / 2] = (i < there ? bits(x[i]) : 0) | (i + 1 < there ? bits(x[i + 1]) << 16 : 0);
    }
  }
}

// Adds the sums of the warps that have other parts of the reduced dimension to those of part 0, which are the first `across` warps.
template <int COUNT> __device__ __forceinline__ void add_parts(float (&sum)[COUNT][4], float4 *shared, int across) {
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int half = WARPS / 2; half >= across; half /= 2) {
    if (warp >= half && warp < 2 * half) {
#pragma unroll
      for (int i = 0; i < COUNT; i++) shared[((warp - half) * COUNT + i) * 32 + lane] = make_float4(sum[i][0], sum[i][1], sum[i][2], sum[i][3]);
    }
    __syncthreads();
    if (warp < half) {
#pragma unroll
      for (int i = 0; i < COUNT; i++) {
        float4 v = shared[(warp * COUNT + i) * 32 + lane];
        sum[i][0] += v.x, sum[i][1] += v.y, sum[i][2] += v.z, sum[i][3] += v.w;
      }
    }
    __syncthreads();
  }
}

// out[part][m, rank] = x[m, k] f, where f is [rank, k] (along) or [k, rank].
template <int TILES, bool F_ALONG, bool WIDE> __device__ __forceinline__ void rows(const bf16 *x, const float *f, int m, int k, int rank, int across, float *out) {
  constexpr int STEPS = TILES == 2 ? 64 : 32;  // more sums leave fewer registers for what is on its way
  __shared__ float4 shared[WARPS / 2 * 2 * TILES * 32];
  int warp = threadIdx.x / 32, g = threadIdx.x % 32 / 4, t = threadIdx.x % 4;
  int first_row = (blockIdx.x * across + warp % across) * 32;
  int first_rank = blockIdx.z * 8 * TILES;
  const bf16 *row[4];
#pragma unroll
  for (int i = 0; i < 4; i++) row[i] = x + (long long)min(first_row + 8 * i + g, m - 1) * k;  // rows beyond the last: sums that nobody takes

  float sum[2 * TILES][4] = {};
  int parts = WARPS / across * gridDim.y;
  for (int at = (blockIdx.y * (WARPS / across) + warp / across) * STEPS; at < k; at += parts * STEPS) {
    uint32_t in[STEPS / 16][4][2];
#pragma unroll
    for (int q = 0; q < STEPS / 16; q++)
#pragma unroll
      for (int i = 0; i < 4; i++) load<4, WIDE>(row[i] + at + 16 * q + 4 * t, k - (at + 16 * q + 4 * t), in[q][i]);
#pragma unroll
    for (int q = 0; q < STEPS / 16; q++) {
      int step = at + 16 * q + 4 * t;
#pragma unroll
      for (int j = 0; j < TILES; j++) {
        if (first_rank + 8 * j < rank) {
          int r = first_rank + 8 * j + g;
          int there = r < rank ? k - step : 0;
          float4 v = make_float4(0, 0, 0, 0);
          if (F_ALONG) {
            const float *from = f + (long long)r * k + step;
            if (WIDE) {
              if (there > 0) v = *reinterpret_cast<const float4 *>(from);
            } else {
              if (there > 0) v.x = from[0];
              if (there > 1) v.y = from[1];
              if (there > 2) v.z = from[2];
              if (there > 3) v.w = from[3];
            }
          } else {
            const float *from = f + (long long)step * rank + r;
            if (there > 0) v.x = from[0];
            if (there > 1) v.y = from[rank];
            if (there > 2) v.z = from[2LL * rank];
            if (there > 3) v.w = from[3LL * rank];
          }
          Factor factor(v.x, v.y, v.z, v.w);
#pragma unroll
          for (int i = 0; i < 2; i++) {
            uint32_t a[4] = {in[q][2 * i][0], in[q][2 * i + 1][0], in[q][2 * i][1], in[q][2 * i + 1][1]};
            factor.multiply(a, sum[i * TILES + j]);
          }
        }
      }
    }
  }

  add_parts(sum, shared, across);
  if (warp >= across) return;
  out += (long long)blockIdx.y * m * rank;
  bool pairs = rank % 2 == 0 && reinterpret_cast<uintptr_t>(out) % 8 == 0;
#pragma unroll
  for (int i = 0; i < 4; i++)
#pragma unroll
    for (int j = 0; j < TILES; j++) {
      int r = first_rank + 8 * j + 2 * t;
      float v0 = sum[i / 2 * TILES + j][i % 2 * 2], v1 = sum[i / 2 * TILES + j][i % 2 * 2 + 1];
      if (first_row + 8 * i + g < m && r < rank) {
        float *to = out + (long long)(first_row + 8 * i + g) * rank + r;
        if (pairs) {
          *reinterpret_cast<float2 *>(to) = make_float2(v0, v1);
        } else {
          to[0] = v0;
          if (r + 1 < rank) to[1] = v1;
        }
      }
    }
}

// out[rank, cols] (or [cols, rank], by_column) += scaling f[m, rank]^T x[m, cols]; or the parts of that without scaling.
template <int TILES, int MT, bool WIDE>
__device__ __forceinline__ void columns(const bf16 *x, const float *f, int m, int cols, int rank, int across, float scaling, int by_column, float *out, float *all_parts) {
  constexpr int COLS = 16 * MT, OWN = 2 * MT, STEPS = 32;
  constexpr int STRIDE = COLS + 4;  // 4 modulo 16: no two of the 8 lanes of a 16-byte access meet in a bank
  constexpr int SLOTS = WARPS / 2 * MT * TILES * 32, STAGES = WARPS * 8 * STRIDE / 4;
  __shared__ float4 shared[SLOTS > STAGES ? SLOTS : STAGES];
  int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  int first_col = (blockIdx.x * across + warp % across) * COLS;
  int first_rank = blockIdx.z * 8 * TILES;
  int col = first_col + OWN * g;
  const bf16 *own = x + (long long)t * cols + col;

  float sum[MT * TILES][4] = {};
  int parts = WARPS / across * gridDim.y;
  for (int at = (blockIdx.y * (WARPS / across) + warp / across) * STEPS; at < m; at += parts * STEPS) {
    uint32_t in[STEPS / 16][4][MT];
#pragma unroll
    for (int q = 0; q < STEPS / 16; q++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        int token = at + 16 * q + 4 * i;
        load<OWN, WIDE>(own + (long long)token * cols, token + t < m ? cols - col : 0, in[q][i]);
      }
#pragma unroll
    for (int q = 0; q < STEPS / 16; q++) {
      uint32_t a[MT][4];
#pragma unroll
      for (int i = 0; i < MT; i++) {
        a[i][0] = __byte_perm(in[q][0][i], in[q][1][i], 0x5410);
        a[i][1] = __byte_perm(in[q][0][i], in[q][1][i], 0x7632);
        a[i][2] = __byte_perm(in[q][2][i], in[q][3][i], 0x5410);
        a[i][3] = __byte_perm(in[q][2][i], in[q][3][i], 0x7632);
      }
      int token = at + 16 * q + t;
#pragma unroll
      for (int j = 0; j < TILES; j++) {
        if (first_rank + 8 * j < rank) {
          int r = first_rank + 8 * j + g;
          const float *from = f + (long long)token * rank + r;
          float v[4];
#pragma unroll
          for (int i = 0; i < 4; i++) v[i] = r < rank && token + 4 * i < m ? from[4LL * i * rank] : 0.0f;
          Factor factor(v[0], v[1], v[2], v[3]);
#pragma unroll
          for (int i = 0; i < MT; i++) factor.multiply(a[i], sum[i * TILES + j]);
        }
      }
    }
  }

  add_parts(sum, shared, across);
  if (warp >= across) return;
  if (gridDim.y > 1) out = all_parts + (long long)blockIdx.y * cols * rank;
  float *stage = reinterpret_cast<float *>(shared) + warp * 8 * STRIDE;
  auto write = [&](int r, int c, float v) {
    if (r < rank && c < cols) {
      float *to = out + (by_column ? (long long)c * rank + r : (long long)r * cols + c);
      *to = gridDim.y > 1 ? v : *to + scaling * v;
    }
  };
  // Quads of columns in the order 0 1 3 2 4 5 7 6 ..: where lanes have two of them, neighbours write different ones of theirs first.
  auto place = [](int quad) { return MT == 4 ? quad ^ (quad / 2 & 1) : quad; };
#pragma unroll
  for (int j = 0; j < TILES; j++) {
#pragma unroll
    for (int i = 0; i < MT; i += 2)
#pragma unroll
      for (int y = 0; y < 2; y++) {
        const float(&v)[4] = sum[i * TILES + j], (&w)[4] = sum[(i + 1) * TILES + j];
        store_shared(stage + (2 * t + y) * STRIDE + 4 * place((OWN * g + 2 * i) / 4), make_float4(v[y], v[2 + y], w[y], w[2 + y]));
      }
    __syncwarp();
    int rank0 = first_rank + 8 * j;
    if (by_column) {
      for (int c = lane / 8; c < COLS; c += 4) write(rank0 + lane % 8, first_col + c, stage[lane % 8 * STRIDE + 4 * place(c / 4) + c % 4]);
    } else {
      for (int r = 0; r < 8; r++)
        for (int c = lane; c < COLS; c += 32) write(rank0 + r, first_col + c, stage[r * STRIDE + 4 * place(c / 4) + c % 4]);
    }
    __syncwarp();
  }
}

}  // namespace lora

#define LORA_ROWS(NAME, TILES, F_ALONG, WIDE)                                                                                                        \
  extern "C" __global__ void __launch_bounds__(lora::THREADS, 2) NAME(const bf16 *x, const float *f, int m, int k, int rank, int across, float *out) { \
    lora::rows<TILES, F_ALONG, WIDE>(x, f, m, k, rank, across, out);                                                                                  \
  }
LORA_ROWS(pan_lora_down_16, 2, true, true)
LORA_ROWS(pan_lora_down_64, 8, true, true)
LORA_ROWS(pan_lora_up_16, 2, false, true)
LORA_ROWS(pan_lora_up_64, 8, false, true)
LORA_ROWS(pan_lora_down_16_scalar, 2, true, false)
LORA_ROWS(pan_lora_down_64_scalar, 8, true, false)
LORA_ROWS(pan_lora_up_16_scalar, 2, false, false)
LORA_ROWS(pan_lora_up_64_scalar, 8, false, false)
#undef LORA_ROWS

#define LORA_COLUMNS(NAME, TILES, MT, WIDE)                                                                                                                      \
  extern "C" __global__ void __launch_bounds__(lora::THREADS, 2)                                                                                                \
      NAME(const bf16 *x, const float *f, int m, int cols, int rank, int across, float scaling, int by_column, float *out, float *parts) {                     \
    lora::columns<TILES, MT, WIDE>(x, f, m, cols, rank, across, scaling, by_column, out, parts);                                                              \
  }
LORA_COLUMNS(pan_lora_columns_16, 2, 4, true)
LORA_COLUMNS(pan_lora_columns_64, 8, 2, true)
LORA_COLUMNS(pan_lora_columns_16_scalar, 2, 4, false)
LORA_COLUMNS(pan_lora_columns_64_scalar, 8, 2, false)
#undef LORA_COLUMNS
